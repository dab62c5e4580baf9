"""Time cut into blocks and joined again.

Of the blocks that the new positions lie in the last may not be full: it is made anew at every call,
filled up with zeros, as the last block of a sequence of this length is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from gabc.check.streaming import Layout
from gabc.graph.nodes import Node, Value
from gabc.runtime.decode.frame import Frame
from gabc.runtime.decode.steps import Step, by_row


def _axes_before_time(layout: Layout) -> int:
    """How many axes stand before time, that of the rows left out."""
    time = layout.time or 0
    is_behind_rows = layout.has_unit_for_rows or (layout.rows is not None and layout.rows < time)
    return time - int(is_behind_rows)


class BlocksStep(Step):
    """`blocks(x, C)`: [R, T, ...] to [R, N, C, ...] for the N blocks that hold new positions."""

    def __init__(self, node: Node, layouts: Mapping[Value, Layout]) -> None:
        self.node = node
        self.x = cast(Value, node.args["x"])
        self.size = layouts[node.output].clock
        self.before = _axes_before_time(layouts[self.x])

    def run(self, frame: Frame) -> None:
        if not frame.current.is_even:
            frame.extend(self.x)
            by_row(frame, self, self.node.outputs)
            return
        current, size = frame.current, self.size
        x = frame.past(self.x, current.start % size, is_ring=True)
        missing = current.touched(size) * size - x.shape[1]
        if missing:
            zeros = x.new_zeros(x.shape[0], missing, *x.shape[2:])
            x = torch.cat([x, zeros], dim=1)
        cut = torch.unflatten(x, 1, (-1, size))
        frame.define(self.node.output, cut.movedim(2, 2 + self.before))


class UnblocksStep(Step):
    """`unblocks(x)`: of these blocks the new positions."""

    def __init__(self, node: Node, layouts: Mapping[Value, Layout]) -> None:
        self.node = node
        self.x = cast(Value, node.args["x"])
        self.size = layouts[self.x].clock
        self.before = _axes_before_time(layouts[self.x])

    def run(self, frame: Frame) -> None:
        if not frame.current.is_even:
            by_row(frame, self, self.node.outputs)
            return
        blocks: Tensor = frame.rows_first(self.x).movedim(2 + self.before, 2)
        first = frame.current.start % self.size
        joined = blocks.flatten(1, 2)[:, first : first + frame.current.count]
        frame.define(self.node.output, joined)
