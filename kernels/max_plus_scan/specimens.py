"""The kernels of the max-plus recurrence as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..scan_specimens import chunk_specimens, scan_specimen, states_specimen
from ..specimens import Specimen
from .triton import gradients_kernel


def specimens() -> tuple[Specimen, ...]:
    """Every dtype, with the share of the past and without, and lanes that are not aligned."""
    return (
        *(states_specimen("max_plus", dtype, share="fp16") for dtype in ("bf16", "fp16", "fp32")),
        states_specimen("max_plus", "fp32"),
        states_specimen("max_plus", "bf16", share="fp16", is_aligned=False),
        *(_gradients(dtype) for dtype in ("bf16", "fp16", "fp32")),
        _gradients("bf16", is_aligned=False),
        *chunk_specimens("max_plus", "fp32"),
        *chunk_specimens("max_plus", "bf16", is_aligned=False),
        *chunk_specimens("reversed", "fp16"),
    )


def _gradients(dtype: str, *, is_aligned: bool = True) -> Specimen:
    others = {"after_ptr": "*fp32", "df_ptr": f"*{dtype}", "di_ptr": f"*{dtype}"}
    return scan_specimen(
        f"gradients {dtype}",
        gradients_kernel,
        {"dm": dtype, "share": "fp16"},
        others | {"dinitial_ptr": "*fp32"},
        is_aligned=is_aligned,
    )
