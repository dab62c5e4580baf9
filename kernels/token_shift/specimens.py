"""The kernels of token shift as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .triton import SETTINGS, backward_kernel, forward_kernel, settings


def specimens() -> tuple[Specimen, ...]:
    """6 blends in every dtype, without an initial token, 1 and 16 blends, rows not aligned."""
    return (
        *(_forward(dtype, 2048, 6) for dtype in ("bf16", "fp16", "fp32")),
        *(_backward(dtype, 2048, 6) for dtype in ("bf16", "fp16", "fp32")),
        _forward("bf16", 2048, 6, has_initial=False),
        _backward("bf16", 2048, 6, has_initial=False),
        _forward("bf16", 2048, 16),
        _backward("bf16", 2048, 16),
        _backward("bf16", 2048, 1),
        *(_backward("bf16", entry.columns - 5, 5) for entry in SETTINGS),
    )


def _forward(dtype: str, channels: int, blends: int, has_initial: bool = True) -> Specimen:
    rows = f"*{dtype}"
    sizes = ("batch_stride", "time_stride", "batches", "length", "tiles", "channels")
    arguments = {"x_ptr": rows, "mu_ptr": "*fp32", "y_ptr": rows} | dict.fromkeys(sizes, "i32")
    chosen = settings(channels)
    return Specimen(
        f"forward {dtype} {channels}, {blends} blends{'' if has_initial else ' alone'}",
        forward_kernel,
        arguments | ({"initial_ptr": rows} if has_initial else {}),
        {"BLENDS": blends, "TIMES": chosen.times, "COLUMNS": chosen.columns},
        chosen.warps,
        divisible=_divisible(channels, "batch_stride", "time_stride"),
    )


def _backward(dtype: str, channels: int, blends: int, has_initial: bool = True) -> Specimen:
    rows = f"*{dtype}"
    strides = [f"dy_{axis}_stride" for axis in ("blend", "batch", "time")]
    strides += ["x_batch_stride", "x_time_stride"]
    sizes = ("length", "tiles", "all_tiles", "slab", "channels")
    arguments = {"dy_ptr": rows, "x_ptr": rows, "mu_ptr": "*fp32", "dx_ptr": rows}
    arguments |= {"partial_ptr": "*fp32"} | dict.fromkeys((*strides, *sizes), "i32")
    if has_initial:
        arguments |= {"initial_ptr": rows, "dinitial_ptr": rows}
    chosen = settings(channels)
    return Specimen(
        f"backward {dtype} {channels}, {blends} blends{'' if has_initial else ' alone'}",
        backward_kernel,
        arguments,
        {
            "BLENDS": blends,
            "LINES": 1 << (blends - 1).bit_length(),
            "TIMES": chosen.times,
            "COLUMNS": chosen.columns,
        },
        chosen.warps,
        # Where rows are not aligned, the compiler stays at 96 registers and spills two, unasked.
        may_spill=channels % 16 != 0,
        divisible=_divisible(channels, *strides),
    )


def _divisible(channels: int, *strides: str) -> frozenset[str]:
    return frozenset((*strides, "channels") if channels % 16 == 0 else ())
