"""Operations along axes: reductions, contractions, windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import (
    EVERYWHERE,
    NOWHERE,
    Axis,
    Constraint,
    Dependence,
    Extent,
    Fill,
    Leg,
    Source,
    Zone,
    joined,
)
from gabc.dependence.moves import moved, moved_legs, moved_zone, renaming
from gabc.dependence.overflow import masked_by_product, unmasked, varying_axes
from gabc.dependence.pointwise import broadcast_axes, joined_legs, known_fills
from gabc.dependence.ranges import ANY
from gabc.dependence.sums import Sum, summed
from gabc.dependence.zones import intersection

TEMPORARY = 1
"""The first of the names for axes that are summed over."""


def dropping(name: int) -> dict[int, int]:
    """New names when an axis goes: those to its left move one to the right."""
    return {axis: axis + 1 for axis in range(name - 32, name)}


def reduced(
    call: DependenceCall,
    x: Dependence,
    name: int,
    *,
    neutral: float | None = None,
    mask: Dependence | None = None,
    counts: bool = False,
    keep: bool = False,
    may_overflow: bool | None = None,
) -> Dependence:
    """A reduction of the axis `name`.

    What is `neutral`, or outside the mask, does not take part; with `counts` the result depends on
    how many elements there are. A masked row without elements gives 0, as does a sum of zeros.
    """
    axis = x.axes[name]
    zone, operands = _part_taking(x, neutral, mask)
    act = call.act(operands)
    total = summed(_sum_of(operands, zone), (name,), {name: axis}, act)
    time, batch = total.time, total.batch
    if counts:
        number = _number(call, name, axis, mask)
        time, batch = joined((*time, *number.time)), joined((*batch, *number.batch))
    empty = 0.0 if mask is not None else neutral
    fills = () if empty is None else known_fills([Fill(empty, total.zone)])
    axes = list(broadcast_axes(operands))
    if keep:
        axes[name] = call.results[0][name]
    result = Dependence(
        tuple(axes),
        time,
        batch,
        fills,
        None,
        False,
        x.may_overflow if may_overflow is None else may_overflow,
    )
    if keep:
        return result
    del axes[name]
    return moved(result, axes, renaming(dropping(name)))


def _part_taking(
    x: Dependence, neutral: float | None, mask: Dependence | None
) -> tuple[Zone, list[Dependence]]:
    zone = EVERYWHERE if neutral is None else x.zone(neutral)
    if mask is None:
        return zone, [x]
    return intersection(mask.zone(0.0), zone), [x, mask]


def _number(call: DependenceCall, name: int, axis: Axis, mask: Dependence | None) -> Sum:
    """How many elements take part: those that the mask keeps, zeros included."""
    own = Sum((), (), EVERYWHERE) if mask is None else _sum_of([mask], mask.zone(0.0))
    return summed(own, (name,), {name: axis}, call.act([] if mask is None else [mask]))


def _sum_of(operands: Sequence[Dependence], zone: Zone) -> Sum:
    return Sum(
        joined_legs(operand.time for operand in operands),
        joined_legs(operand.batch for operand in operands),
        zone,
    )


def normalisation(
    call: DependenceCall,
    x: Dependence,
    name: int,
    *,
    neutral: float | None = None,
    mask: Dependence | None = None,
    counts: bool = False,
    becomes: float = 0.0,
) -> Dependence:
    """Every element is combined with a reduction of its axis, which stays (softmax, a norm).

    Elements that do not take part become the constant `becomes`.
    """
    axis = x.axes[name]
    zone, operands = _part_taking(x, neutral, mask)
    act = call.act(operands)
    own = _sum_of(operands, zone)
    total = summed(own, (name,), {name: axis}, act)
    # The reduction first: what reads everything is to be blamed before what follows from it.
    time, batch = [*total.time, *own.time], [*total.batch, *own.batch]
    if counts:
        number = _number(call, name, axis, mask)
        time, batch = [*time, *number.time], [*batch, *number.batch]
    return Dependence(
        broadcast_axes(operands),
        joined(time),
        joined(batch),
        known_fills([Fill(becomes, zone)]),
        None,
        act.is_vague,
        # The norm of what is infinite is not a number.
        x.may_overflow,
        act.spoilt,
    )


def spread(call: DependenceCall, x: Dependence, name: int) -> Dependence:
    """As if every index of the axis, which stays, held what any of them holds."""
    axis = x.axes[name]
    total = summed(_sum_of([x], EVERYWHERE), (name,), {name: axis}, call.act([x]))
    fills = tuple(fill for fill in x.fills if fill.zone == NOWHERE)
    return replace(x, time=total.time, batch=total.batch, fills=fills, values=None, within=ANY)


# ---------------------------------------------------------------- contraction


@dataclass(frozen=True, slots=True)
class Factor:
    """An operand of a contraction: `names` renames its axes to those of the product."""

    value: Dependence
    names: Mapping[int, int]


def contraction(
    call: DependenceCall,
    factors: Sequence[Factor],
    result: tuple[Axis, ...],
    dropped: Mapping[int, Axis],
) -> Dependence:
    """A product of operands summed over the axes `dropped`, where none of them is zero.

    Weights that depend on data, as those of a masked softmax, are zero where nothing is summed: the
    sum is one over their zone. Zeros and ones of a bare mask of positions are numbers, and do not
    mask what may be infinite.
    """
    zone: Zone = EVERYWHERE
    time: list[tuple[Leg, ...]] = []
    batch: list[tuple[Leg, ...]] = []
    act = call.act([factor.value for factor in factors])
    for factor in factors:
        move = renaming(factor.names)
        own_zone = moved_zone(factor.value.zone(0.0), move)
        kept = own_zone
        if not _is_about_tokens(factor.value):
            kept = unmasked(own_zone, _overflowing_axes(factors, factor))
        if kept != own_zone:
            act = replace(act, spoilt=act.spoilt or masked_by_product(call.span))
        zone = intersection(zone, kept)
        time.append(moved_legs(factor.value.time, move))
        batch.append(moved_legs(factor.value.batch, move))
    own = Sum(joined_legs(time), joined_legs(batch), zone)
    total = summed(own, tuple(dropped), dropped, act)
    return Dependence(
        result,
        total.time,
        total.batch,
        known_fills([Fill(0.0, total.zone)]),
        None,
        act.is_vague and not dropped,
        any(factor.value.may_overflow for factor in factors),
    )


def _is_about_tokens(value: Dependence) -> bool:
    return any(leg.source is Source.TOKENS for leg in value.time)


def _overflowing_axes(factors: Sequence[Factor], masking: Factor) -> set[int]:
    """The axes, named as in the product, along which another factor may be infinite."""
    return {
        other.names.get(name, name)
        for other in factors
        if other is not masking and other.value.may_overflow
        for name in varying_axes(other.value)
    }


# ---------------------------------------------------------------- windows


def windowed(
    call: DependenceCall,
    x: Dependence,
    name: int,
    lo: Bound,
    hi: Bound = ZERO,
    *,
    neutral: float | None = None,
) -> Dependence:
    """Index i of the result is made of the indices i + lo to i + hi of `x` along the axis."""
    move = renaming({name: TEMPORARY})
    window = Constraint(((name, ONE), (TEMPORARY, -ONE)), -hi, -lo)
    zone: Zone = ((window,),)
    if neutral is not None:
        zone = intersection(zone, moved_zone(x.zone(neutral), move))
    # What it makes of a missing index is not the window's: every index up to the present exists.
    axis = replace(x.axes[name], extent=Extent.STATIC)
    own = Sum(moved_legs(x.time, move), moved_legs(x.batch, move), zone)
    total = summed(own, (TEMPORARY,), {TEMPORARY: axis}, call.act([x]))
    return Dependence(x.axes, total.time, total.batch, (), None, x.is_vague, x.may_overflow)


def everything_before(name: int) -> Zone:
    """Where the axis `TEMPORARY` is at most the axis `name`."""
    return ((Constraint(((name, ONE), (TEMPORARY, -ONE)), ZERO, INFINITY),),)
