"""The linear recurrence as torch operators: `gabc::linear_scan`, `gabc::linear_scan_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64 or complex128, which the float32 kernels cannot keep, the
reference again. Autocast does not change them: states are float32 in any case.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import for_cuda
from ..scan_operands import scan_operands
from . import reference


def linear_scan(a: Tensor, b: Tensor, initial: Tensor | float = 0.0) -> Tensor:
    """`h_t = a_t h_{t-1} + b_t` for t = 0 .. L-1 with `h_{-1} = initial`; returns every h_t.

    Martin and Cundy 2018 (arXiv:1709.04057), equation 5. a, b broadcast together to [B, L, *S],
    real or complex; `initial` is a number or broadcasts to [B, *S]. Any a may be zero, negative or
    larger than one. Returns [B, L, *S], contiguous, in the dtype of b (the complex one if b alone
    is real, float32 if it is an integer). Computed in float32 or complex64, or in float64 or
    complex128 if an operand is that, and rounded once. The gradient of a is made from the states as
    returned, so in bfloat16 from rounded ones. Gradients have gradients.

    ValueError for a shape or device that does not fit.
    """
    a, b, state, dtype = scan_operands("linear_scan", ("a", a), ("b", b), initial)
    return cast("Tensor", torch.ops.gabc.linear_scan(a, b, state)).to(dtype)


@torch.library.custom_op("gabc::linear_scan", mutates_args=(), device_types="cuda")
def _linear_scan(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    return cast("Tensor", for_cuda("linear_scan", b).forward(a, b, initial))


@torch.library.custom_op("gabc::linear_scan_backward", mutates_args=(), device_types="cuda")
def _linear_scan_backward(
    dh: Tensor, a: Tensor, h: Tensor, initial: Tensor, needs_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = for_cuda("linear_scan", dh).backward(dh, a, h, initial, needs_da)
    return cast("tuple[Tensor, Tensor, Tensor]", gradients)


_linear_scan.register_kernel("cpu", reference.forward)
_linear_scan_backward.register_kernel("cpu", reference.backward)


@_linear_scan.register_fake
def _linear_scan_fake(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    return torch.empty(b.shape, dtype=b.dtype, device=b.device)


@_linear_scan_backward.register_fake
def _linear_scan_backward_fake(
    dh: Tensor, a: Tensor, h: Tensor, initial: Tensor, needs_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    da = a.new_empty(a.shape if needs_da else (0,))
    return da, dh.new_empty(dh.shape), initial.new_empty(initial.shape)


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    a, _, initial = inputs
    ctx.save_for_backward(a, output, initial)


def _differentiate(ctx: Any, dh: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    a, h, initial = ctx.saved_tensors
    needs_da = ctx.needs_input_grad[0]
    da, db, dinitial = torch.ops.gabc.linear_scan_backward(dh, a, h, initial, needs_da)
    return da if needs_da else None, db, dinitial


def _save_backward(
    ctx: Any,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, bool],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, a, h, initial, ctx.needs_da = inputs
    ctx.save_for_backward(a, h, initial, output[1])


def _differentiate_backward(
    ctx: Any, ga: Tensor, gb: Tensor, ginitial: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, None]:
    """The backward is linear in dh, and its transpose is the scan forward in time.

    With ga, gb, ginitial the gradients that reach da, db, dinitial, the scan z of
    `gb_t + ga_t h_{t-1}` by a from ginitial is the gradient of dh; `db_t conj(z_{t-1})` is that of
    a, and `db_t conj(ga_t)` that of h_{t-1}.
    """
    a, h, initial, db = ctx.saved_tensors
    y = gb
    if ctx.needs_da:
        y = gb + ga * _before(h, initial)
    z = torch.ops.gabc.linear_scan(a, y.to(db.dtype), ginitial)
    da = (db * _before(z, ginitial).conj()).to(a.dtype)
    if not ctx.needs_da:
        return z, da, None, None, None
    dbefore = db * ga.conj()
    dh = torch.cat([dbefore[:, 1:], torch.zeros_like(dbefore[:, :1])], 1).to(h.dtype)
    return z, da, dh, dbefore[:, 0].to(initial.dtype), None


def _before(h: Tensor, initial: Tensor) -> Tensor:
    return torch.cat([initial.unsqueeze(1).to(h.dtype), h[:, :-1]], 1)


_linear_scan.register_autograd(_differentiate, setup_context=_save)
_linear_scan_backward.register_autograd(_differentiate_backward, setup_context=_save_backward)
