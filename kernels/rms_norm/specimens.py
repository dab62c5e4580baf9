"""The kernels of RMSNorm as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .triton import SETTINGS, backward_kernel, forward_kernel, settings


def specimens() -> tuple[Specimen, ...]:
    """768 columns in every dtype, with all operands and with none; then every width in bf16.

    An odd width has rows that are not aligned, which takes the most registers.
    """
    widths = [entry.block - 5 for entry in SETTINGS]
    return (
        *(_forward(dtype, 768, True) for dtype in ("bf16", "fp16", "fp32")),
        *(_backward(dtype, 768, True) for dtype in ("bf16", "fp16", "fp32")),
        _forward("bf16", 768, False),
        _backward("bf16", 768, False),
        *(_forward("bf16", width, True) for width in widths),
        *(_backward("bf16", width, True) for width in widths),
    )


def _constants(width: int) -> dict[str, object]:
    chosen = settings(width)
    return {"WIDTH": width, "ROWS": chosen.rows, "BLOCK": chosen.block}


def _forward(dtype: str, width: int, has_all: bool) -> Specimen:
    rows = f"*{dtype}"
    arguments = {"x_ptr": rows, "y_ptr": rows, "x_stride": "i32", "rows": "i32", "eps": "fp32"}
    arguments |= {"residual_stride": "i32"}
    if has_all:
        arguments |= {"residual_ptr": rows, "h_ptr": rows, "weight_ptr": "*fp32"}
    name = f"forward {dtype} {width}{'' if has_all else ' alone'}"
    return Specimen(name, forward_kernel, arguments, _constants(width), settings(width).warps)


def _backward(dtype: str, width: int, has_all: bool) -> Specimen:
    rows = f"*{dtype}"
    arguments = {"dy_ptr": rows, "x_ptr": rows, "dx_ptr": rows, "dy_stride": "i32"}
    arguments |= {"x_stride": "i32", "dsum_stride": "i32", "rows": "i32", "slab": "i32"}
    arguments |= {"eps": "fp32"}
    if has_all:
        arguments |= {"weight_ptr": "*fp32", "dsum_ptr": rows, "partial_ptr": "*fp32"}
    return Specimen(
        f"backward {dtype} {width}{'' if has_all else ' alone'}",
        backward_kernel,
        arguments,
        _constants(width),
        settings(width).warps,
        # A row of 16,384 does not fit the registers of 32 warps.
        may_spill=settings(width) is SETTINGS[-1],
    )
