"""One call of a unit on the next positions of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gabc.check.streaming import Consumer, Layout
from gabc.graph.nodes import Value
from gabc.graph.static import StaticValue
from gabc.runtime.decode.environment import in_place, rows_first
from gabc.runtime.decode.past import Cache, Kept, Ring
from gabc.runtime.decode.state import Key


@dataclass
class Pass:
    """One call of a decoder: `count` new positions after `lengths` of each row.

    `before` is what was kept, `after` what is kept from now on. A pass that `is_whole` has all
    positions at hand and keeps nothing.
    """

    lengths: tuple[int, ...]
    count: int
    like: Tensor
    is_whole: bool
    before: Mapping[Key, Kept]
    after: dict[Key, Kept] = field(default_factory=dict)
    is_even: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_even = len(set(self.lengths)) <= 1

    @property
    def start(self) -> int:
        return self.lengths[0]

    def touched(self, clock: int) -> int:
        """How many blocks of `clock` positions the new ones lie in: equally many in each row."""
        return -(-(self.start % clock + self.count) // clock)

    def settled(self, clock: int) -> tuple[int, ...]:
        """How many of these blocks are full in each row; the last one may not be."""
        return tuple((length % clock + self.count) // clock for length in self.lengths)

    def positions(self, clock: int = 1) -> Tensor:
        """Where the new positions (or blocks) stand: [1, T], or [R, T] where rows differ."""
        lengths = self.lengths[:1] if self.is_even else self.lengths
        places = [length // clock for length in lengths]
        first = torch.tensor(places, dtype=self.like.dtype, device=self.like.device)
        count = torch.arange(self.touched(clock), dtype=self.like.dtype, device=self.like.device)
        return first[:, None] + count

    def kept(self, key: Key, rows: int) -> Kept | None:
        """What was kept under a key, for so many rows.

        A value without rows is the same for all, until rows have unequally many positions.
        """
        part = self.before.get(key)
        if part is None or part.rows == rows:
            return part
        return part.select([0] * rows)

    def row(self, row: int, keys: Sequence[Key]) -> Pass:
        """The pass of one row alone, with what is kept of it under these keys."""
        before = {
            key: part.select([row if part.rows > 1 else 0])
            for key in keys
            if (part := self.before.get(key)) is not None
        }
        return Pass((self.lengths[row],), self.count, self.like, self.is_whole, before)


@dataclass
class Frame:
    """The values of a call. In an uneven pass a value that `is_per_row` has one more axis in front,
    for its rows."""

    unit_path: str
    layouts: Mapping[Value, Layout]
    pasts: Mapping[Value, tuple[int, Consumer]]
    sizes: Mapping[str, StaticValue]
    current: Pass
    values: dict[Value, Tensor] = field(default_factory=dict)
    extended: dict[Value, tuple[Tensor, Cache | None]] = field(default_factory=dict)
    """Pasts with the new positions behind: of a ring the tensor, of a cache itself."""
    only_row: int | None = None

    def is_hidden(self, value: Value) -> bool:
        """Whether the value's tensor has the axis of its rows in front."""
        return not self.current.is_even and self.layouts[value].is_per_row

    def rows_first(self, value: Value) -> Tensor:
        """[R, T, ...]."""
        return rows_first(self.values[value], self.layouts[value], self.is_hidden(value))

    def define(self, value: Value, result: Tensor) -> None:
        """A result [R or 1, T, ...], put in the order of its type."""
        layout = self.layouts[value]
        is_hidden = self.is_hidden(value)
        rows = len(self.current.lengths)
        if is_hidden and result.shape[0] != rows:
            result = result.expand(rows, *result.shape[1:])
        self.values[value] = in_place(result, layout, is_hidden)

    # ---------------------------------------------------------------- pasts

    def past(self, value: Value, most: int | None, is_ring: bool) -> Tensor:
        """The value with its last `most` positions in front: [R, N + T, ...].

        Of a ring exactly so many, zeros before the start; of a cache as many as there are. Rows
        must have equally many positions, or this be a frame of one row, unless it is a ring.
        """
        whole, cache = self.extend(value)
        count = self.current.touched(self.layouts[value].clock)
        if cache is not None:
            whole = cache.view(None if cache.rows == 1 else self.only_row)
            if is_ring and most is not None and whole.shape[1] < most + count:
                missing = most + count - whole.shape[1]
                zeros = whole.new_zeros(whole.shape[0], missing, *whole.shape[2:])
                whole = torch.cat([zeros, whole], dim=1)
        elif self.only_row is not None and whole.shape[0] > 1:
            whole = whole[self.only_row : self.only_row + 1]
        if most is None:
            return whole
        return whole[:, max(0, whole.shape[1] - most - count) :]

    def extend(self, value: Value) -> tuple[Tensor, Cache | None]:
        """Add the new positions to what is kept of a value: once, whoever reads it."""
        if value not in self.extended:
            number, consumer = self.pasts[value]
            key = (self.unit_path, number)
            x = self.rows_first(value)
            before = self.current.kept(key, x.shape[0])
            if consumer.is_ring:
                assert consumer.most is not None
                ring = before if isinstance(before, Ring) else Ring.empty(x, consumer.most)
                clock = self.layouts[value].clock
                settled = None if clock == 1 else self.current.settled(clock)
                whole, after = ring.extended(x, settled)
                self.current.after[key] = after
                self.extended[value] = (whole, None)
            else:
                cache = before if isinstance(before, Cache) else Cache.empty(x, consumer.most)
                longer = cache.extended(x)
                self.current.after[key] = longer.settled(self._unsettled(value, longer.rows))
                self.extended[value] = (x, longer)
        return self.extended[value]

    def _unsettled(self, value: Value, rows: int) -> tuple[int, ...]:
        """How many of the new positions or blocks of each row may still change."""
        clock = self.layouts[value].clock
        counts = self.current.settled(clock)[:rows]
        return tuple(self.current.touched(clock) - count for count in counts)

    # ---------------------------------------------------------------- rows

    def row(self, row: int, keys: Sequence[Key] = ()) -> Frame:
        """The frame as one row has it; its values are cut when they are asked for."""
        return Frame(
            self.unit_path,
            self.layouts,
            self.pasts,
            {**self.sizes, "B": 1},
            self.current.row(row, keys),
            _RowValues(self, row),
            self.extended,
            row,
        )


class _RowValues(dict[Value, Tensor]):
    def __init__(self, frame: Frame, row: int) -> None:
        super().__init__()
        self._frame, self._row = frame, row

    def __missing__(self, value: Value) -> Tensor:
        found = self._frame.values[value]
        layout = self._frame.layouts[value]
        if layout.rows is not None:
            found = found.narrow(layout.rows, self._row, 1)
        elif self._frame.is_hidden(value):
            found = found[self._row]
        self[value] = found
        return found
