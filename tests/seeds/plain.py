"""The few functions every reference needs, spelled out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def linear(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    """x W^T + b with `name.weight` [out, in] and, where there is one, `name.bias` [out]."""
    y = x @ parameters[f"{name}.weight"].T
    bias = parameters.get(f"{name}.bias")
    return y if bias is None else y + bias


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., heads * K] -> [..., heads, K]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Over the last axis (arXiv 1910.07467, equation 4)."""
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Over the last axis, biased variance (arXiv 1607.06450, equations 3 and 4)."""
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def gated_mlp(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    """SwiGLU (arXiv 2002.05202, equation 6)."""
    gate = linear(x, parameters, f"{name}.gate")
    up = linear(x, parameters, f"{name}.up")
    return linear(gate * torch.sigmoid(gate) * up, parameters, f"{name}.down")


def rotate_pairs(x: Tensor, positions: Tensor, base: float = 10000.0) -> Tensor:
    """Rotary embedding in complex numbers: pair i of position t is multiplied by e^{i t theta_i}.

    x [B, L, H, K] with neighbours as pairs, positions [L] (arXiv 2104.09864, section 3.2.2).
    """
    half = x.shape[-1] // 2
    theta = base ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = positions.to(x.dtype)[:, None] * theta
    turn = torch.polar(torch.ones_like(angle), angle)[:, None, :]
    pairs = torch.view_as_complex(split_heads(x, half).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


def causal_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y_t = bias + sum_j weight[:, kernel - 1 - j] x_{t - j}; x [B, L, C], weight [C, kernel]."""
    kernel = weight.shape[1]
    y = bias.expand_as(x).clone()
    for lag in range(min(kernel, x.shape[1])):
        y[:, lag:] += weight[:, kernel - 1 - lag] * x[:, : x.shape[1] - lag]
    return y


def round_up(numerator: int, denominator: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below numerator / denominator."""
    return multiple * math.ceil(math.ceil(numerator / denominator) / multiple)


def sample(shapes: Shapes, seed: int, scale: float = 0.3) -> dict[str, Tensor]:
    """Random float64 parameters, none of them at a special value such as 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in sorted(shapes.items())
    }
