"""Rotary position embedding in plain torch: the meaning of the operators, and their CPU form.

Su et al. 2021, arXiv 2104.09864, equation (34): of each head the pair i of channels is turned by an
angle of the position, whose cosine c and sine s come from tables,

    y_1 = x_1 c - x_2 s,    y_2 = x_2 c + x_1 s.

The pairs are (x_i, x_{i + R/2}), or (x_{2i}, x_{2i+1}) if `interleaved`; channels from R on stay.
The gradient is the transposed map: `dx_1 = dy_1 c + dy_2 s`, `dx_2 = dy_2 c - dy_1 s`, which turns
back by the same angle (and keeps a gain that the tables have, as in YaRN).

With `eps` each head is normalised first, `x <- x * rsqrt(mean(x^2) + eps) * weight` over its
channels (query-key norm: Henry et al. 2020, arXiv 2010.04245; as RMSNorm: Gemma Team 2025,
arXiv 2503.19786).

q is (B, L, H, K), k is (B, L, G, K) or absent, tables are (L, R/2) or (B, L, R/2), weights (K,).
float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened


def forward(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor]:
    """q and k, normalised if eps is given, and rotated. Without k the second has no elements."""
    turned_q = _turned(_normalised(widened(q), q_weight, eps), cos, sin, interleaved)
    if k is None:
        return turned_q.to(q.dtype).contiguous(), q.new_empty(0)
    turned_k = _turned(_normalised(widened(k), k_weight, eps), cos, sin, interleaved)
    return turned_q.to(q.dtype).contiguous(), turned_k.to(k.dtype).contiguous()


def backward(
    dyq: Tensor,
    dyk: Tensor | None,
    q: Tensor | None,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to q, k, q_weight and k_weight.

    q and k are needed only with eps. With `r = rsqrt(mean(x^2) + eps)`, `n = x r` and `dm` the
    gradient turned back: `g = dm * weight`, `dx = r (g - n mean(g n))`, and `dweight` is the sum of
    `dm n` over rows and heads. What is absent has a gradient without elements.
    """
    dq, dq_weight = _gradients(dyq, q, q_weight, cos, sin, eps, interleaved)
    if dyk is None:
        return dq, dyq.new_empty(0), dq_weight, dyq.new_empty(0)
    dk, dk_weight = _gradients(dyk, k, k_weight, cos, sin, eps, interleaved)
    return dq, dk, dq_weight, dk_weight


def _gradients(
    dy: Tensor,
    x: Tensor | None,
    weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor]:
    dm = _turned(widened(dy), cos, -sin, interleaved)
    if eps is None:
        return dm.to(dy.dtype).contiguous(), dy.new_empty(0)
    if x is None:
        raise ValueError("the gradient of a normalised head needs the head")
    wide = widened(x)
    r = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    n = wide * r
    g = dm if weight is None else dm * weight.to(dm.dtype)
    dx = (r * (g - n * (g * n).mean(-1, keepdim=True))).to(x.dtype).contiguous()
    if weight is None:
        return dx, dy.new_empty(0)
    return dx, (dm * n).sum((0, 1, 2)).to(weight.dtype)


def _normalised(x: Tensor, weight: Tensor | None, eps: float | None) -> Tensor:
    if eps is None:
        return x
    n = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return n if weight is None else n * weight.to(n.dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """x (B, L, H, K) with the channels below R = 2 cos.shape[-1] turned."""
    c, s = cos.to(x.dtype).unsqueeze(-2), sin.to(x.dtype).unsqueeze(-2)
    rotary = 2 * cos.shape[-1]
    head, rest = x[..., :rotary], x[..., rotary:]
    if interleaved:
        first, second = head[..., 0::2], head[..., 1::2]
        pairs = torch.stack((first * c - second * s, second * c + first * s), dim=-1)
        return torch.cat((pairs.flatten(-2), rest), dim=-1)
    first, second = head.chunk(2, dim=-1)
    return torch.cat((first * c - second * s, second * c + first * s, rest), dim=-1)
