"""Softmax attention: keys up to the query."""

from __future__ import annotations

from collections.abc import Mapping

from gabc.dependence.bounds import INFINITY, ONE, ZERO
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import (
    Axis,
    Constraint,
    Dependence,
    Leg,
    Zone,
)
from gabc.dependence.moves import moved_legs, moved_zone, renaming
from gabc.dependence.pointwise import joined_legs
from gabc.dependence.sums import Sum, summed
from gabc.dependence.zones import difference_of, intersection

_KEY, _WIDTH, _GROUP = 1, 2, 3

SCORE_AXES = (-4, -3, -2, -1)
"""Batch, head, query and key of a score."""


def scores(call: DependenceCall) -> Dependence:
    """The scores [B, H, L, L] of `q` and `k`, with the options that edit them."""
    q, k = call.of("q"), call.of("k")
    batch, length, heads, _ = q.axes
    axes = (batch, heads, length, k.axes[1])
    time: list[tuple[Leg, ...]] = []
    rows: list[tuple[Leg, ...]] = []
    parts: tuple[tuple[Dependence, dict[int, int]], ...] = (
        (q, {-4: -4, -3: -2, -2: -3, -1: _WIDTH}),
        (k, {-4: -4, -3: -1, -2: _GROUP, -1: _WIDTH}),
    )
    for value, names in parts:
        dropped = {name: value.axes[old] for old, name in names.items() if name > 0}
        total = _summed(call, value, names, ((),), dropped)
        time.append(total.time)
        rows.append(total.batch)
    bias = call.optional("bias")
    if bias is not None:
        time.append(bias.time)
        rows.append(bias.batch)
    segments = call.optional("segments")
    if segments is not None:
        for name in (-2, -1):
            move = renaming({-2: -4, -1: name})
            time.append(moved_legs(segments.time, move))
            rows.append(moved_legs(segments.batch, move))
    sinks = call.optional("sinks")
    if sinks is not None:
        move = renaming({-1: -3})
        time.append(moved_legs(sinks.time, move))
        rows.append(moved_legs(sinks.batch, move))
    operands = [value for value in (q, k, bias, segments, sinks) if value is not None]
    overflows = any(value.may_overflow for value in operands)
    return Dependence(axes, joined_legs(time), joined_legs(rows), may_overflow=overflows)


def attention(
    call: DependenceCall, score: Dependence | None = None, keep: Dependence | None = None
) -> Dependence:
    """`attend`: [B, L, H, V]. `score` and `keep` are those of its block."""
    score = scores(call) if score is None else score
    past = Constraint(difference_of(-2, -1), ZERO, INFINITY, call.span)
    if call.args.get("window") is not None:
        past = Constraint(past.linear, ZERO, call.size("window") - ONE, call.span)
    zone: Zone = ((past,),)
    weights = [score]
    if keep is not None:
        zone = intersection(zone, keep.zone(0.0))
        weights.append(keep)
    v = call.of("v")
    values = {-4: -4, -3: -1, -2: _GROUP, -1: _WIDTH}
    mixed = _summed(call, v, values, ((),), {_GROUP: v.axes[-2]})
    time = joined_legs([*(weight.time for weight in weights), mixed.time])
    batch = joined_legs([*(weight.batch for weight in weights), mixed.batch])
    key = score.axes[-1]
    act = call.act(weights)
    by_key = renaming({-1: _KEY})
    own = Sum(moved_legs(time, by_key), moved_legs(batch, by_key), moved_zone(zone, by_key))
    total = summed(own, (_KEY,), {_KEY: key}, act)
    # From [B, H, L, ...] with the value's width as 2 to [B, L, H, V].
    out = renaming({-4: -4, -3: -2, -2: -3, _WIDTH: -1})
    return Dependence(
        call.results[0],
        moved_legs(total.time, out),
        moved_legs(total.batch, out),
        may_overflow=any(value.may_overflow for value in (*weights, v)),
    )


def _summed(
    call: DependenceCall,
    value: Dependence,
    names: Mapping[int, int],
    zone: Zone,
    dropped: Mapping[int, Axis],
) -> Sum:
    move = renaming(names)
    own = Sum(moved_legs(value.time, move), moved_legs(value.batch, move), zone)
    return summed(own, tuple(dropped), dropped, call.act([value]))
