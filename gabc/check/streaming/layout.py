"""Where the axes of rows and of time stand, and whether an operation leaves time alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gabc.check.streaming.ahead import own_position
from gabc.dependence.bounds import ZERO
from gabc.dependence.call import DependenceCall, Sizes
from gabc.dependence.domain import Axis, Dependence, Extent
from gabc.dependence.forms import axis_form
from gabc.graph.nodes import Node, Value
from gabc.ops import PRIMITIVES


@dataclass(frozen=True, slots=True)
class Layout:
    """Of a value: the axis that counts rows and the axes that count time, from 0.

    `is_plain`: at most one axis counts time, in steps of `clock` positions: 1, or the size of a
    block. `has_unit_for_rows`: it is [1, L, ...], with a unit axis where others have rows.
    """

    rows: int | None
    times: tuple[int, ...]
    is_plain: bool
    has_unit_for_rows: bool
    clock: int = 1

    @property
    def time(self) -> int | None:
        return self.times[0] if len(self.times) == 1 else None

    @property
    def is_per_row(self) -> bool:
        """Has positions and no rows: differs between rows that have had unequally many of them."""
        return bool(self.times) and self.rows is None


def layout_of(axes: tuple[Axis, ...]) -> Layout:
    rows = [place for place, axis in enumerate(axes) if axis.extent is Extent.BATCH]
    times = tuple(place for place, axis in enumerate(axes) if axis.extent is Extent.TIME)
    clocks = [_clock(axes[place]) for place in times]
    is_plain = None not in clocks and len(times) <= 1 and len(rows) <= 1
    has_unit = not rows and times == (1,) and axes[0].is_unit
    clock = (clocks[0] or 1) if clocks else 1
    return Layout(rows[0] if rows else None, times, is_plain, has_unit, clock)


def _clock(axis: Axis) -> int | None:
    """How many positions an index stands for; `None` if it is no such axis."""
    if axis.spacing is None or not axis.spacing.is_integral or axis.offset != ZERO:
        return None
    return int(axis.spacing.value)


def leaves_time_alone(node: Node, axes: Mapping[Value, tuple[Axis, ...]], sizes: Sizes) -> bool:
    """Whether every position of the results comes from the same position of the operands alone.

    By the operation's own rule of dependence, for operands of which nothing is known but that each
    element depends on its own position.
    """
    operands = dict.fromkeys([*node.operands(), *node.outputs])
    if not all(layout_of(axes[value]).is_plain for value in operands):
        return False
    known = {value: own_position(axes[value]) for value in node.operands()}
    results = tuple(axes[value] for value in node.outputs)
    call = DependenceCall(node.op, node.args, node.span, known, results, sizes)
    found = PRIMITIVES[node.op].dependence(call)
    parts = found if isinstance(found, tuple) else (found,)
    return all(_is_aligned(part, own) for part, own in zip(parts, results, strict=True))


def _is_aligned(value: Dependence, axes: tuple[Axis, ...]) -> bool:
    time = layout_of(axes).time
    return all(
        time is not None
        and leg.linear == axis_form(time - len(axes))
        and leg.lo == ZERO
        and leg.hi == ZERO
        for leg in value.time
    )
