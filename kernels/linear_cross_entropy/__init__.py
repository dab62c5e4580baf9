"""Cross-entropy of a linear head, without the logits of all rows."""

from .op import linear_cross_entropy

__all__ = ["linear_cross_entropy"]
