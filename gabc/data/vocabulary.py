"""The width of a vocabulary."""

from __future__ import annotations

VOCAB_MULTIPLE = 8


def padded(size: int) -> int:
    """`size` rounded up to a multiple of 8."""
    return -(-size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
