"""The state of a decoder: what every unit keeps, and how many positions each row has had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gabc.runtime.decode.past import Kept, join

Key = tuple[str, int]
"""A unit's path, and the number of what it keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A value: a decoder returns a new one and leaves the old one valid.

    `lengths` are the positions of each row so far. What is `kept` has a row for each row of the
    batch, or one for all.
    """

    lengths: tuple[int, ...]
    kept: Mapping[Key, Kept]

    @property
    def is_even(self) -> bool:
        """Whether all rows have had equally many positions."""
        return len(set(self.lengths)) <= 1

    def select(self, rows: Sequence[int]) -> State:
        """These rows, in this order; a row may come more than once."""
        return State(
            tuple(self.lengths[row] for row in rows),
            {
                key: part.select(rows if part.rows == len(self.lengths) else [0] * len(rows))
                for key, part in self.kept.items()
            },
        )

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """The rows of all states one after another."""
        lengths = tuple(length for state in states for length in state.lengths)
        if len(states) == 1:
            return states[0]
        # A state that has seen nothing keeps nothing, and rows without any have no place to be.
        full = [state.select(range(len(state.lengths))) for state in states]
        keys = dict.fromkeys(key for state in full for key in state.kept)
        return State(lengths, {key: join([state.kept[key] for state in full]) for key in keys})

    def bytes(self, row: int = 0, path: str = "", below: bool = True) -> int:
        """What is kept of a row by the unit at `path` (`blocks.0.attn`), and by those below it."""
        total = 0
        for (unit, _), part in self.kept.items():
            is_below = not path or unit.startswith(f"{path}.")
            if unit == path or (below and is_below):
                total += part.bytes_of(row if part.rows > 1 else 0)
        return total
