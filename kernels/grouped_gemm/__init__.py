"""Products of groups of rows with a matrix each, as sparse experts need."""

from .op import grouped_gemm

__all__ = ["grouped_gemm"]
