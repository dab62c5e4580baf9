"""Renaming, cutting, joining and shifting axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from gabc.dependence.bounds import ONE, ZERO, Bound, larger, smaller
from gabc.dependence.domain import (
    Axis,
    Constraint,
    Dependence,
    Fill,
    Leg,
    Reason,
    Region,
    Values,
    Zone,
    joined,
)
from gabc.dependence.forms import (
    Form,
    Line,
    axis_form,
    coefficient_of,
    combined,
    form,
    without,
)
from gabc.dependence.ranges import ANY
from gabc.dependence.zones import oriented, union

Moved: TypeAlias = "tuple[Form, Bound, Bound]"
"""A form in the new axes, and the interval of what the old one may exceed it by."""

Move: TypeAlias = "Callable[[Form], Moved]"


def substitution(lines: Mapping[int, Line]) -> Move:
    """Each old axis is a line of the new axes; axes that are not named stay."""

    def move(linear: Form) -> Moved:
        result, constant = _replaced(linear, lines)
        return result, constant, constant

    return move


def renaming(names: Mapping[int, int]) -> Move:
    """Each old axis gets a new name; axes that are not named stay."""

    def move(linear: Form) -> Moved:
        changed = {names.get(axis, axis): c for axis, c in linear}
        return form(changed), ZERO, ZERO

    return move


def _replaced(linear: Form, lines: Mapping[int, Line]) -> tuple[Form, Bound]:
    result: Form = ()
    constant = ZERO
    for axis, coefficient in linear:
        line = lines.get(axis)
        if line is None:
            result = combined(result, ((axis, coefficient),))
        else:
            result = combined(result, line.linear, coefficient)
            constant = constant + coefficient * line.constant
    return result, constant


def joining(outer: int, inner: int, size: Bound, into: int, names: Mapping[int, int]) -> Move:
    """Axes `outer` and `inner` (of `size`) become `into = size * outer + inner`."""

    def move(linear: Form) -> Moved:
        alpha, beta = coefficient_of(linear, outer), coefficient_of(linear, inner)
        rest = without(without(linear, outer), inner)
        result = form({names.get(axis, axis): c for axis, c in rest})
        if alpha is ZERO and beta is ZERO:
            return result, ZERO, ZERO
        slope = alpha / size
        surplus = (beta - slope) * (size - ONE)
        return (
            combined(result, ((into, slope),)) if slope.value else result,
            smaller(ZERO, surplus),
            larger(ZERO, surplus),
        )

    return move


def moved(
    value: Dependence, axes: Sequence[Axis], move: Move, reason: Reason | None = None
) -> Dependence:
    """The value with its axes moved; everything known of it goes along."""
    if not value.time and not value.batch and not value.fills and value.values is None:
        return replace(value, axes=tuple(axes), within=ANY)
    return Dependence(
        tuple(axes),
        moved_legs(value.time, move, reason),
        moved_legs(value.batch, move, reason),
        tuple(Fill(fill.constant, moved_zone(fill.zone, move)) for fill in value.fills),
        None if value.values is None else _moved_values(value.values, move),
        value.is_vague,
        value.may_overflow,
        value.spoilt,
    )


def moved_legs(legs: Sequence[Leg], move: Move, reason: Reason | None = None) -> tuple[Leg, ...]:
    """`reason` is told of legs whose interval changes."""
    result: list[Leg] = []
    for leg in legs:
        linear, below, above = move(leg.linear)
        lo, hi = leg.lo + below, leg.hi + above
        if linear == leg.linear and lo == leg.lo and hi == leg.hi:
            result.append(leg)
            continue
        why = leg.reason
        is_changed = hi != leg.hi or lo != leg.lo or len(linear) < len(leg.linear)
        if reason is not None and is_changed:
            why = replace(reason, before=leg)
        result.append(replace(leg, linear=linear, lo=lo, hi=hi, reason=why))
    return joined(result)


def moved_zone(zone: Zone, move: Move) -> Zone:
    return union([(tuple(_moved_region(region, move)),) for region in zone])


def _moved_region(region: Region, move: Move) -> Iterator[Constraint]:
    for constraint in region:
        linear, below, above = move(constraint.linear)
        if linear:
            lo, hi = constraint.lo - above, constraint.hi - below
            yield oriented(Constraint(linear, lo, hi, constraint.span))


def _moved_values(values: Values, move: Move) -> Values | None:
    padded: int | None = None
    if values.padded is not None:
        # The axis that is filled up must be known as one, or stand at its index 0.
        linear, below, above = move(axis_form(values.padded))
        is_axis = not linear or (len(linear) == 1 and linear[0][1] == ONE)
        if not is_axis or below != ZERO or above != ZERO:
            return None
        padded = linear[0][0] if linear else None
    lowers, uppers = [], []
    for line in values.lowers:
        linear, below, _ = move(line.linear)
        lowers.append(Line(linear, line.constant + below))
    for line in values.uppers:
        linear, _, above = move(line.linear)
        uppers.append(Line(linear, line.constant + above))
    return Values(tuple(lowers), tuple(uppers), values.is_whole, padded)
