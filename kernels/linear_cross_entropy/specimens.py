"""The kernel of the linear head's cross-entropy that is its own, for compilation without a GPU.

Its other kernels are those of `cross_entropy`, launched alike; its products are cuBLAS's.
"""

from __future__ import annotations

from ..specimens import Specimen
from .triton import BLOCK, WARPS, scale_kernel


def specimens() -> tuple[Specimen, ...]:
    """The gradient of hidden in every dtype, and that of a 16-bit weight."""
    pairs = (("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "fp32"), ("fp32", "bf16"))
    return tuple(
        Specimen(
            f"scale {given} to {result}",
            scale_kernel,
            {"x_ptr": f"*{given}", "scale_ptr": "*fp32", "y_ptr": f"*{result}", "count": "i32"},
            {"BLOCK": BLOCK},
            WARPS,
        )
        for given, result in pairs
    )
