"""The max-plus recurrence as torch operators: `gabc::max_plus_scan`, and its backward.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: states are float32 in any case.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import for_cuda
from ..linear_scan import linear_scan
from ..scan_operands import scan_operands
from . import reference


def max_plus_scan(f: Tensor, i: Tensor, initial: Tensor | float = -torch.inf) -> Tensor:
    """`m_t = max(m_{t-1} + f_t, i_t)` for t = 0 .. L-1 with `m_{-1} = initial`; every m_t.

    The stabiliser of exponential gates (Beck et al. 2024, arXiv:2405.04517, equation 15). f, i
    broadcast together to [B, L, *S]; `initial` is a number or broadcasts to [B, *S]. `initial`, f
    and i may be -inf. Returns [B, L, *S], contiguous, in the dtype of i (float32 if it is an
    integer). Computed in float32, or in float64 if an operand is that, and rounded once. The
    gradient goes to the larger operand of each maximum, half to each where they are equal before
    rounding. Gradients have gradients.

    TypeError for a complex operand, ValueError for a shape or device that does not fit.
    """
    f, i, state, dtype = scan_operands("max_plus_scan", ("f", f), ("i", i), initial)
    if i.is_complex():
        raise TypeError("max_plus_scan needs real operands, and complex numbers have no order")
    needs_share = torch.is_grad_enabled() and any(x.requires_grad for x in (f, i, state))
    m, _ = torch.ops.gabc.max_plus_scan(f, i, state, needs_share)
    return cast("Tensor", m).to(dtype)


@torch.library.custom_op("gabc::max_plus_scan", mutates_args=(), device_types="cuda")
def _max_plus_scan(
    f: Tensor, i: Tensor, initial: Tensor, needs_share: bool
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("max_plus_scan", i).forward(f, i, initial, needs_share)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::max_plus_scan_backward", mutates_args=(), device_types="cuda")
def _max_plus_scan_backward(
    dm: Tensor, share: Tensor, f_dtype: torch.dtype, initial_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = for_cuda("max_plus_scan", dm).backward(dm, share, f_dtype, initial_dtype)
    return cast("tuple[Tensor, Tensor, Tensor]", gradients)


_max_plus_scan.register_kernel("cpu", reference.forward)
_max_plus_scan_backward.register_kernel("cpu", reference.backward)


@_max_plus_scan.register_fake
def _max_plus_scan_fake(
    f: Tensor, i: Tensor, initial: Tensor, needs_share: bool
) -> tuple[Tensor, Tensor]:
    share = torch.empty(i.shape if needs_share else (0,), dtype=torch.float16, device=i.device)
    return torch.empty(i.shape, dtype=i.dtype, device=i.device), share


@_max_plus_scan_backward.register_fake
def _max_plus_scan_backward_fake(
    dm: Tensor, share: Tensor, f_dtype: torch.dtype, initial_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    df = torch.empty(dm.shape, dtype=f_dtype, device=dm.device)
    state = dm.shape[:1] + dm.shape[2:]
    return df, dm.new_empty(dm.shape), torch.empty(state, dtype=initial_dtype, device=dm.device)


# The context of an autograd node has no type of its own in torch.
def _save(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: tuple[Tensor, Tensor]
) -> None:
    f, _, initial, _ = inputs
    ctx.dtypes = f.dtype, initial.dtype
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _differentiate(ctx: Any, dm: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    (share,) = ctx.saved_tensors
    df, di, dinitial = torch.ops.gabc.max_plus_scan_backward(dm, share, *ctx.dtypes)
    return df, di, dinitial, None


def _save_backward(
    ctx: Any,
    inputs: tuple[Tensor, Tensor, torch.dtype, torch.dtype],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    ctx.save_for_backward(inputs[1])


def _differentiate_backward(
    ctx: Any, gf: Tensor, gi: Tensor, ginitial: Tensor
) -> tuple[Tensor, None, None, None]:
    """The backward is linear in dm, and its transpose a linear scan forward in time."""
    (share,) = ctx.saved_tensors
    shares = share.to(gi.dtype)
    y = shares * gf.to(gi.dtype) + (1 - shares) * gi
    return linear_scan(shares, y, ginitial), None, None, None


_max_plus_scan.register_autograd(_differentiate, setup_context=_save)
_max_plus_scan_backward.register_autograd(_differentiate_backward, setup_context=_save_backward)
