"""The recurrence h_t = a_t h_{t-1} + b_t without a loop over every step in Python and autograd.

Its gradient is a reversed scan: Martin and Cundy, "Parallelizing linear recurrent neural nets over
sequence length" (arXiv 1709.04057), equation 9.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from gabc.runtime.functional.blocked_scan import run_scan, states_operator


def linear_scan(a: Tensor, b: Tensor, initial: Tensor | float = 0.0) -> Tensor:
    """h_t = a_t h_{t-1} + b_t for t = 0 .. L-1 with h_{-1} = `initial`; returns every h_t.

    a, b broadcast together to [B, L, *S], real or complex; `initial` is a number or broadcasts to
    [B, *S]. Returns [B, L, *S] in b's dtype (the complex one if b alone is real), computed in
    float32 or complex64 at least. Any a may be zero, negative or larger than one.
    """
    a, b, state, dtype = scan_operands(a, b, initial)
    with torch.autocast(b.device.type, enabled=False):
        return linear_scan_of(a, b, state).to(dtype) if b.shape[1] else b.to(dtype)


def scan_operands(
    a: Tensor, b: Tensor, initial: Tensor | float
) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    """a and b [B, L, *S] and the first state [B, *S] in one wide dtype, and the result's dtype."""
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    if isinstance(initial, Tensor):
        dtype = torch.promote_types(dtype, initial.dtype)
    state = torch.as_tensor(initial, dtype=dtype, device=b.device).expand(shape[:1] + shape[2:])
    keeps = b.is_complex() or (b.is_floating_point() and not dtype.is_complex)
    result = b.dtype if keeps else dtype
    return a.to(dtype).expand(shape), b.to(dtype).expand(shape), state, result


def linear_scan_of(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """`linear_scan` of operands that have one dtype and their full shapes, L > 0."""
    return cast("Tensor", LinearScan.apply(a, b, initial))  # type: ignore[no-untyped-call]


def reversed_linear_scan_of(a: Tensor, y: Tensor) -> Tensor:
    """g_t = y_t + conj(a_{t+1}) g_{t+1}, with g_{L-1} = y_{L-1}: the gradient of a scan's b."""
    return cast("Tensor", ReversedLinearScan.apply(a, y))  # type: ignore[no-untyped-call]


# The context of an autograd node has no type of its own in torch.
class LinearScan(torch.autograd.Function):
    """h_t = a_t h_{t-1} + b_t: its gradient is the reversed scan."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        h = linear_states(a, b, initial)
        ctx.save_for_backward(a, *((h, initial) if ctx.needs_input_grad[0] else ()))
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        a, *states = ctx.saved_tensors
        db = reversed_linear_scan_of(a, gradients[0])
        da = _times_conj_before(db, *states) if states else None
        dinitial = a[:, 0].conj() * db[:, 0] if ctx.needs_input_grad[2] else None
        return da, db, dinitial


class ReversedLinearScan(torch.autograd.Function):
    """g_t = y_t + conj(a_{t+1}) g_{t+1}: its gradient is the scan forward in time."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, y: Tensor) -> Tensor:
        g = reversed_linear_states(a, y)
        ctx.save_for_backward(a, g)
        return g

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        a, g = ctx.saved_tensors
        zero = torch.zeros_like(g[:, 0])
        dy = linear_scan_of(a, gradients[0], zero)
        da = _times_conj_before(g, dy, zero) if ctx.needs_input_grad[0] else None
        return da, dy


def _times_conj_before(x: Tensor, h: Tensor, initial: Tensor) -> Tensor:
    """x_t conj(h_{t-1}) with h_{-1} = `initial`: [B, L, *S]."""
    first, rest = (x[:, :1], initial.conj().unsqueeze(1)), (x[:, 1:], h[:, :-1].conj())
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.cat([torch.mul(*first), torch.mul(*rest)], 1)
    product = torch.empty_like(x)
    torch.mul(*first, out=product[:, :1])
    torch.mul(*rest, out=product[:, 1:])
    return product


def _linear_step(a: Tensor, b: Tensor, h: Tensor, out: Tensor) -> None:
    torch.addcmul(b, a, h, out=out)


def _linear_states(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    h = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    run_scan(_linear_step, torch.mul, a, b, initial, h, can_overflow=True)
    return h


def _reversed_linear_states(a: Tensor, y: Tensor) -> Tensor:
    g = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    g[:, -1] = y[:, -1]
    # Not `conj`, which is lazy, and ignored within an operator of a traced graph.
    after = a[:, 1:].conj_physical() if a.is_complex() else a[:, 1:]
    steps = (after, y[:, :-1], y[:, -1], g[:, :-1])
    run_scan(_linear_step, torch.mul, *steps, can_overflow=True, is_reversed=True)
    return g


linear_states = states_operator("linear_states", _linear_states)
reversed_linear_states = states_operator("reversed_linear_states", _reversed_linear_states)
