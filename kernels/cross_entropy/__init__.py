"""Cross-entropy of logits over a large vocabulary, with label smoothing, z-loss and a soft cap."""

from .op import cross_entropy

__all__ = ["cross_entropy"]
