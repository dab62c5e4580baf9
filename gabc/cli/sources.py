"""The texts a design is made of, under names that hold on every machine."""

from __future__ import annotations

from pathlib import PurePath

from gabc.graph.instance import Stack

_STANDARD = "std"


def named_sources(stack: Stack) -> tuple[tuple[str, str], ...]:
    """(name, text) of the design's own file, then of what it imports in order of name.

    Library files are `std/NAME.gab`; a sibling is its file name; a text that came from no file is
    named for its design.
    """
    own = stack.span.source.path
    first = PurePath(own).name if own.endswith(".gab") else f"{stack.name.lower()}.gab"
    others = [(_name(path), text) for path, text in stack.sources.items() if path != own]
    return ((first, stack.sources[own]), *sorted(others))


def _name(path: str) -> str:
    pure = PurePath(path)
    return str(pure) if pure.parts[0] == _STANDARD else pure.name
