"""Reading along an axis at computed places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gabc.dependence.bounds import INFINITY, ONE, ZERO, larger, smaller
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import (
    Axis,
    Dependence,
    Extent,
    Kind,
    Leg,
    Reason,
    Values,
    joined,
)
from gabc.dependence.forms import Form, axis_form, coefficient_of, combined, without
from gabc.dependence.moves import moved_legs, renaming
from gabc.dependence.pointwise import joined_legs
from gabc.dependence.sums import Act, existence


@dataclass(frozen=True, slots=True)
class Place:
    """Axis `name` of the table is read at `index`, which is in the result's axes."""

    name: int
    axis: Axis
    index: Dependence


def looked_up(
    call: DependenceCall,
    table: Dependence,
    places: Sequence[Place],
    names: Mapping[int, int],
    result: tuple[Axis, ...],
) -> Dependence:
    """The table read at the places; `names` renames its remaining axes. Outside it reads 0.

    Names of the axes that are read must not collide with those of the result: they are positive.
    """
    act = call.act()
    time, batch = table.time, table.batch
    for place in places:
        if place.axis.extent is Extent.TIME:
            time = (*time, existence(place.name, place.axis, act))
        elif place.axis.extent is Extent.BATCH:
            batch = (*batch, existence(place.name, place.axis, act))
    move = renaming(names)
    time, batch = moved_legs(time, move), moved_legs(batch, move)
    for place in places:
        time = _read(time, place, act)
        batch = _read(batch, place, act)
    rows = [place.index.batch for place in places if not _reads_own_row(place, result)]
    return Dependence(
        result,
        joined_legs([time, *(place.index.time for place in places)]),
        joined_legs([batch, *rows]),
        may_overflow=table.may_overflow,
    )


def _reads_own_row(place: Place, result: Sequence[Axis]) -> bool:
    """Whether the row's number only serves to find the row itself."""
    line = None if place.index.values is None else place.index.values.line
    if line is None or place.axis.extent is not Extent.BATCH or line.constant != ZERO:
        return False
    axis = line.linear[0][0] if len(line.linear) == 1 else 0
    return axis < 0 and line.linear == axis_form(axis) and result[axis].extent is Extent.BATCH


def _read(legs: Sequence[Leg], place: Place, act: Act) -> tuple[Leg, ...]:
    result: list[Leg] = []
    for leg in legs:
        coefficient = coefficient_of(leg.linear, place.name)
        if coefficient.value == 0:
            result.append(leg)
            continue
        result.append(_at(leg, place, act))
    return joined(result)


def _at(leg: Leg, place: Place, act: Act) -> Leg:
    """The leg where the index lies between its lines."""
    factor = coefficient_of(leg.linear, place.name)
    rest: Form = without(leg.linear, place.name)
    values = place.index.exact_values or Values((), ())
    tops, bottoms = values.uppers, values.lowers
    if factor.value < 0:
        tops, bottoms = bottoms, tops
    if not tops:
        return _anywhere(leg, place, act)
    reason = Reason(Kind.LOOKUP, act.operation, act.span, leg, place.axis)
    candidates = []
    for top in tops:
        bottom = next((line for line in bottoms if line.linear == top.linear), None)
        candidates.append(
            replace(
                leg,
                linear=combined(rest, top.linear, factor),
                lo=-INFINITY if bottom is None else leg.lo + factor * bottom.constant,
                hi=leg.hi + factor * top.constant,
                reason=reason,
            )
        )
    return min(candidates, key=lambda found: (found.hi.value > 0, len(found.linear)))


def _anywhere(leg: Leg, place: Place, act: Act) -> Leg:
    """The leg where data decide the index. Only along time or the batch is anything lost by it."""
    size = place.axis.size
    low, high = -INFINITY, INFINITY
    if size is not None:
        reach = coefficient_of(leg.linear, place.name) * (size - ONE)
        low, high = leg.lo + smaller(ZERO, reach), leg.hi + larger(ZERO, reach)
    return replace(
        leg,
        linear=without(leg.linear, place.name),
        lo=low,
        hi=high,
        is_lost=leg.is_lost or size is None,
        reason=Reason(Kind.DATA, act.operation, act.span, leg, place.axis),
    )
