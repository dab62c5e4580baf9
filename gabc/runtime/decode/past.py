"""What is kept of a sequence: the last positions of a value, or all of them, row by row.

Values are never changed: a state that somebody still holds stays what it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = 0.0
"""What the places of a cache hold that no position has been written to."""


class Kept(ABC):
    """A part of a state. `rows` is how many it has: one, if it is the same for all."""

    @property
    @abstractmethod
    def rows(self) -> int: ...

    @abstractmethod
    def select(self, rows: Sequence[int]) -> Kept:
        """These rows, in this order."""

    @abstractmethod
    def bytes_of(self, row: int) -> int:
        """What one row keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Carried(Kept):
    """States of a recurrence or sums over time, [R, ...] each."""

    tensors: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        return self.tensors[0].shape[0]

    def select(self, rows: Sequence[int]) -> Carried:
        return Carried(tuple(_rows(tensor, rows) for tensor in self.tensors))

    def bytes_of(self, row: int) -> int:
        return sum(tensor[0].numel() * tensor.element_size() for tensor in self.tensors)

    @staticmethod
    def join(parts: Sequence[Carried]) -> Carried:
        return Carried(tuple(map(torch.cat, zip(*(part.tensors for part in parts), strict=True))))


@dataclass(frozen=True, slots=True, eq=False)
class Ring(Kept):
    """The last N positions [R, N, ...], zeros where there were none: all rows alike."""

    data: Tensor

    @staticmethod
    def empty(x: Tensor, size: int) -> Ring:
        """Before the first positions `x` [R, T, ...]."""
        return Ring(x.new_zeros(x.shape[0], size, *x.shape[2:]))

    @property
    def rows(self) -> int:
        return self.data.shape[0]

    def extended(self, x: Tensor, settled: Sequence[int] | None = None) -> tuple[Tensor, Ring]:
        """With x [R, T, ...] behind: all [R, N + T, ...], and the new last N.

        Of row r only the first `settled[r]` of the T become past, where the others may change.
        """
        size = self.data.shape[1]
        if not size:
            return x, self
        whole = torch.cat([self.data, x], dim=1)
        if settled is None:
            settled = (x.shape[1],)
        if len(set(settled)) == 1:
            # A copy, lest a short ring hold the memory of a long prompt.
            return whole, Ring(whole[:, settled[0] : settled[0] + size].clone())
        rows = [whole[row, count : count + size] for row, count in enumerate(settled)]
        return whole, Ring(torch.stack(rows))

    def select(self, rows: Sequence[int]) -> Ring:
        return Ring(_rows(self.data, rows))

    def bytes_of(self, row: int) -> int:
        return self.data[0].numel() * self.data.element_size()

    @staticmethod
    def join(parts: Sequence[Ring]) -> Ring:
        return Ring(torch.cat([part.data for part in parts]))


