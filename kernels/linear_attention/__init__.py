"""Linear attention with decay, in chunks: queries read a state that keys and values write."""

from .op import linear_attention, linear_attention_state

__all__ = ["linear_attention", "linear_attention_state"]
