"""What goes into the body of a scan, from step to step, and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, larger, smaller
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import NOWHERE, Axis, Dependence, Kind, Leg, Source, joined
from gabc.dependence.forms import (
    STEP,
    Form,
    Line,
    axis_form,
    coefficient_of,
    combined,
    form,
    without,
)
from gabc.dependence.moves import Moved, moved, substitution


def in_step(x: Dependence, axes: tuple[Axis, ...]) -> Dependence:
    """An argument [B, L, ...] as one step sees it: the time axis is the step."""
    time, batch = 1 - x.rank, -x.rank
    lines = {time: Line(axis_form(STEP)), batch: Line(axis_form(batch + 1))}
    return moved(x, axes, substitution(lines))


def in_chunk(call: DependenceCall, x: Dependence, axes: tuple[Axis, ...]) -> Dependence:
    """An argument as a chunk sees it: l is the chunk's first position plus the place in the chunk.

    The last chunk is filled up, so every element depends on whether its position exists, and a
    value that follows from the position does so only where it exists.
    """
    time = 1 - x.rank
    position = form({STEP: ONE, time: ONE})
    inner = moved(x, axes, substitution({time: Line(position)}))
    filled = Leg(position, ZERO, ZERO, Source.LENGTH, reason=call.reason(Kind.PAD))
    fills = tuple(fill for fill in inner.fills if fill.zone == NOWHERE)
    return replace(inner, time=joined((*inner.time, filled)), fills=fills, values=None)


def initial_state(start: Dependence, axes: tuple[Axis, ...]) -> Dependence:
    return Dependence(axes, start.time, start.batch, may_overflow=start.may_overflow)


def after_step(state: Dependence, step: Bound) -> Dependence:
    """A state after one step as the next step finds it."""
    move = substitution({STEP: Line(axis_form(STEP), -step)})
    value = moved(replace(state, fills=(), values=None), state.axes, move)
    return replace(value, is_vague=False)


def widened(before: Dependence, after: Dependence, rounds: int) -> Dependence:
    """The two together; from the second round on an end that still moves goes to infinity."""
    time = joined((*before.time, *after.time))
    batch = joined((*before.batch, *after.batch))
    if rounds:
        time = tuple(_widened(leg, before.time) for leg in time)
        batch = tuple(_widened(leg, before.batch) for leg in batch)
    overflow = before.may_overflow or after.may_overflow
    return Dependence(before.axes, time, batch, may_overflow=overflow)


def _widened(leg: Leg, before: Sequence[Leg]) -> Leg:
    for old in before:
        if (old.linear, old.source, old.is_lost) == (leg.linear, leg.source, leg.is_lost):
            lo = leg.lo if leg.lo == old.lo else -INFINITY
            hi = leg.hi if leg.hi == old.hi else INFINITY
            return replace(leg, lo=lo, hi=hi)
    return leg


def step_result(value: Dependence, axes: tuple[Axis, ...]) -> Dependence:
    """What a step returns [B, ...], with the time axis put back: [B, L, ...]."""
    batch = -value.rank
    lines = {STEP: Line(axis_form(batch)), batch: Line(axis_form(batch - 1))}
    return _returned(moved(value, axes, substitution(lines)))


def chunk_result(
    call: DependenceCall, value: Dependence, axes: tuple[Axis, ...], size: Bound
) -> Dependence:
    """What a chunk returns [B, C, ...] as [B, L, ...]: its first position is l - c."""
    time = 1 - value.rank

    def move(linear: Form) -> Moved:
        start, place = coefficient_of(linear, STEP), coefficient_of(linear, time)
        rest = without(without(linear, STEP), time)
        surplus = (place - start) * (size - ONE)
        result = combined(rest, axis_form(time, start)) if start.value else rest
        return result, smaller(ZERO, surplus), larger(ZERO, surplus)

    whole = [leg for leg in value.time if not coefficient_of(leg.linear, time).value]
    rest = [leg for leg in value.time if coefficient_of(leg.linear, time).value]
    crossing = tuple(
        replace(leg, reason=replace(call.reason(Kind.CHUNK), before=leg)) for leg in whole
    )
    marked = replace(value, time=(*crossing, *rest))
    return _returned(moved(marked, axes, move, call.reason(Kind.MOVE)))


def _returned(value: Dependence) -> Dependence:
    fills = tuple(fill for fill in value.fills if fill.zone == NOWHERE)
    return replace(value, fills=fills, values=None)
