"""Zones: where a value is not its fill. Every operation errs towards the larger zone."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import gcd

from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, floor_of, number, sized
from gabc.dependence.domain import EVERYWHERE, NOWHERE, Axis, Constraint, Region, Zone
from gabc.dependence.forms import (
    Form,
    Line,
    axis_form,
    coefficient_of,
    combined,
    scaled,
    without,
)
from gabc.dims import Dim
from gabc.syntax.source import Span

MOST_REGIONS = 8
MOST_CONSTRAINTS = 16
_SLACK = Fraction(1, 10**9)
"""Comparisons in floating point may hold a little beyond their bound."""


def at_most(left: Line, right: Line, strict: bool, is_whole: bool, span: Span | None) -> Zone:
    """Where `left <= right` may hold (`left < right` if strict).

    `is_whole`: the values compared are whole numbers, which floats hold exactly.
    """
    difference = left.plus(right, -ONE)
    hi = -difference.constant
    if strict and is_whole:
        hi, strict = hi - ONE, False
    is_exact = is_whole or all(_is_dyadic(c) for c in (*dict(difference.linear).values(), hi))
    linear, hi = _cleared(difference.linear, hi)
    if not linear:
        # A comparison of sizes is decided by the scale; both outcomes are kept open.
        fails = hi.value < 0 or (hi.value == 0 and strict)
        return NOWHERE if fails and is_exact and hi.dim is None else EVERYWHERE
    if all(coefficient.is_integral for _, coefficient in linear):
        if strict and is_exact and hi.is_integral:
            hi = hi - ONE
        elif not is_exact and not hi.is_integral:
            hi = hi + number(_SLACK)
        hi = floor_of(hi)
    elif not is_exact:
        hi = hi + number(_SLACK)
    return ((oriented(Constraint(linear, -INFINITY, hi, span)),),)


def _is_dyadic(bound: Bound) -> bool:
    value = bound.value
    return not isinstance(value, Fraction) or value.denominator & (value.denominator - 1) == 0


def _cleared(linear: Form, bound: Bound) -> tuple[Form, Bound]:
    """Multiplied by the denominators of the coefficients, and divided by what they share."""
    factor = ONE
    for _, coefficient in linear:
        cleared = coefficient * factor
        if cleared.dim is not None:
            factor = factor * _denominator(cleared)
        elif isinstance(cleared.value, Fraction):
            factor = factor * number(cleared.value.denominator)
    linear, bound = scaled(linear, factor), bound * factor
    if linear and linear[0][1].dim is not None:
        # C n - C m <= k: a symbolic factor that all share.
        common = linear[0][1] if linear[0][1].value > 0 else -linear[0][1]
        if all((coefficient / common).dim is None for _, coefficient in linear):
            linear, bound = scaled(linear, ONE / common), bound / common
    shared = [abs(c.value) if c.dim is None and isinstance(c.value, int) else 1 for _, c in linear]
    divisor = number(gcd(*shared)) if shared else ONE
    return scaled(linear, ONE / divisor), bound / divisor


def _denominator(coefficient: Bound) -> Bound:
    """What stands below the line in a monomial such as `1/C`; 1 if its numerator is no number."""
    dim = coefficient.dim
    assert dim is not None
    if not dim.is_monomial:
        return ONE
    below = Dim.const(1)
    for atom, exponent in dim.terms[0][0]:
        if exponent < 0:
            below = below * Dim.atom(atom) ** -exponent
    above = (dim * below).as_fraction()
    if below.is_one or above is None:
        return ONE
    return sized(above / Fraction(coefficient.value), below)


def oriented(constraint: Constraint) -> Constraint:
    """The first coefficient positive, so that equal forms are seen to be equal."""
    if constraint.linear[0][1].value > 0:
        return constraint
    negative = scaled(constraint.linear, -ONE)
    return Constraint(negative, -constraint.hi, -constraint.lo, constraint.span)


def intersection(left: Zone, right: Zone) -> Zone:
    if left in (EVERYWHERE, right):
        return right
    if right == EVERYWHERE:
        return left
    if len(left) * len(right) > MOST_REGIONS:
        return left if len(left) <= len(right) else right
    regions = (both(a, b) for a in left for b in right)
    return tuple(dict.fromkeys(region for region in regions if not is_impossible(region)))


def is_impossible(region: Region) -> bool:
    """Whether two of its numbers contradict each other, at every scale."""
    return any(c.lo.value > c.hi.value and c.lo.dim is None and c.hi.dim is None for c in region)


def both(left: Region, right: Region) -> Region:
    found: dict[Form, Constraint] = {}
    for constraint in (*left, *right):
        other = found.get(constraint.linear)
        found[constraint.linear] = constraint if other is None else _tighter(other, constraint)
    return tuple(found.values())


def _tighter(a: Constraint, b: Constraint) -> Constraint:
    lo = a.lo if a.lo.value >= b.lo.value else b.lo
    upper = a if a.hi.value <= b.hi.value else b
    return Constraint(a.linear, lo, upper.hi, upper.span)


def union(zones: Iterable[Zone]) -> Zone:
    regions: list[Region] = []
    for zone in zones:
        for region in zone:
            if not region:
                return EVERYWHERE
            if region not in regions:
                regions.append(region)
    return tuple(regions) if len(regions) <= MOST_REGIONS else EVERYWHERE


def range_of(name: int, axis: Axis) -> Constraint:
    """What holds for every index of an axis."""
    high = INFINITY if axis.size is None else axis.size - ONE
    return Constraint(axis_form(name), ZERO, high)


def eliminate(zone: Zone, name: int, axis: Axis) -> Zone:
    """What the zone says of the other axes (Fourier and Motzkin's elimination)."""
    regions: list[Region] = []
    for region in zone:
        kept = [c for c in region if coefficient_of(c.linear, name).value == 0]
        about = [c for c in region if coefficient_of(c.linear, name).value != 0]
        if about:
            about.append(range_of(name, axis))
        for upper in about:
            for lower in about:
                new = _without_axis(upper, lower, name)
                if new is not None:
                    kept.append(new)
        if len(kept) > MOST_CONSTRAINTS:
            kept = kept[:MOST_CONSTRAINTS]
        regions.append(both(tuple(kept), ()))
    return union([(region,) for region in regions])


def _without_axis(upper: Constraint, lower: Constraint, name: int) -> Constraint | None:
    """The upper end of one constraint on an axis with the lower end of another."""
    if upper is lower:
        return None
    up, down = _signed(upper, name), _signed(lower, name)
    if not up.hi.is_finite or not down.lo.is_finite:
        return None
    a, b = coefficient_of(up.linear, name), coefficient_of(down.linear, name)
    linear = combined(scaled(without(up.linear, name), b), without(down.linear, name), -a)
    if not linear:
        return None
    hi = up.hi * b - down.lo * a
    return oriented(Constraint(linear, -INFINITY, hi, upper.span or lower.span))


def _signed(constraint: Constraint, name: int) -> Constraint:
    """With a positive coefficient of the axis."""
    if coefficient_of(constraint.linear, name).value > 0:
        return constraint
    negative = scaled(constraint.linear, -ONE)
    return Constraint(negative, -constraint.hi, -constraint.lo, constraint.span)


def difference_of(first: int, second: int) -> Form:
    """The form `first - second` of two axes, the first named lower."""
    return ((first, ONE), (second, -ONE))
