"""Bounds on a design, so that checking it always ends, fast."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gabc.diagnostics.model import Diagnostic
from gabc.syntax.source import Span

MAX_INSTANCES = 5_000
"""Units of one block."""
MAX_NODES = 10_000
"""Operations of one block."""
MAX_TOTAL_NODES = 100_000
"""Operations elaborated for all blocks of a stack; blocks that do not differ count once."""
MAX_DEPTH = 64
"""Units inside each other."""
MAX_UNROLLED = 1_000
"""Rounds of a loop, those of the loops around it multiplied in."""
MAX_CHILDREN = 1_000
MAX_INT_ARGUMENT = 1 << 16
"""The largest static int that a primitive takes, such as the parts of a `split`."""
MAX_SIZE = 1 << 31
"""The largest value of a dim that is accepted."""
MAX_FRAMES = 20_000


class LimitReached(Exception):
    """The design as a whole is too large: nothing more of it is elaborated."""

    def __init__(self, span: Span, message: str) -> None:
        super().__init__(message)
        self.diagnostic = limit(span, message)


def limit(span: Span, message: str) -> Diagnostic:
    """A limit exceeded in one place; what stands around it may still be checked."""
    return Diagnostic("GAB0701", message, span, help="build the same from fewer, larger parts")


@contextmanager
def recursion_limit(frames: int) -> Iterator[None]:
    """Allow so many frames: units within units within expressions are walked recursively.

    Their depth is bounded (here and in `syntax.limits`), but by more than Python's default.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, frames))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
