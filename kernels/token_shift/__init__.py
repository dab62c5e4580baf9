"""Blends of each token with the one before it, several of one sequence at once."""

from .op import token_shift

__all__ = ["token_shift"]
