"""Operations on one element at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product

from gabc.dependence.domain import (
    EVERYWHERE,
    NOWHERE,
    Axis,
    Dependence,
    Extent,
    Fill,
    Leg,
    Source,
    Zone,
    joined,
)
from gabc.dependence.ranges import hull
from gabc.dependence.zones import intersection, union

Function = Callable[..., object]
"""What the operation computes, on plain numbers; truth is 1 and 0."""

MOST_FILLS = 4


def elementwise(
    operands: Sequence[Dependence],
    function: Function | None = None,
    *,
    absorbing: float | None = None,
    may_overflow: bool | None = None,
) -> Dependence:
    """The operands broadcast together and combined element by element.

    `absorbing` is a value of one operand that decides the result, as 0 does in a product; it does
    not where another operand may be infinite. `may_overflow` is that of the operands unless given.
    """
    overflows = any(operand.may_overflow for operand in operands)
    fills: list[Fill] = []
    if function is not None:
        if absorbing is not None:
            fills = list(known_fills(_absorbed(operands, function, absorbing)))
        decided = {fill.constant for fill in fills}
        # What one operand decides is the most that can be said of that constant.
        fills += [f for f in combined_fills(operands, function) if f.constant not in decided]
    return Dependence(
        broadcast_axes(operands),
        joined_legs(operand.time for operand in operands),
        joined_legs(operand.batch for operand in operands),
        known_fills(fills),
        None,
        any(operand.is_vague for operand in operands),
        overflows if may_overflow is None else may_overflow,
        next((operand.spoilt for operand in operands if operand.spoilt is not None), None),
    )


def _absorbed(operands: Sequence[Dependence], function: Function, absorbing: float) -> list[Fill]:
    """Outside any of these zones one operand decides the result."""
    decided = evaluated(function, [absorbing] * len(operands))
    assert decided is not None, "an absorbing value has a value"
    return [
        Fill(decided, operand.zone(absorbing))
        for place, operand in enumerate(operands)
        if not any(o.may_overflow for i, o in enumerate(operands) if i != place)
    ]


def joined_legs(parts: Iterable[tuple[Leg, ...]]) -> tuple[Leg, ...]:
    found = [part for part in parts if part]
    if not found:
        return ()
    first = found[0]
    if all(part is first for part in found):
        return first
    return joined(leg for part in found for leg in part)


def broadcast_axes(operands: Sequence[Dependence]) -> tuple[Axis, ...]:
    """Axes from the right; a unit axis gives way."""
    if len(operands) == 1:
        return operands[0].axes
    rank = max(operand.rank for operand in operands)
    axes: list[Axis] = []
    for name in range(-rank, 0):
        present = [operand.axes[name] for operand in operands if operand.rank >= -name]
        axes.append(next((axis for axis in present if not axis.is_unit), present[0]))
    return tuple(axes)


def combined_fills(operands: Sequence[Dependence], function: Function) -> Iterable[Fill]:
    """Where every operand is a known constant, so is the result."""
    for choice in product(*(operand.fills for operand in operands)):
        constant = evaluated(function, [fill.constant for fill in choice])
        if constant is not None:
            yield Fill(constant, union([fill.zone for fill in choice]))


def evaluated(function: Function, arguments: Sequence[float]) -> float | None:
    """The function's value, `None` where it has none."""
    try:
        result = function(*arguments)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        return None
    if not isinstance(result, (int, float)) or math.isnan(result):
        return None
    return float(result)


def known_fills(fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Fills of one constant are taken together: it stands outside either zone."""
    zones: dict[float, Zone] = {}
    for fill in fills:
        if fill.zone != EVERYWHERE:
            zones[fill.constant] = intersection(zones.get(fill.constant, EVERYWHERE), fill.zone)
    found = [Fill(constant, zone) for constant, zone in zones.items()]
    return tuple(found[:MOST_FILLS])


def chosen(condition: Dependence, a: Dependence, b: Dependence) -> Dependence:
    """`a` where the condition holds, `b` elsewhere."""
    result = elementwise([condition, a, b])
    holds, fails = condition.zone(0.0), condition.zone(1.0)
    fills: list[Fill] = []
    for constant in {fill.constant for fill in (*a.fills, *b.fills)}:
        in_a, in_b = a.zone(constant), b.zone(constant)
        # It is the constant where neither branch that may be chosen is anything else.
        fills.append(Fill(constant, union([intersection(holds, in_a), intersection(fails, in_b)])))
    fills.sort(key=lambda fill: fill.constant)
    return replace(result, fills=known_fills(fills), within=hull(a.range, b.range))


def is_position_mask(operands: Sequence[Dependence], result: Dependence) -> bool:
    """Whether a comparison of positions says something that its zones do not."""
    legs = [leg for operand in operands for leg in (*operand.time, *operand.batch)]
    if any(leg.source is Source.TOKENS or not leg.hi.is_finite for leg in legs):
        return False
    timed = any(axis.extent is Extent.TIME for axis in result.axes)
    return timed and not any(fill.zone == NOWHERE for fill in result.fills) and not result.fills
