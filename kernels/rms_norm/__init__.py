"""Root-mean-square normalisation of the last dim: alone, gated, or after a residual addition."""

from .op import add_rms_norm, rms_norm

__all__ = ["add_rms_norm", "rms_norm"]
