"""The kernels of the linear recurrence as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..scan_specimens import chunk_specimens, scan_specimen, states_specimen
from ..specimens import Specimen
from .triton import gradients_kernel


def specimens() -> tuple[Specimen, ...]:
    """Every dtype, complex, and lanes that are not aligned."""
    return (
        *(states_specimen("linear", dtype) for dtype in ("bf16", "fp16", "fp32")),
        states_specimen("linear", "fp32", is_complex=True),
        states_specimen("linear", "bf16", is_aligned=False),
        *(_gradients(dtype) for dtype in ("bf16", "fp16", "fp32")),
        _gradients("fp32", is_complex=True),
        _gradients("bf16", is_aligned=False),
        _gradients("bf16", has_da=False),
        *chunk_specimens("linear", "bf16"),
        *chunk_specimens("reversed", "bf16"),
        *chunk_specimens("linear", "fp32", is_complex=True),
        *chunk_specimens("reversed", "fp32", is_complex=True),
    )


def _gradients(
    dtype: str, *, has_da: bool = True, is_complex: bool = False, is_aligned: bool = True
) -> Specimen:
    others = {"after_ptr": "*fp32", "db_ptr": f"*{dtype}", "dinitial_ptr": "*fp32"}
    if has_da:
        others["da_ptr"] = f"*{dtype}"
    return scan_specimen(
        f"gradients {dtype}{'' if has_da else ' without da'}",
        gradients_kernel,
        {"dh": dtype, "a": dtype, "h": dtype, "initial": "fp32"},
        others,
        is_complex=is_complex,
        is_aligned=is_aligned,
    )
