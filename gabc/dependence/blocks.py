"""Time cut into blocks and joined again: l = C n + c, or l = stride n + c where they overlap."""

from __future__ import annotations

from dataclasses import replace

from gabc.dependence.bounds import ONE, ZERO, Bound
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import NOWHERE, Axis, Dependence, Kind, Leg, Source, joined
from gabc.dependence.forms import Line, form
from gabc.dependence.moves import joining, moved, renaming, substitution
from gabc.dependence.reductions import dropping, spread


def cut_into_blocks(
    call: DependenceCall,
    x: Dependence,
    name: int,
    size: Bound,
    stride: Bound,
    axes: tuple[Axis, ...],
) -> Dependence:
    """Axis `name` becomes `name - 1` (the block) and `name` (the place in it).

    A block begins every `stride` positions. Beyond the end there are zeros, so every element
    depends on whether its position exists.
    """
    if not size.is_finite or not stride.is_finite:  # one block, as long as the sequence
        whole = spread(call, x, name)
        return moved(whole, axes, renaming({axis: axis - 1 for axis in range(name - 32, name)}))
    lines = {axis: Line(((axis - 1, ONE),)) for axis in range(name - 32, name)}
    position = form({name - 1: stride, name: ONE})
    lines[name] = Line(position)
    cut = moved(x, axes, substitution(lines))
    filled = Leg(position, ZERO, ZERO, Source.LENGTH, reason=call.reason(Kind.PAD))
    values = cut.values
    if values is not None:
        values = None if values.padded is not None else replace(values, padded=name)
    kept = tuple(f for f in cut.fills if f.constant == 0.0)
    if any(fill.zone == NOWHERE for fill in kept):
        return replace(cut, fills=kept, values=values)
    return replace(cut, time=joined((*cut.time, filled)), fills=kept, values=values)


def join_blocks(
    call: DependenceCall, x: Dependence, name: int, axes: tuple[Axis, ...]
) -> Dependence:
    """Axes `name` (the block) and `name + 1` (the place in it) become one, `name + 1`."""
    size = x.axes[name + 1].size
    assert size is not None, "a block has a size"
    names = dropping(name)
    move = joining(name, name + 1, size, name + 1, names)
    joined_ = moved(x, axes, move, call.reason(Kind.MOVE))
    return replace(joined_, values=None) if x.values is not None else joined_
