"""Zeros that are no masks: 0 * inf and 0 / 0 are not 0."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace

from gabc.dependence.bounds import INFINITY
from gabc.dependence.domain import EVERYWHERE, Constraint, Dependence, Extent, Region, Spoilt, Zone
from gabc.dependence.forms import coefficient_of
from gabc.dependence.zones import union
from gabc.syntax.source import Span


def varies(value: Dependence) -> bool:
    """Whether it can differ between positions, by its content or by the position alone."""
    return bool(value.time) or bool(varying_axes(value))


def varying_axes(value: Dependence) -> set[int]:
    """The axes along time and batch. Those of a unit axis are all the same element."""
    return {
        place - value.rank
        for place, axis in enumerate(value.axes)
        if axis.extent is not Extent.STATIC and not axis.is_unit
    }


def unmasked(zone: Zone, axes: Set[int]) -> Zone:
    """The zone of a factor that is multiplied by what may be infinite along the axes.

    What bounds one of them from above goes: beyond it stand elements that spoil the zero. What
    bounds another axis stays: the infinite element is then the result's own, which is lost with or
    without the elements outside.
    """
    if not axes:
        return zone
    return union([(tuple(_unbounded_above(r, axes)),) for r in zone]) if zone else EVERYWHERE


def _unbounded_above(region: Region, axes: Set[int]) -> Iterator[Constraint]:
    for constraint in region:
        lo, hi = constraint.lo, constraint.hi
        for axis in axes:
            coefficient = coefficient_of(constraint.linear, axis).value
            if coefficient > 0:
                hi = INFINITY
            elif coefficient < 0:
                lo = -INFINITY
        if lo.is_finite or hi.is_finite:
            yield replace(constraint, lo=lo, hi=hi)


def masked_by_product(span: Span) -> Spoilt:
    return Spoilt(
        span,
        f"`{span.text}` masks by a product what may be infinite, and 0 * inf is not 0",
        "choose instead of multiplying: `where(mask, x, 0.0)`, or `masked(x, mask)`",
    )
