"""RMSNorm as torch operators: `gabc::rms_norm`, `gabc::add_rms_norm`, `gabc::rms_norm_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Triton that is needed and absent is an error, never a slower path. Autocast casts nothing here: the
dtype of x goes in and comes out.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import for_cuda
from ..norm_operands import require_affine, require_gate, require_residual, require_rows
from . import reference

Gradients = tuple[Tensor, Tensor, Tensor]


def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-5,
    gate: Tensor | None = None,
    *,
    activation: str = "silu",
    gate_first: bool = False,
) -> Tensor:
    """`y = n(x) * weight * a(gate)` with `n(u) = u * rsqrt(mean(u^2) + eps)`, the mean over the
    last dim; with `gate_first` `y = n(x * a(gate)) * weight`, the order of Mamba-2.

    Zhang and Sennrich 2019 (arXiv:1910.07467), equation 4, with eps inside the root. `a` is silu
    or, with `activation="sigmoid"`, the logistic function.

    x: (..., width) or (..., heads, width), floating point; weight: (width,), or (heads, width) for
    a weight per head, of any floating dtype, or None to leave it out; gate: of the shape of x, of
    any floating dtype, or None. Returns y in the shape and dtype of x, contiguous. Computed in
    float32, or in float64 if x is float64. Gradients have the dtypes of their operands.

    TypeError for a dtype and ValueError for a shape, device, activation or eps that does not fit.
    """
    require_rows("rms_norm", x, eps)
    require_affine("rms_norm", x, weight)
    require_gate("rms_norm", x, gate, activation, gate_first)
    y = torch.ops.gabc.rms_norm(x, weight, eps, gate, activation, gate_first)
    return cast(Tensor, y)


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """`h = x + residual` and its norm in one pass; returns `(rms_norm(h, weight, eps), h)`.

    residual has the shape, dtype and device of x; the rest is as in `rms_norm`.
    """
    require_rows("rms_norm", x, eps)
    require_affine("rms_norm", x, weight)
    require_residual("rms_norm", x, residual)
    return cast("tuple[Tensor, Tensor]", torch.ops.gabc.add_rms_norm(x, residual, weight, eps))


@torch.library.custom_op("gabc::rms_norm", mutates_args=(), device_types="cuda")
def _rms_norm(
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Tensor:
    by = for_cuda("rms_norm", x)
    return cast("Tensor", by.forward(x, weight, eps, gate, activation, gate_first))


@torch.library.custom_op("gabc::add_rms_norm", mutates_args=(), device_types="cuda")
def _add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("rms_norm", x).add_forward(x, residual, weight, eps)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::rms_norm_backward", mutates_args=(), device_types="cuda")
def _rms_norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    dsum: Tensor | None,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    by = for_cuda("rms_norm", x)
    gradients = by.backward(dy, x, weight, eps, dsum, gate, activation, gate_first)
    return cast("Gradients", gradients)


_rms_norm.register_kernel("cpu", reference.forward)
_add_rms_norm.register_kernel("cpu", reference.add_forward)
_rms_norm_backward.register_kernel("cpu", reference.backward)


@_rms_norm.register_fake
def _rms_norm_fake(
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_add_rms_norm.register_fake
def _add_rms_norm_fake(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return torch.empty_like(h), h


@_rms_norm_backward.register_fake
def _rms_norm_backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    dsum: Tensor | None,
    gate: Tensor | None,
    activation: str,
    gate_first: bool,
) -> Gradients:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dweight, dgate = (
        x.new_empty(0) if of is None else of.new_empty(of.shape) for of in (weight, gate)
    )
    return dx, dweight, dgate


# The context of an autograd node has no type of its own in torch.
def _save_rms_norm(
    ctx: Any,
    inputs: tuple[Tensor, Tensor | None, float, Tensor | None, str, bool],
    output: Tensor,
) -> None:
    x, weight, ctx.eps, gate, ctx.activation, ctx.gate_first = inputs
    ctx.save_for_backward(x, weight, gate)


def _differentiate_rms_norm(
    ctx: Any, dy: Tensor
) -> tuple[Tensor, Tensor | None, None, Tensor | None, None, None]:
    x, weight, gate = ctx.saved_tensors
    dx, dweight, dgate = torch.ops.gabc.rms_norm_backward(
        dy, x, weight, ctx.eps, None, gate, ctx.activation, ctx.gate_first
    )
    dweight, dgate = None if weight is None else dweight, None if gate is None else dgate
    return dx, dweight, None, dgate, None, None


def _save_add_rms_norm(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, float], output: tuple[Tensor, Tensor]
) -> None:
    _, _, weight, ctx.eps = inputs
    ctx.save_for_backward(output[1], weight)


def _differentiate_add_rms_norm(
    ctx: Any, dy: Tensor, dsum: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, None]:
    h, weight = ctx.saved_tensors
    dx, dweight, _ = torch.ops.gabc.rms_norm_backward(
        dy, h, weight, ctx.eps, dsum, None, "silu", False
    )
    return dx, dx, None if weight is None else dweight, None


_rms_norm.register_autograd(_differentiate_rms_norm, setup_context=_save_rms_norm)
_add_rms_norm.register_autograd(_differentiate_add_rms_norm, setup_context=_save_add_rms_norm)
