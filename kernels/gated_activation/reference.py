"""Gated activations in plain torch: the meaning of the operators, and their CPU implementation.

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.

    silu          a(x) = x s(x)                       a'(x) = s(x) (1 + x (1 - s(x)))
    gelu          a(x) = x P(x)                       a'(x) = P(x) + x p(x)
    gelu_tanh     a(x) = x s(2 u(x))                  a'(x) = s(2 u) + 2 x u' s(2 u) (1 - s(2 u))
    relu          a(x) = max(x, 0)                    a'(x) = [x > 0]
    relu_squared  a(x) = max(x, 0)^2                  a'(x) = 2 max(x, 0)
    sigmoid       a(x) = s(x)                         a'(x) = s(x) (1 - s(x))
    identity      a(x) = x                            a'(x) = 1

s is the logistic function, P and p are the distribution and the density of the standard normal, and
u(x) = sqrt(2 / pi) (x + 0.044715 x^3), for which s(2 u) = (1 + tanh(u)) / 2.
GELU: Hendrycks and Gimpel 2016, arXiv 1606.08415. Gates in an MLP: Shazeer 2020, arXiv 2002.05202.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..dispatch import widened


def forward(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """`a(gate) * up`, elementwise; shape and dtype of `gate`."""
    value, _ = _value_and_slope(widened(gate), activation)
    return (value * widened(up)).to(gate.dtype).contiguous()


def backward(dy: Tensor, gate: Tensor, up: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Gradients of `forward`: `dgate = dy up a'(gate)` and `dup = dy a(gate)`."""
    value, slope = _value_and_slope(widened(gate), activation)
    dy = widened(dy)
    dgate, dup = dy * widened(up) * slope, dy * value
    return dgate.to(gate.dtype).contiguous(), dup.to(up.dtype).contiguous()


def packed_forward(x: Tensor, activation: str, gate_first: bool) -> Tensor:
    """`forward` of the two halves of the last dim: x (..., 2 width) -> (..., width)."""
    first, second = x.chunk(2, dim=-1)
    gate, up = (first, second) if gate_first else (second, first)
    return forward(gate, up, activation)


def packed_backward(dy: Tensor, x: Tensor, activation: str, gate_first: bool) -> Tensor:
    """The gradient of `packed_forward`, in the layout of `x`."""
    first, second = x.chunk(2, dim=-1)
    gate, up = (first, second) if gate_first else (second, first)
    dgate, dup = backward(dy, gate, up, activation)
    return torch.cat((dgate, dup) if gate_first else (dup, dgate), dim=-1)


def _value_and_slope(x: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    if activation == "silu":
        s = torch.sigmoid(x)
        return x * s, s * (1.0 + x * (1.0 - s))
    if activation == "gelu":
        below = 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))
        density = torch.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)
        return x * below, below + x * density
    if activation == "gelu_tanh":
        s = torch.sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))
        du = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * x * x)
        return x * s, s + 2.0 * x * du * s * (1.0 - s)
    if activation == "sigmoid":
        s = torch.sigmoid(x)
        return s, s * (1.0 - s)
    if activation == "identity":
        return x, torch.ones_like(x)
    # Not a maximum, which would hide NaN in Triton.
    positive = torch.where(x <= 0, 0.0, x)
    if activation == "relu":
        return positive, (x > 0).to(x.dtype)
    if activation == "relu_squared":
        return positive * positive, 2.0 * positive
    raise ValueError(f"gated_activation has no activation {activation!r}")
