"""The kernels of gated activations as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .op import ACTIVATIONS
from .triton import SETTINGS, backward_kernel, forward_kernel, settings


def specimens() -> tuple[Specimen, ...]:
    """2,048 columns in every dtype, every activation, and every tile with rows not aligned."""
    return (
        *(_forward(dtype, 2048, "silu") for dtype in ("bf16", "fp16", "fp32")),
        *(_backward(dtype, 2048, "silu") for dtype in ("bf16", "fp16", "fp32")),
        *(_forward("bf16", 2048, activation) for activation in ACTIVATIONS[1:]),
        *(_backward("bf16", 2048, activation) for activation in ACTIVATIONS[1:]),
        *(_backward("bf16", entry.columns - 5, "gelu") for entry in SETTINGS),
    )


def _forward(dtype: str, width: int, activation: str) -> Specimen:
    rows = f"*{dtype}"
    arguments = {"gate_ptr": rows, "up_ptr": rows, "y_ptr": rows, "rows": "i32", "width": "i32"}
    arguments |= {"gate_stride": "i32", "up_stride": "i32"}
    return Specimen(
        f"forward {activation} {dtype} {width}",
        forward_kernel,
        arguments,
        _constants(width, activation),
        settings(width).warps,
        divisible=_divisible(width, "gate_stride", "up_stride", "width"),
    )


def _backward(dtype: str, width: int, activation: str) -> Specimen:
    rows = f"*{dtype}"
    arguments = {"dy_ptr": rows, "gate_ptr": rows, "up_ptr": rows, "dgate_ptr": rows}
    arguments |= {"dup_ptr": rows, "rows": "i32", "width": "i32", "dy_stride": "i32"}
    arguments |= {"gate_stride": "i32", "up_stride": "i32", "gradient_stride": "i32"}
    strides = ("dy_stride", "gate_stride", "up_stride", "gradient_stride", "width")
    return Specimen(
        f"backward {activation} {dtype} {width}",
        backward_kernel,
        arguments,
        _constants(width, activation),
        settings(width).warps,
        divisible=_divisible(width, *strides),
    )


def _constants(width: int, activation: str) -> dict[str, object]:
    chosen = settings(width)
    return {"ACTIVATION": activation, "ROWS": chosen.rows, "COLUMNS": chosen.columns}


def _divisible(width: int, *names: str) -> frozenset[str]:
    return frozenset(names if width % 16 == 0 else ())