@dataclass(slots=True, eq=False)
class _Store:
    """Memory [R, capacity, ...] that several caches look at, and how far each row is written."""

    data: Tensor
    written: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cache(Kept):
    """The positions so far, or the last `most`: of row r those from `ends[r] - counts[r]`.

    A cache that is extended shares its memory with the longer one, which writes behind it; one that
    is extended a second time gets memory of its own. Adding a position takes constant time.
    """

    store: _Store
    ends: tuple[int, ...]
    counts: tuple[int, ...]
    most: int | None

    @staticmethod
    def empty(x: Tensor, most: int | None) -> Cache:
        """Before the first positions `x` [R, T, ...]."""
        nothing = (0,) * x.shape[0]
        data = x.new_empty(x.shape[0], 0, *x.shape[2:])
        return Cache(_Store(data, nothing), nothing, nothing, most)

    @property
    def rows(self) -> int:
        return len(self.ends)

    def extended(self, x: Tensor) -> Cache:
        """With x [R, T, ...] behind; T is 1 where rows have unequally many."""
        count = x.shape[1]
        capacity = self.store.data.shape[1]
        cache = self
        if max(self.ends) + count > capacity or self.store.written != self.ends:
            cache = self._moved(count)
        data = cache.store.data
        first = cache.ends[0]
        if all(end == first for end in cache.ends):
            data[:, first : first + count] = x
        else:
            rows = torch.arange(cache.rows, device=x.device)
            data[rows, torch.tensor(cache.ends, device=x.device)] = x[:, 0]
        ends = tuple(end + count for end in cache.ends)
        cache.store.written = ends
        counts = tuple(kept + count for kept in cache.counts)
        return Cache(cache.store, ends, counts, self.most)

    def settled(self, unsettled: Sequence[int]) -> Cache:
        """Without the last `unsettled[r]` positions of row r, which may change, and without what
        will not be read again."""
        ends = tuple(end - last for end, last in zip(self.ends, unsettled, strict=True))
        kept = [count - last for count, last in zip(self.counts, unsettled, strict=True)]
        most = self.most
        counts = tuple(kept if most is None else [min(count, most) for count in kept])
        self.store.written = ends
        return Cache(self.store, ends, counts, most)

    def view(self, row: int | None = None) -> Tensor:
        """What is kept of a row [1, N, ...], or of all where they have equally many [R, N, ...]."""
        place = 0 if row is None else row
        start, end = self.ends[place] - self.counts[place], self.ends[place]
        rows = self.store.data if row is None else self.store.data[row : row + 1]
        return rows[:, start:end]

    def select(self, rows: Sequence[int]) -> Cache:
        return self._of([self.view(row) for row in rows], self.most, 0)

    def bytes_of(self, row: int) -> int:
        shape = self.store.data.shape[2:]
        return self.counts[row] * shape.numel() * self.store.data.element_size()

    def _moved(self, count: int) -> Cache:
        """In memory of its own with room for `count` and as many again."""
        return self._of([self.view(row) for row in range(self.rows)], self.most, count)

    @staticmethod
    def _of(views: Sequence[Tensor], most: int | None, count: int) -> Cache:
        """Of rows [1, N, ...], each from the start of its row."""
        counts = tuple(view.shape[1] for view in views)
        capacity = 2 * max(counts) + count if count else max(counts)
        like = views[0]
        shape = (len(views), capacity, *like.shape[2:])
        data = like.new_full(shape, PADDING if like.is_floating_point() else 0)
        for row, view in enumerate(views):
            data[row, : counts[row]] = view[0]
        return Cache(_Store(data, counts), counts, counts, most)

    @staticmethod
    def join(parts: Sequence[Cache]) -> Cache:
        views = [part.view(row) for part in parts for row in range(part.rows)]
        return Cache._of(views, parts[0].most, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Unstarted(Kept):
    """What is carried on from full blocks, before there is one."""

    count: int

    @property
    def rows(self) -> int:
        return self.count

    def select(self, rows: Sequence[int]) -> Unstarted:
        return Unstarted(len(rows))

    def bytes_of(self, row: int) -> int:
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class Mixed(Kept):
    """Some rows have what others do not have yet; one part for each row."""

    parts: tuple[Kept, ...]

    @property
    def rows(self) -> int:
        return len(self.parts)

    def select(self, rows: Sequence[int]) -> Kept:
        return join([self.parts[row] for row in rows])

    def bytes_of(self, row: int) -> int:
        return self.parts[row].bytes_of(0)


def join(parts: Sequence[Kept]) -> Kept:
    """The rows of all parts one after another."""
    if len(set(map(type, parts))) > 1:
        return Mixed(tuple(part.select([row]) for part in parts for row in range(part.rows)))
    match parts[0]:
        case Cache():
            return Cache.join([part for part in parts if isinstance(part, Cache)])
        case Ring():
            return Ring.join([part for part in parts if isinstance(part, Ring)])
        case Carried():
            return Carried.join([part for part in parts if isinstance(part, Carried)])
        case Unstarted():
            return Unstarted(sum(part.rows for part in parts))
    rows = [part.select([row]) for part in parts for row in range(part.rows)]
    return Mixed(tuple(rows))


def _rows(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    return tensor[torch.tensor(rows, dtype=torch.int64, device=tensor.device)]
