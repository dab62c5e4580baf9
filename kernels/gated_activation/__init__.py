"""The product of an activated gate and a second factor, of two tensors or the halves of one."""

from .op import gated_activation, packed_gated_activation

__all__ = ["gated_activation", "packed_gated_activation"]
