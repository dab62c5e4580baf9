"""RMSNorm as torch operators: `gabc::rms_norm`, `gabc::add_rms_norm`, `gabc::rms_norm_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Triton that is needed and absent is an error, never a slower path.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import described, for_cuda
from . import reference


def rms_norm(x: Tensor, weight: Tensor | None, eps: float = 1e-5) -> Tensor:
    """`y = x * rsqrt(mean(x^2) + eps) * weight`, the mean over the last dim.

    Zhang and Sennrich 2019 (arXiv:1910.07467), equation 4, with eps inside the root.

    x: (..., width), floating point; weight: (width,), of any floating dtype, or None to leave it
    out. Returns y: (..., width) in the dtype of x, contiguous. Computed in float32, or in float64
    if x is float64. The gradient with respect to weight has the dtype of weight.

    TypeError for a dtype and ValueError for a shape, device or eps that does not fit.
    """
    _require_valid(x, weight, eps)
    return cast(Tensor, torch.ops.gabc.rms_norm(x, weight, eps))


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """`h = x + residual` and its norm in one pass; returns `(rms_norm(h, weight, eps), h)`.

    residual has the shape, dtype and device of x; the rest is as in `rms_norm`.
    """
    _require_valid(x, weight, eps)
    if (residual.shape, residual.dtype, residual.device) != (x.shape, x.dtype, x.device):
        raise ValueError(
            f"add_rms_norm adds tensors of one shape, dtype and device: x is {described(x)}, "
            f"residual is {described(residual)}"
        )
    return cast("tuple[Tensor, Tensor]", torch.ops.gabc.add_rms_norm(x, residual, weight, eps))


def _require_valid(x: Tensor, weight: Tensor | None, eps: float) -> None:
    if not x.is_floating_point():
        raise TypeError(f"rms_norm needs a floating-point x, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"rms_norm needs a last dim of at least one element, x is {described(x)}")
    if not eps >= 0:
        raise ValueError(f"rms_norm needs eps >= 0, got {eps}")
    if weight is None:
        return
    if not weight.is_floating_point():
        raise TypeError(f"rms_norm needs a floating-point weight, got {weight.dtype}")
    if weight.shape != x.shape[-1:] or weight.device != x.device:
        raise ValueError(
            f"rms_norm needs one weight per element of the last dim, on the device of x: x is "
            f"{described(x)}, weight is {described(weight)}"
        )


@torch.library.custom_op("gabc::rms_norm", mutates_args=(), device_types="cuda")
def _rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return cast("Tensor", for_cuda("rms_norm", x).forward(x, weight, eps))


@torch.library.custom_op("gabc::add_rms_norm", mutates_args=(), device_types="cuda")
def _add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("rms_norm", x).add_forward(x, residual, weight, eps)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::rms_norm_backward", mutates_args=(), device_types="cuda")
def _rms_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, dsum: Tensor | None
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("rms_norm", x).backward(dy, x, weight, eps, dsum)
    return cast("tuple[Tensor, Tensor]", pair)


_rms_norm.register_kernel("cpu", reference.forward)
_add_rms_norm.register_kernel("cpu", reference.add_forward)
_rms_norm_backward.register_kernel("cpu", reference.backward)


@_rms_norm.register_fake
def _rms_norm_fake(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_add_rms_norm.register_fake
def _add_rms_norm_fake(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return torch.empty_like(h), h


@_rms_norm_backward.register_fake
def _rms_norm_backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, dsum: Tensor | None
) -> tuple[Tensor, Tensor]:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return dx, x.new_empty(0) if weight is None else weight.new_empty(weight.shape)


# The context of an autograd node has no type of its own in torch.
def _save_rms_norm(ctx: Any, inputs: tuple[Tensor, Tensor | None, float], output: Tensor) -> None:
    x, weight, ctx.eps = inputs
    ctx.save_for_backward(x, weight)


def _differentiate_rms_norm(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    dx, dweight = torch.ops.gabc.rms_norm_backward(dy, x, weight, ctx.eps, None)
    return dx, None if weight is None else dweight, None


def _save_add_rms_norm(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, float], output: tuple[Tensor, Tensor]
) -> None:
    _, _, weight, ctx.eps = inputs
    ctx.save_for_backward(output[1], weight)


def _differentiate_add_rms_norm(
    ctx: Any, dy: Tensor, dsum: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, None]:
    h, weight = ctx.saved_tensors
    dx, dweight = torch.ops.gabc.rms_norm_backward(dy, h, weight, ctx.eps, dsum)
    return dx, dx, None if weight is None else dweight, None


_rms_norm.register_autograd(_differentiate_rms_norm, setup_context=_save_rms_norm)
_add_rms_norm.register_autograd(_differentiate_add_rms_norm, setup_context=_save_add_rms_norm)
