"""Convolutions along time."""

from __future__ import annotations

from dataclasses import replace

from gabc.dependence.bounds import INFINITY, Bound
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.moves import moved_legs, renaming
from gabc.dependence.pointwise import elementwise, joined_legs
from gabc.dependence.reductions import TEMPORARY, everything_before, reduced, windowed
from gabc.dependence.sums import Sum, summed


def convolved(
    call: DependenceCall,
    x: Dependence,
    name: int,
    w: Dependence,
    bias: Dependence | None,
    reach: Bound,
) -> Dependence:
    """Over the positions from `reach` back to the present. `w` ends in its taps, after channels."""
    past = windowed(call, x, name, -reach)
    # Any tap may be the one that meets a position: the taps are reduced, the channels stay.
    weights = replace(reduced(call, w, -1), fills=())
    operands = [past, weights] if bias is None else [past, weights, bias]
    return elementwise(operands)


def long_convolved(call: DependenceCall, x: Dependence, name: int, h: Dependence) -> Dependence:
    """`h` [channels, lag]: at position l the lags up to l are used."""
    past = windowed(call, x, name, -INFINITY)
    channels = h.rank - 1
    names = {axis: axis + 1 for axis in range(-h.rank, -1)}
    names[-1] = TEMPORARY
    move = renaming(names)
    zone = everything_before(name)
    total = summed(
        Sum(moved_legs(h.time, move), moved_legs(h.batch, move), zone),
        (TEMPORARY,),
        {TEMPORARY: h.axes[-1]},
        call.act([h]),
    )
    assert channels == -name - 1, "the channels are the axes after time"
    result = elementwise([past])
    return replace(
        result,
        time=joined_legs([result.time, total.time]),
        batch=joined_legs([result.batch, total.batch]),
        may_overflow=x.may_overflow or h.may_overflow,
    )
