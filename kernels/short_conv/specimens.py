"""The kernels of the short causal convolution as they are launched, compiled without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .triton import SETTINGS, backward_kernel, forward_kernel, settings


def specimens() -> tuple[Specimen, ...]:
    """4 taps in every dtype with all operands, fewer operands, 2 and 8 taps, rows not aligned."""
    return (
        *(_forward(dtype, 2048, 4) for dtype in ("bf16", "fp16", "fp32")),
        *(_backward(dtype, 2048, 4) for dtype in ("bf16", "fp16", "fp32")),
        _forward("bf16", 2048, 4, is_whole=False),
        _backward("bf16", 2048, 4, is_whole=False),
        _forward("bf16", 2048, 8),
        _backward("bf16", 2048, 8),
        _backward("bf16", 2048, 2),
        *(_backward("bf16", entry.columns - 5, 4) for entry in SETTINGS),
    )


def _forward(dtype: str, channels: int, taps: int, is_whole: bool = True) -> Specimen:
    rows = f"*{dtype}"
    arguments = {"x_ptr": rows, "weight_ptr": "*fp32", "y_ptr": rows, "final_ptr": rows}
    arguments |= dict.fromkeys(("batch_stride", "time_stride", "length", "tiles"), "i32")
    arguments |= {"channels": "i32"}
    if is_whole:
        arguments |= {"bias_ptr": "*fp32", "initial_ptr": rows}
    chosen = settings(channels)
    return Specimen(
        f"forward {dtype} {channels}, {taps} taps{'' if is_whole else ' alone'}",
        forward_kernel,
        arguments,
        {
            "WIDTH": taps,
            "SILU": is_whole,
            "TIMES": chosen.times,
            "COLUMNS": chosen.columns,
        },
        chosen.warps,
        divisible=_divisible(channels, "batch_stride", "time_stride"),
    )


def _backward(dtype: str, channels: int, taps: int, is_whole: bool = True) -> Specimen:
    rows = f"*{dtype}"
    strides = [f"{name}_{axis}_stride" for name in ("dy", "x") for axis in ("batch", "time")]
    arguments = dict.fromkeys(("dy_ptr", "dfinal_ptr", "x_ptr", "dx_ptr"), rows)
    arguments |= {"weight_ptr": "*fp32", "partial_ptr": "*fp32", "channels": "i32"}
    arguments |= dict.fromkeys((*strides, "length", "tiles", "all_tiles", "slab"), "i32")
    if is_whole:
        arguments |= {"bias_ptr": "*fp32", "initial_ptr": rows, "dinitial_ptr": rows}
    chosen = settings(channels)
    return Specimen(
        f"backward {dtype} {channels}, {taps} taps{'' if is_whole else ' alone'}",
        backward_kernel,
        arguments,
        {
            "WIDTH": taps,
            "LINES": 1 << taps.bit_length(),
            "SILU": is_whole,
            "TIMES": chosen.backward_times,
            "COLUMNS": chosen.columns,
        },
        chosen.warps,
        divisible=_divisible(channels, *strides),
    )


def _divisible(channels: int, *strides: str) -> frozenset[str]:
    return frozenset((*strides, "channels") if channels % 16 == 0 else ())
