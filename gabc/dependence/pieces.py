"""Parts of an axis, and parts put together along one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, number
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import (
    Axis,
    Constraint,
    Dependence,
    Extent,
    Fill,
    Kind,
    Leg,
    Zone,
)
from gabc.dependence.forms import CONSTANT, Line, axis_form, coefficient_of
from gabc.dependence.moves import Move, moved, moved_legs, moved_zone, renaming, substitution
from gabc.dependence.pointwise import broadcast_axes, joined_legs, known_fills
from gabc.dependence.reductions import spread
from gabc.dependence.sums import existence
from gabc.dependence.values import delayed_values
from gabc.dependence.zones import difference_of, union
from gabc.dims import Dim


def piece(
    call: DependenceCall, x: Dependence, name: int, start: Bound, axes: tuple[Axis, ...]
) -> Dependence:
    """The part of an axis that begins at `start`; anywhere, if the axis counts positions."""
    if x.axes[name].extent is not Extent.STATIC:
        return replace(spread(call, x, name), axes=axes)
    return moved(x, axes, substitution({name: Line(axis_form(name), start)}))


def concatenated(call: DependenceCall, xs: Sequence[Dependence], name: int) -> Dependence:
    """Index p of the whole is index p - start of the part that it falls into.

    Where parts before it have a time axis, their number decides which part p falls into.
    """
    time: list[tuple[Leg, ...]] = []
    batch: list[tuple[Leg, ...]] = []
    zones: list[dict[float, Zone]] = []
    start, is_fixed = ZERO, True
    for x in xs:
        move = substitution({name: Line(axis_form(name), -start)})
        legs = moved_legs(x.time, move, call.reason(Kind.MOVE))
        time.append(legs if is_fixed else tuple(_unbounded_below(leg, name) for leg in legs))
        batch.append(moved_legs(x.batch, move))
        zones.append({fill.constant: moved_zone(fill.zone, move) for fill in x.fills})
        axis = x.axes[name]
        if axis.size is None:
            is_fixed = False
            # Index p lies in this part, and not behind it, if there are positions enough.
            border = moved_legs([existence(name, axis, call.act())], move)
            legs = tuple(replace(leg, lo=-INFINITY) for leg in border)
            (batch if axis.extent is Extent.BATCH else time).append(legs)
        else:
            start = start + axis.size
    axes = list(broadcast_axes(xs))
    axes[name] = call.results[0][name]
    fills: list[Fill] = []
    if is_fixed:
        shared = [c for c in zones[0] if all(c in found for found in zones)]
        fills = [Fill(c, union([found[c] for found in zones])) for c in shared]
    return Dependence(
        tuple(axes),
        joined_legs(time),
        joined_legs(batch),
        known_fills(fills),
        None,
        any(x.is_vague for x in xs),
        any(x.may_overflow for x in xs),
    )


def _unbounded_below(leg: Leg, name: int) -> Leg:
    """The start is not known, only that it is not before the one assumed."""
    coefficient = coefficient_of(leg.linear, name)
    if coefficient.value == 0:
        return leg
    if coefficient.value > 0:
        return replace(leg, lo=-INFINITY)
    return replace(leg, hi=INFINITY)


def stacked(call: DependenceCall, xs: Sequence[Dependence], name: int) -> Dependence:
    """A new axis `name`; the axes from there to the left move on."""
    move = renaming({axis: axis - 1 for axis in range(-32, name + 1)})
    parts = [moved(x, call.results[0], move) for x in xs]
    shared = [f.constant for f in parts[0].fills]
    fills = [Fill(c, union([part.zone(c) for part in parts])) for c in shared]
    return Dependence(
        call.results[0],
        joined_legs(part.time for part in parts),
        joined_legs(part.batch for part in parts),
        known_fills(fills),
        None,
        any(part.is_vague for part in parts),
        any(part.may_overflow for part in parts),
    )


# ---------------------------------------------------------------- subscripts


def indexed(call: DependenceCall, x: Dependence, items: Sequence[object]) -> Dependence:
    """`x[items]`: positions and slices, whole axes, new unit axes."""
    value = x
    for place, item in enumerate(item for item in items if item is not None):
        name = place - sum(item is not None for item in items)
        if x.axes[name].extent is not Extent.STATIC and not _counts_from_start(item):
            value = spread(call, value, name)
    lines = _lines(call, x, items)
    part = moved(value, call.results[0], substitution(lines), call.reason(Kind.MOVE))
    return replace(part, within=x.within)


def _lines(call: DependenceCall, x: Dependence, items: Sequence[object]) -> dict[int, Line]:
    """Each old axis as a line of the new ones."""
    lines: dict[int, Line] = {}
    old, new = -1, -1
    for item in reversed(items):
        if item is None:
            new -= 1
            continue
        if isinstance(item, Dim):
            lines[old] = Line(CONSTANT, _position(call, item, x.axes[old]))
        else:
            step, start = ONE, ZERO
            if isinstance(item, tuple):
                if item[0] is not None:
                    start = _position(call, item[0], x.axes[old])
                if item[2] is not None:
                    step = call.sizes.bound(item[2])
            lines[old] = Line(axis_form(new, step), start)
            new -= 1
        old -= 1
    for name in range(-x.rank, old + 1):  # leading axes that the subscript does not see
        lines[name] = Line(axis_form(name - old + new))
    return lines


def _position(call: DependenceCall, item: Dim, axis: Axis) -> Bound:
    """A position; where it counts from the end of time `spread` has made all positions alike."""
    bound = call.sizes.bound(item)
    if not bound.is_finite:
        return ZERO
    if bound.value < 0:
        return ZERO if axis.size is None else axis.size + bound
    return bound


def _counts_from_start(item: object) -> bool:
    """Whether an item keeps an axis whole, or names positions by their distance from its start."""
    first = item[0] if isinstance(item, tuple) else item
    if first is None or isinstance(first, str):
        return True
    assert isinstance(first, Dim)
    number_ = first.as_int()
    return number_ is not None and number_ >= 0


def replaced(
    call: DependenceCall, x: Dependence, items: Sequence[object], value: Dependence
) -> Dependence:
    """`x` with `x[items] = value`."""
    starts: dict[int, Line] = {}
    old, new = -1, -1
    for item in reversed(items):
        if not isinstance(item, Dim):
            step, start = ONE, ZERO
            if isinstance(item, tuple):
                if x.axes[old].extent is not Extent.STATIC and value.rank >= -new:
                    value = spread(call, value, new)
                start = ZERO if item[0] is None else _position(call, item[0], x.axes[old])
                step = ONE if item[2] is None else call.sizes.bound(item[2])
            # Index q of the part is (p - start) / step of the whole.
            starts[new] = Line(axis_form(old, ONE / step), -start / step)
            new -= 1
        old -= 1
    placed = moved(value, x.axes, substitution(starts))
    return Dependence(
        x.axes,
        joined_legs([x.time, placed.time]),
        joined_legs([x.batch, placed.batch]),
        may_overflow=x.may_overflow or value.may_overflow,
    )


# ---------------------------------------------------------------- along time


def delayed(call: DependenceCall, x: Dependence, name: int, by: int) -> Dependence:
    """Index i of the result is index i - by of `x`, zero before the start."""
    move: Move = substitution({name: Line(axis_form(name), -number(by))})
    result = moved(x, x.axes, move, call.reason(Kind.MOVE))
    if by == 0:
        return result
    fills = tuple(fill for fill in result.fills if fill.constant == 0.0)
    known = x.exact_values
    values = None if known is None else delayed_values(known, name, number(by))
    return replace(result, fills=fills, values=values)


def masked_by_order(call: DependenceCall) -> Dependence:
    """The mask [q, k] of `causal`: the key at or before the query."""
    holds = Constraint(difference_of(-2, -1), ZERO, INFINITY, call.span)
    fails = Constraint(difference_of(-2, -1), -INFINITY, -ONE, call.span)
    return Dependence(call.results[0], fills=(Fill(0.0, ((holds,),)), Fill(1.0, ((fails,),))))
