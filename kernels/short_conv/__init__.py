"""A short causal convolution along time, with its state for decoding."""

from .op import causal_conv, short_conv

__all__ = ["causal_conv", "short_conv"]
