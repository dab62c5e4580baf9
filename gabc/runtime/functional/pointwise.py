"""Pointwise functions that torch lacks or whose promotion differs."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp(a: Tensor | float, b: Tensor | float, weight: Tensor | float) -> Tensor | float:
    """`a + weight * (b - a)`; unlike `torch.lerp` it promotes operands of different dtypes."""
    return a + weight * (b - a)


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype of `x`, but at least float32: what statistics and positions are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def f32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is that."""
    return x.to(wide_dtype(x))
