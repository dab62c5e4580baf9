"""LayerNorm as torch operators: `gabc::layer_norm`, `gabc::add_layer_norm` and their backward.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Triton that is needed and absent is an error, never a slower path. Autocast casts nothing here: the
dtype of x goes in and comes out, where `torch.nn.functional.layer_norm` would return float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import for_cuda
from ..norm_operands import require_affine, require_gate, require_residual, require_rows
from . import reference

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    gate: Tensor | None = None,
    *,
    activation: str = "silu",
    gate_first: bool = False,
) -> Tensor:
    """`y = (n(x) * weight + bias) * a(gate)` with `n(u) = (u - mean(u)) * rsqrt(var(u) + eps)` over
    the last dim, `var` biased; with `gate_first` `y = n(x * a(gate)) * weight + bias`.

    Ba, Kiros and Hinton 2016 (arXiv:1607.06450), equations 3 and 4, with eps inside the root. `a`
    is silu or, with `activation="sigmoid"`, the logistic function.

    x: (..., width) or (..., heads, width), floating point; weight and bias: (width,), or (heads,
    width) for each head its own, both alike, of any floating dtype, or None to leave one out;
    gate: of the shape of x, of any floating dtype, or None. Returns y in the shape and dtype of x,
    contiguous. Computed in float32, or in float64 if x is float64. Gradients have the dtypes of
    their operands.

    TypeError for a dtype and ValueError for a shape, device, activation or eps that does not fit.
    """
    require_rows("layer_norm", x, eps)
    require_affine("layer_norm", x, weight, bias)
    require_gate("layer_norm", x, gate, activation, gate_first)
    y = torch.ops.gabc.layer_norm(x, weight, bias, eps, gate, activation, gate_first)
    return cast(Tensor, y)


def add_layer_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """`h = x + residual` and its norm in one pass; returns `(layer_norm(h, weight, bias, eps), h)`.

    residual has the shape, dtype and device of x; the rest is as in `layer_norm`.
    """
    require_rows("layer_norm", x, eps)
    require_affine("layer_norm", x, weight, bias)
    require_residual("layer_norm", x, residual)
    pair = torch.ops.gabc.add_layer_norm(x, residual, weight, bias, eps)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::layer_norm", mutates_args=(), device_types="cuda")
def _layer_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Tensor:
    by = for_cuda("layer_norm", x)
    return cast("Tensor", by.forward(x, weight, bias, eps, gate, activation, gate_first))


@torch.library.custom_op("gabc::add_layer_norm", mutates_args=(), device_types="cuda")
def _add_layer_norm(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("layer_norm", x).add_forward(x, residual, weight, bias, eps)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::layer_norm_backward", mutates_args=(), device_types="cuda")
def _layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dsum: Tensor | None,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by = for_cuda("layer_norm", x)
    gradients = by.backward(dy, x, weight, bias, eps, dsum, gate, activation, gate_first)
    return cast("Gradients", gradients)


_layer_norm.register_kernel("cpu", reference.forward)
_add_layer_norm.register_kernel("cpu", reference.add_forward)
_layer_norm_backward.register_kernel("cpu", reference.backward)


@_layer_norm.register_fake
def _layer_norm_fake(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_add_layer_norm.register_fake
def _add_layer_norm_fake(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return torch.empty_like(h), h


@_layer_norm_backward.register_fake
def _layer_norm_backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dsum: Tensor | None,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Gradients:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dweight, dbias, dgate = (
        x.new_empty(0) if of is None else of.new_empty(of.shape) for of in (weight, bias, gate)
    )
    return dx, dweight, dbias, dgate


# The context of an autograd node has no type of its own in torch.
def _save_layer_norm(
    ctx: Any,
    inputs: tuple[Tensor, Tensor | None, Tensor | None, float, Tensor | None, str, bool],
    output: Tensor,
) -> None:
    x, weight, bias, ctx.eps, gate, ctx.activation, ctx.gate_first = inputs
    ctx.save_for_backward(x, weight, bias, gate)


def _differentiate_layer_norm(
    ctx: Any, dy: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None, None, Tensor | None, None, None]:
    x, weight, bias, gate = ctx.saved_tensors
    dx, dweight, dbias, dgate = torch.ops.gabc.layer_norm_backward(
        dy, x, weight, bias, ctx.eps, None, gate, ctx.activation, ctx.gate_first
    )
    dweight, dbias = None if weight is None else dweight, None if bias is None else dbias
    return dx, dweight, dbias, None, None if gate is None else dgate, None, None


def _save_add_layer_norm(
    ctx: Any,
    inputs: tuple[Tensor, Tensor, Tensor | None, Tensor | None, float],
    output: tuple[Tensor, Tensor],
) -> None:
    _, _, weight, bias, ctx.eps = inputs
    ctx.save_for_backward(output[1], weight, bias)


def _differentiate_add_layer_norm(
    ctx: Any, dy: Tensor, dsum: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, None]:
    h, weight, bias = ctx.saved_tensors
    dx, dweight, dbias, _ = torch.ops.gabc.layer_norm_backward(
        dy, h, weight, bias, ctx.eps, dsum, None, "silu", False
    )
    return dx, dx, None if weight is None else dweight, None if bias is None else dbias, None


_layer_norm.register_autograd(_differentiate_layer_norm, setup_context=_save_layer_norm)
_add_layer_norm.register_autograd(_differentiate_add_layer_norm, setup_context=_save_add_layer_norm)
