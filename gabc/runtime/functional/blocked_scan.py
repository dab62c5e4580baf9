"""Runs an associative recurrence outside autograd, by blocks of about sqrt(L / 8) steps.

Blelloch (1990), "Prefix sums and their applications", with two levels instead of log L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import cast

import torch
from torch import Tensor

ScanStep = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Writes the state after a step: (a_t, b_t, state before it, where to write)."""

Steps = tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]
"""The a, the b and the places for the states, one of each a step."""

WIDE_STEP = 4096
"""A step of more elements costs a CPU more than starting it: one pass over them is fastest."""


def states_operator(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, whose result is like its second argument, as an operator of torch.

    What a scan does depends on numbers, which torch's compiler cannot trace. One that is there
    stays: modules that stand alone define theirs anew, and torch would take the operator away from
    those loaded before.
    """
    defined = getattr(torch.ops.gabc, name, None)
    if defined is not None:
        return cast("Callable[..., Tensor]", defined.default)
    operator = torch.library.custom_op(f"gabc::{name}", function, mutates_args=())
    operator.register_fake(lambda _, b, *__: torch.empty(b.shape, dtype=b.dtype, device=b.device))
    return operator


def run_scan(
    step: ScanStep,
    compose: Callable[..., Tensor],
    a: Tensor,
    b: Tensor,
    initial: Tensor,
    out: Tensor,
    *,
    can_overflow: bool = False,
    is_reversed: bool = False,
) -> None:
    """out_t = step(a_t, b_t, out_{t-1}) from `initial` on; reversed, step(.., out_{t+1}).

    a, b, out [B, L, *S]; initial [B, *S]. `compose(a_t, a_s)` is the a of two steps in one. Each
    block is run from its first input to find what it does to a state, then the blocks' first states
    follow one after another, then each block is run again from its own. So the states within a
    block are the loop's own arithmetic, and nothing is divided. `can_overflow`: a block's own sums
    and products may be infinite where no state is (a state of zero times a huge product); where
    they are, the steps are done one after another.
    """
    length = b.shape[1]
    size = isqrt(length // 8)
    is_wide = b.device.type == "cpu" and b[:, :1].numel() > WIDE_STEP
    rest, state = slice(0, length), initial
    if size > 2 and not is_wide:
        done = length - length % size
        span = slice(length - done, length) if is_reversed else slice(0, done)
        blocks = (torch.unflatten(x[:, span], 1, (-1, size)) for x in (a, b, out))
        a_steps, b_steps, outs = _in_order(2, is_reversed, *blocks)
        starts = _block_starts(step, compose, a_steps, b_steps, initial, is_reversed)
        if not can_overflow or torch.isfinite(starts).all():
            _run_steps(step, a_steps, b_steps, outs, starts)
            rest = slice(0, length - done) if is_reversed else slice(done, length)
            state = out[:, length - done if is_reversed else done - 1]
    if rest.stop > rest.start:
        steps = _in_order(1, is_reversed, a[:, rest], b[:, rest], out[:, rest])
        _run_steps(step, *steps, state)


def _block_starts(
    step: ScanStep,
    compose: Callable[..., Tensor],
    a_steps: Sequence[Tensor],
    b_steps: Sequence[Tensor],
    initial: Tensor,
    is_reversed: bool,
) -> Tensor:
    """The state before each of N blocks, [B, N, *S] as every step of all blocks in a and b."""
    total, end = a_steps[0].clone(), b_steps[0].clone()
    for a_t, b_t in zip(a_steps[1:], b_steps[1:], strict=True):
        step(a_t, b_t, end, end)
        compose(a_t, total, out=total)
    starts = torch.empty_like(end)
    totals, ends, firsts = _in_order(1, is_reversed, total, end, starts)
    firsts[0].copy_(initial)
    _run_steps(step, totals[:-1], ends[:-1], firsts[1:], firsts[0])
    return starts


def _run_steps(
    step: ScanStep, a: Sequence[Tensor], b: Sequence[Tensor], outs: Sequence[Tensor], state: Tensor
) -> None:
    for a_t, b_t, out in zip(a, b, outs, strict=True):
        step(a_t, b_t, state, out)
        state = out


def _in_order(axis: int, is_reversed: bool, a: Tensor, b: Tensor, out: Tensor) -> Steps:
    order = -1 if is_reversed else 1
    return a.unbind(axis)[::order], b.unbind(axis)[::order], out.unbind(axis)[::order]
