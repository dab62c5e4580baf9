"""The kernels of rotary position embedding as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .kernels import forward_kernel, norm_backward_kernel
from .triton import SETTINGS, constants, settings

STRIDES = ("batch_stride", "time_stride", "head_stride")


def specimens() -> tuple[Specimen, ...]:
    """Heads of 64 in every dtype, both pairings, parts of a head; the backward of every width.

    A width that is no multiple of 8 has heads that are not aligned, which takes the most registers.
    """
    dtypes = ("bf16", "fp16", "fp32")
    widths = [2 * (entry.pairs - 3) for entry in SETTINGS]
    return (
        *(_forward(dtype, 64, 64, normal) for dtype in dtypes for normal in (False, True)),
        _forward("bf16", 64, 64, True, interleaved=True),
        _forward("bf16", 128, 32, True),
        *(_backward(dtype, 64, 64) for dtype in dtypes),
        _backward("bf16", 64, 64, interleaved=True),
        _backward("bf16", 128, 32),
        *(_backward("bf16", width, width, interleaved=True) for width in widths),
    )


def _forward(
    dtype: str, width: int, rotary: int, normal: bool, interleaved: bool = False
) -> Specimen:
    heads = dict.fromkeys(("q_ptr", "k_ptr", "yq_ptr", "yk_ptr"), f"*{dtype}")
    strides = [f"{name}_{stride}" for name in ("q", "k") for stride in STRIDES]
    return Specimen(
        f"forward {_named(dtype, width, rotary, interleaved)}{' normal' if normal else ''}",
        forward_kernel,
        heads | _common(strides, normal),
        constants(width, rotary, is_backward=False)
        | {"NORM": normal, "INTERLEAVED": interleaved, "INVERSE": not normal},
        settings(width, rotary).warps,
        divisible=_divisible(width, rotary, strides),
    )


def _backward(dtype: str, width: int, rotary: int, interleaved: bool = False) -> Specimen:
    names = ("dyq_ptr", "dyk_ptr", "q_ptr", "k_ptr", "dq_ptr", "dk_ptr")
    partial = dict.fromkeys(("q_partial_ptr", "k_partial_ptr"), "*fp32")
    strides = [f"{name}_{stride}" for name in ("dyq", "dyk", "q", "k") for stride in STRIDES]
    slabs = dict.fromkeys(("q_slab", "k_slab", "q_programs"), "i32")
    return Specimen(
        f"backward {_named(dtype, width, rotary, interleaved)}",
        norm_backward_kernel,
        dict.fromkeys(names, f"*{dtype}") | partial | slabs | _common(strides, True),
        constants(width, rotary, is_backward=True) | {"INTERLEAVED": interleaved},
        settings(width, rotary).warps,
        # Where heads are not aligned, the compiler stays at 96 registers and spills two, unasked.
        may_spill=width % 16 != 0,
        divisible=_divisible(width, rotary, strides),
    )


def _common(strides: list[str], normal: bool) -> dict[str, str]:
    arguments = dict.fromkeys((*strides, "table_stride", "tokens", "length"), "i32")
    arguments |= {"q_heads": "i32", "k_heads": "i32", "eps": "fp32"}
    arguments |= {"cos_ptr": "*fp32", "sin_ptr": "*fp32"}
    if normal:
        arguments |= {"q_weight_ptr": "*fp32", "k_weight_ptr": "*fp32"}
    return arguments


def _divisible(width: int, rotary: int, strides: list[str]) -> frozenset[str]:
    aligned = width % 16 == 0 and rotary % 32 == 0
    return frozenset((*strides, "table_stride") if aligned else ())


def _named(dtype: str, width: int, rotary: int, interleaved: bool) -> str:
    return f"{dtype} {rotary} of {width}{' interleaved' if interleaved else ''}"
