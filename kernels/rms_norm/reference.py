"""RMSNorm in plain torch: the meaning of the operators, and their CPU implementation.

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened
from ..norm_operands import activated, activation_slope


def forward(
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> Tensor:
    """`n(x) * weight * a(gate)`, or with `gate_first` `n(x * a(gate)) * weight`, where
    `n(u) = u * rsqrt(mean(u^2) + eps)` over the last dim and `a` is silu or sigmoid.

    Shape and dtype of `x`. The gated norms are those of Gated DeltaNet (Yang et al. 2024,
    arXiv:2412.06464, section 3.4) and Mamba-2 (Dao and Gu 2024, arXiv:2405.21060, section 7.1, in
    the order of the authors' code).
    """
    u = widened(x)
    if gate is not None and gate_first:
        u = u * activated(gate, activation, u.dtype)
    y = u * _reciprocal_rms(u, eps)
    if weight is not None:
        y = y * weight.to(y.dtype)
    if gate is not None and not gate_first:
        y = y * activated(gate, activation, y.dtype)
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
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    dsum: Tensor | None = None,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to `x`, `weight` and `gate`.

    With `u = x a(gate)` and `c = dy` if `gate_first`, else `u = x` and `c = dy a(gate)`; and with
    `r = rsqrt(mean(u^2) + eps)`, `n = u r`, `g = c * weight`:

        du = r (g - n mean(g n)),    dweight = sum over rows of c n
        gate first:  dx = du a(gate),    dgate = du x a'(gate)
        gate after:  dx = du,            dgate = dy n weight a'(gate)

    `dsum`, added to `dx`, is the gradient that reaches the sum of `add_forward` from its other
    uses; `dx` is then the gradient of both addends. The gradient of an absent weight or gate has
    no elements, since an operator cannot return an absent tensor.
    """
    wide, dy = widened(x), widened(dy)
    a = None if gate is None else activated(gate, activation, wide.dtype)
    u, c = wide, dy
    if a is not None:
        u, c = (wide * a, dy) if gate_first else (wide, dy * a)
    r = _reciprocal_rms(u, eps)
    n = u * r
    scale = 1.0 if weight is None else weight.to(n.dtype)
    g = c * scale
    dx = r * (g - n * (g * n).mean(-1, keepdim=True))
    dgate = x.new_empty(0)
    if gate is not None and a is not None:
        moved = dx * wide if gate_first else dy * n * scale
        slope = activation_slope(gate, activation, wide.dtype)
        dgate = (moved * slope).to(gate.dtype).contiguous()
        dx = dx * a if gate_first else dx
    if dsum is not None:
        dx = dx + dsum
    dx = dx.to(x.dtype).contiguous()
    if weight is None:
        return dx, x.new_empty(0), dgate
    return dx, (c * n).sum_to_size(weight.shape).to(weight.dtype).contiguous(), dgate


def _reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
