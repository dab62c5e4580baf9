"""Recurrences in parallel form: what a position reads of the positions up to it."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.dependence.bounds import INFINITY, ONE, ZERO
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Constraint, Dependence, Extent, Leg
from gabc.dependence.moves import moved_legs, renaming
from gabc.dependence.pointwise import joined_legs
from gabc.dependence.sums import Sum, summed

_KEY = 1


def recurrence(
    call: DependenceCall,
    carried: Sequence[str],
    own: Sequence[str] = (),
    constant: Sequence[str] = (),
    *,
    delay: int = 0,
) -> Dependence:
    """A result [B, L, ...] made of the arguments `carried` up to each position.

    With `delay` 1 only of those before it. `own` are read at the position itself, `constant` at the
    start (an initial state, without a time axis). All axes but time and batch are summed over.
    """
    axes = call.results[0]
    time: list[tuple[Leg, ...]] = []
    batch: list[tuple[Leg, ...]] = []
    for name in (*carried, *own, *constant):
        value = call.optional(name)
        if value is None:
            continue
        lag = delay if name in carried else None
        total = _gathered(call, value, len(axes), lag)
        time.append(total.time)
        batch.append(total.batch)
    values = [v for v in map(call.optional, (*carried, *own, *constant)) if v is not None]
    return Dependence(
        axes,
        joined_legs(time),
        joined_legs(batch),
        is_vague=any(value.is_vague for value in values),
        may_overflow=any(value.may_overflow for value in values),
    )


def _gathered(call: DependenceCall, value: Dependence, rank: int, delay: int | None) -> Sum:
    """The value summed over its static axes, and over the past if there is a `delay`."""
    names: dict[int, int] = {}
    dropped: dict[int, Axis] = {}
    for place, axis in enumerate(value.axes):
        old = place - value.rank
        if axis.extent is Extent.BATCH:
            names[old] = -rank
        elif axis.extent is Extent.TIME and delay is None:
            names[old] = 1 - rank
        elif axis.extent is Extent.TIME:
            names[old] = _KEY
            dropped[_KEY] = axis
        else:
            names[old] = _KEY + 1 + len(dropped)
            dropped[names[old]] = axis
    move = renaming(names)
    zone: tuple[tuple[Constraint, ...], ...] = ((),)
    if _KEY in dropped:
        lag = ZERO if delay == 0 else ONE
        zone = ((Constraint(((1 - rank, ONE), (_KEY, -ONE)), lag, INFINITY, call.span),),)
    start = Sum(moved_legs(value.time, move), moved_legs(value.batch, move), zone)
    return summed(start, tuple(dropped), dropped, call.act([value]))
