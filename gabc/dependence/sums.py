"""Summing over axes: what a leg and a zone become when an axis goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gabc.dependence.bounds import INFINITY, ONE
from gabc.dependence.domain import (
    NOWHERE,
    Axis,
    Constraint,
    Extent,
    Kind,
    Leg,
    Reason,
    Region,
    Source,
    Spoilt,
    Zone,
    joined,
)
from gabc.dependence.forms import (
    CONSTANT,
    Form,
    coefficient_of,
    combined,
    without,
)
from gabc.dependence.zones import eliminate, range_of
from gabc.syntax.source import Span


@dataclass(frozen=True, slots=True)
class Act:
    """The operation that does it, for messages; `is_vague` if its mask was not understood.

    `spoilt` is what has kept a mask of its operand from being one.
    """

    operation: str
    span: Span
    is_vague: bool = False
    spoilt: Spoilt | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """Legs on positions and on rows, and the zone outside which nothing is summed."""

    time: tuple[Leg, ...]
    batch: tuple[Leg, ...]
    zone: Zone


def existence(name: int, axis: Axis, act: Act) -> Leg:
    """That there is an index at all depends on the length (or the number of rows)."""
    reason = Reason(Kind.INPUT, act.operation, act.span, None, axis, None, name)
    if axis.spacing is None:
        return Leg(CONSTANT, -INFINITY, INFINITY, Source.LENGTH, reason=reason)
    at = -axis.offset
    return Leg(((name, axis.spacing),), at, at, Source.LENGTH, reason=reason)


def summed(value: Sum, names: Sequence[int], axes: Mapping[int, Axis], act: Act) -> Sum:
    """Sum over the axes `names`, of which only what lies in the zone counts."""
    time, batch, zone = value.time, value.batch, value.zone
    for name in names:
        axis = axes[name]
        if axis.extent is Extent.TIME:
            time = (*time, existence(name, axis, act))
        elif axis.extent is Extent.BATCH:
            batch = (*batch, existence(name, axis, act))
        time = eliminated(time, zone, name, axis, act)
        batch = eliminated(batch, zone, name, axis, act)
        zone = eliminate(zone, name, axis)
    return Sum(time, batch, zone)


def eliminated(legs: Sequence[Leg], zone: Zone, name: int, axis: Axis, act: Act) -> tuple[Leg, ...]:
    """The legs of a sum over an axis."""
    if zone == NOWHERE:
        return ()
    result: list[Leg] = []
    for leg in legs:
        if coefficient_of(leg.linear, name).value == 0:
            result.append(leg)
        else:
            result.extend(_bounded(leg, region, name, axis, act) for region in zone)
    return joined(result)


def _bounded(leg: Leg, region: Region, name: int, axis: Axis, act: Act) -> Leg:
    """The leg over all indices of the axis that the region allows for the other axes."""
    candidates = [
        _candidate(leg, constraint, name)
        for constraint in region
        if coefficient_of(constraint.linear, name).value != 0
    ]
    usable = [found for found in candidates if found[0].hi.is_finite]
    constraint: Constraint | None = None
    if usable:
        best, constraint = min(usable, key=_usefulness)
    else:
        best, _ = _candidate(leg, range_of(name, axis), name)
    kind = Kind.REDUCE if constraint is None else Kind.MASK
    reason = Reason(kind, act.operation, act.span, leg, axis, constraint, name, act.spoilt)
    is_lost = leg.is_lost or (act.is_vague and not best.hi.is_finite)
    return replace(best, is_lost=is_lost, reason=reason)


def _usefulness(found: tuple[Leg, Constraint]) -> tuple[bool, int, float, float]:
    """First what does not look ahead, then what speaks of few axes, with small coefficients."""
    leg, _ = found
    slope = sum(float(coefficient.value) for _, coefficient in leg.linear)
    return leg.hi.value > 0, len(leg.linear), slope, float(leg.hi.value)


def _candidate(leg: Leg, constraint: Constraint, name: int) -> tuple[Leg, Constraint]:
    """The leg when a constraint replaces the axis by what bounds it."""
    ratio = coefficient_of(leg.linear, name) / coefficient_of(constraint.linear, name)
    down, up = constraint.lo, constraint.hi
    if ratio.value < 0:
        down, up = up, down
    linear: Form = combined(
        without(leg.linear, name), without(constraint.linear, name), -ONE * ratio
    )
    return replace(leg, linear=linear, lo=leg.lo + ratio * down, hi=leg.hi + ratio * up), constraint
