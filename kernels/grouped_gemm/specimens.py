"""The kernels of the grouped product as they are launched, for compilation without a GPU."""

from __future__ import annotations

import torch

from ..specimens import Specimen
from .triton import (
    BAND,
    SETTINGS_16,
    SETTINGS_32,
    SETTINGS_ODD,
    Settings,
    product_kernel,
    weight_gradient_kernel,
    weight_settings,
)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def specimens() -> tuple[Specimen, ...]:
    """Every tile in bf16 and fp32, weights in both orders; other dtypes and odd widths once."""
    largest = SETTINGS_16[-1]
    return (
        *(_product("bf16", entry, True) for entry in SETTINGS_16),
        _product("bf16", largest, False),
        _product("bf16", SETTINGS_ODD, True, is_aligned=False),
        _product("fp16", largest, True),
        *(_product("fp32", entry, True) for entry in SETTINGS_32),
        _product("fp32", SETTINGS_32[-1], False),
        _product("fp32", SETTINGS_32[-1], True, precision="tf32"),
        *(_weight_gradient(dtype, True) for dtype in DTYPES),
        _weight_gradient("bf16", False),
        _weight_gradient("bf16", True, is_aligned=False),
        _weight_gradient("fp32", True, precision="tf32"),
    )


def _product(
    dtype: str,
    chosen: Settings,
    is_packed: bool,
    precision: str = "ieee",
    is_aligned: bool = True,
) -> Specimen:
    """64 experts; packed weights have adjacent columns, others adjacent rows."""
    data = f"*{dtype}"
    arguments = {"x_ptr": data, "weight_ptr": data, "y_ptr": data, "offsets_ptr": "*i64"}
    names = ("x_stride", "expert_stride", "rows", "row_tiles", "experts", "depth", "columns")
    arguments |= dict.fromkeys(names, "i32")
    constants: dict[str, object] = {"EXPERTS": 128, "BAND": BAND}
    return _specimen(
        "product",
        product_kernel,
        dtype,
        chosen,
        is_packed,
        precision,
        is_aligned,
        arguments,
        constants,
    )


def _weight_gradient(
    dtype: str, is_packed: bool, precision: str = "ieee", is_aligned: bool = True
) -> Specimen:
    data = f"*{dtype}"
    arguments = {"dy_ptr": data, "x_ptr": data, "dweight_ptr": "*fp32", "offsets_ptr": "*i64"}
    names = ("dy_stride", "x_stride", "expert_stride", "rows", "depth", "columns")
    arguments |= dict.fromkeys(names, "i32")
    chosen = weight_settings(DTYPES[dtype], 16 if is_aligned else 1)
    return _specimen(
        "gradient of weights",
        weight_gradient_kernel,
        dtype,
        chosen,
        is_packed,
        precision,
        is_aligned,
        arguments,
        {},
    )


def _specimen(
    direction: str,
    kernel: object,
    dtype: str,
    chosen: Settings,
    is_packed: bool,
    precision: str,
    is_aligned: bool,
    arguments: dict[str, str],
    constants: dict[str, object],
) -> Specimen:
    far, near = (
        ("depth_stride", "column_stride") if is_packed else ("column_stride", "depth_stride")
    )
    arguments |= {far: "i32"}
    constants |= {near: 1, "PRECISION": precision}
    constants |= {"ROWS": chosen.rows, "COLUMNS": chosen.columns, "DEPTH": chosen.depth}
    shape = f"{chosen.rows} x {chosen.columns}"
    kind = f"{precision}{'' if is_packed else ', transposed'}{'' if is_aligned else ', odd'}"
    widths = {"x_stride", "dy_stride", "expert_stride", far, "depth", "columns"}
    return Specimen(
        f"{direction} {dtype} {shape} {kind}",
        kernel,
        arguments,
        constants,
        chosen.warps,
        chosen.stages,
        divisible=frozenset(widths if is_aligned else ()),
    )
