"""A failing program made small: parts are left out while the same thing goes wrong."""

from __future__ import annotations

import re

from .examine import examine
from .program import Program, generate

_DETAIL = re.compile(r"`[^`]*`|\[[^\]]*\]|\d[\d.e+-]*")


def signature(findings: list[str]) -> str:
    """What kind of fault it is: the first finding without names, shapes and numbers."""
    return _DETAIL.sub("#", findings[0])[:70] if findings else ""


def shrink(seed: int, size: int, length: int) -> tuple[Program, list[str]]:
    """The smallest program of the seed with its fault, and the findings on it."""
    wanted = signature(examine(generate(seed, size), length))
    left_out: set[str] = set()

    def candidate(also: str = "") -> Program:
        return generate(seed, size, lambda path: path not in left_out and path != also)

    before = -1
    while wanted and len(left_out) > before:
        before = len(left_out)
        for part in reversed(candidate().parts):
            if part not in left_out and signature(examine(candidate(part), length)) == wanted:
                left_out.add(part)
    return candidate(), examine(candidate(), length)
