"""Source texts and places in them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise


@dataclass(eq=False)
class Source:
    """One `.gab` text. `path` is what messages print; the text is held whole."""

    path: str
    text: str

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both counted from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of one line (counted from 1) without its newline."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def byte_offset(self, offset: int) -> int:
        """The UTF-8 byte offset of a character offset."""
        if self._is_ascii:
            return offset
        line, column = self.position(offset)
        start = self._line_starts[line - 1]
        return self._line_bytes[line - 1] + len(self.text[start : start + column - 1].encode())

    @cached_property
    def _is_ascii(self) -> bool:
        return self.text.isascii()

    @cached_property
    def _line_bytes(self) -> list[int]:
        """The byte offset at which each line starts."""
        starts = [0]
        for start, end in pairwise(self._line_starts):
            starts.append(starts[-1] + len(self.text[start:end].encode()))
        return starts

    def __repr__(self) -> str:
        return f"Source({self.path!r})"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of one source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.path}:{line}:{column}"
