"""Layer normalisation of the last dim: alone, gated, or after a residual addition."""

from .op import add_layer_norm, layer_norm

__all__ = ["add_layer_norm", "layer_norm"]
