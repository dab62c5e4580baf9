"""RMSNorm in plain torch: the meaning of the operator, and its CPU implementation.

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened


def forward(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """`x * rsqrt(mean(x^2) + eps) * weight` over the last dim; shape and dtype of `x`."""
    wide = widened(x)
    y = wide * _reciprocal_rms(wide, eps)
    if weight is not None:
        y = y * weight.to(y.dtype)
    return y.to(x.dtype).contiguous()


def add_forward(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """`forward(h)` and `h`, where `h = x + residual` is rounded to the dtype of `x` first.

    The rounding makes the pair equal to the two steps written apart, and lets the backward start
    from the stored `h`.
    """
    h = (x + residual).contiguous()
    return forward(h, weight, eps), h


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, dsum: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of `forward` with respect to `x` and `weight`.

    With `r = rsqrt(mean(x^2) + eps)`, `n = x r` and `g = dy * weight`:
    `dx = r (g - n mean(g n)) + dsum` and `dweight = sum over rows of dy n`.

    `dsum` is the gradient that reaches the sum of `add_forward` from its other uses; `dx` is then
    the gradient of both addends. Without a weight the second result has no elements, since an
    operator cannot return an absent tensor.
    """
    wide, dy = widened(x), widened(dy)
    r = _reciprocal_rms(wide, eps)
    n = wide * r
    g = dy if weight is None else dy * weight.to(dy.dtype)
    dx = r * (g - n * (g * n).mean(-1, keepdim=True))
    if dsum is not None:
        dx = dx + dsum
    dx = dx.to(x.dtype).contiguous()
    if weight is None:
        return dx, x.new_empty(0)
    return dx, (dy * n).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)


def _reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
