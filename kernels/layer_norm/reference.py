"""LayerNorm in plain torch: the meaning of the operators, and their CPU implementation.

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
    bias: Tensor | None,
    eps: float,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> Tensor:
    """`(n(x) * weight + bias) * a(gate)`, or with `gate_first` `n(x * a(gate)) * weight + bias`.

    `n(u) = (u - mean(u)) * rsqrt(var(u) + eps)` over the last dim, `var` biased, and `a` is silu or
    sigmoid. Shape and dtype of `x`.
    """
    u = widened(x)
    if gate is not None and gate_first:
        u = u * activated(gate, activation, u.dtype)
    centred, r = _centred(u, eps)
    y = centred * r
    if weight is not None:
        y = y * weight.to(y.dtype)
    if bias is not None:
        y = y + bias.to(y.dtype)
    if gate is not None and not gate_first:
        y = y * activated(gate, activation, y.dtype)
    return y.to(x.dtype).contiguous()


def add_forward(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """`forward(h)` and `h`, where `h = x + residual` is rounded to the dtype of `x` first.

    The rounding makes the pair equal to the two steps written apart, and lets the backward start
    from the stored `h`.
    """
    h = (x + residual).contiguous()
    return forward(h, weight, bias, eps), h


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dsum: Tensor | None = None,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to `x`, `weight`, `bias` and `gate`.

    With `u = x a(gate)` and `c = dy` if `gate_first`, else `u = x` and `c = dy a(gate)`; and with
    `r = rsqrt(var(u) + eps)`, `n = (u - mean(u)) r`, `g = c * weight`:

        du = r (g - mean(g) - n mean(g n))
        dweight = sum over rows of c n,    dbias = sum over rows of c
        gate first:  dx = du a(gate),    dgate = du x a'(gate)
        gate after:  dx = du,            dgate = dy (n weight + bias) a'(gate)

    `dsum`, added to `dx`, is the gradient that reaches the sum of `add_forward` from its other
    uses; `dx` is then the gradient of both addends. The gradient of what is absent has no
    elements, since an operator cannot return an absent tensor.
    """
    wide, dy = widened(x), widened(dy)
    a = None if gate is None else activated(gate, activation, wide.dtype)
    u, c = wide, dy
    if a is not None:
        u, c = (wide * a, dy) if gate_first else (wide, dy * a)
    centred, r = _centred(u, eps)
    n = centred * r
    scale = 1.0 if weight is None else weight.to(n.dtype)
    g = c * scale
    dx = r * (g - g.mean(-1, keepdim=True) - n * (g * n).mean(-1, keepdim=True))
    dgate = x.new_empty(0)
    if gate is not None and a is not None:
        affine = n * scale + (0.0 if bias is None else bias.to(n.dtype))
        moved = dx * wide if gate_first else dy * affine
        slope = activation_slope(gate, activation, wide.dtype)
        dgate = (moved * slope).to(gate.dtype).contiguous()
        dx = dx * a if gate_first else dx
    if dsum is not None:
        dx = dx + dsum
    dx = dx.to(x.dtype).contiguous()
    return dx, _summed(c * n, weight, x), _summed(c, bias, x), dgate


def _centred(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`x` less its mean, and the reciprocal root of its variance plus eps."""
    centred = x - x.mean(-1, keepdim=True)
    return centred, torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)


def _summed(terms: Tensor, parameter: Tensor | None, x: Tensor) -> Tensor:
    """The gradient of a parameter that was broadcast to the rows of `terms`."""
    if parameter is None:
        return x.new_empty(0)
    total = terms.sum_to_size(parameter.shape)
    # A copy, since without rows to sum this is `terms` itself, a result or an operand.
    return total.to(parameter.dtype, copy=True).contiguous()
