"""The notation of `rearrange`, `repeat`, `reduce` and `einsum`: `b l (h k) -> b h l k`.

A tensor is written as its axes, separated by spaces: a name, a group in brackets whose product is
the axis, `1` or `()` for a unit axis, and at most one `...` for any number of axes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ELLIPSIS = "..."
MAX_PATTERN = 200
"""Characters of a pattern."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An axis by its name; `start` is its offset in the pattern."""

    name: str
    start: int


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor: the product of its letters, so a unit axis has none."""

    letters: tuple[Letter, ...]
    start: int
    end: int

    @property
    def is_ellipsis(self) -> bool:
        return len(self.letters) == 1 and self.letters[0].name == ELLIPSIS

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(letter.name for letter in self.letters)


Side = tuple[Axis, ...]
"""The axes of one tensor."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`inputs -> output`."""

    inputs: tuple[Side, ...]
    output: Side


class PatternFault(Exception):
    """The pattern cannot be read at `start` to `end` (offsets in it); `help` says what to write."""

    def __init__(self, message: str, start: int, end: int, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.help = help


_TOKEN = re.compile(r"\s*(?:(?P<name>[a-z][a-z0-9_]*)|(?P<mark>\.\.\.|->|[(),1]))")


def parse_pattern(text: str) -> Pattern:
    """Raises `PatternFault`."""
    if len(text) > MAX_PATTERN:
        raise PatternFault(
            f"a pattern has at most {MAX_PATTERN} characters, and this one {len(text)}",
            0,
            len(text),
            "do it in several steps",
        )
    tokens = list(_tokens(text))
    arrows = [start for token, start in tokens if token == "->"]
    if len(arrows) != 1:
        raise PatternFault(
            "the pattern has no `->`" if not arrows else "the pattern has two `->`",
            arrows[1] if arrows else 0,
            arrows[1] + 2 if arrows else len(text),
            "write `input axes -> output axes`, as in `b l (h k) -> b l h k`",
        )
    at = next(i for i, (token, _) in enumerate(tokens) if token == "->")
    inputs: list[list[tuple[str, int]]] = [[]]
    for token, start in tokens[:at]:
        if token == ",":
            inputs.append([])
        else:
            inputs[-1].append((token, start))
    for token, start in tokens[at + 1 :]:
        if token == ",":
            raise PatternFault("a pattern has one output", start, start + 1)
    return Pattern(tuple(_side(part) for part in inputs), _side(tokens[at + 1 :]))


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise PatternFault(
                f"`{text[start]}` cannot stand in a pattern",
                start,
                start + 1,
                "axes are lower-case names separated by spaces; brackets, `1`, `()` and `...`",
            )
        kind = match.lastgroup or ""
        yield match.group(kind), match.start(kind)
        position = match.end()


def _side(tokens: Sequence[tuple[str, int]]) -> Side:
    axes: list[Axis] = []
    group: list[Letter] | None = None
    opened = 0
    for token, start in tokens:
        end = start + len(token)
        if token == "(":
            if group is not None:
                raise PatternFault("brackets cannot stand inside brackets", start, end)
            group, opened = [], start
        elif token == ")":
            if group is None:
                raise PatternFault("`)` closes nothing", start, end)
            axes.append(Axis(tuple(group), opened, end))
            group = None
        elif token == ELLIPSIS and group is not None:
            raise PatternFault("`...` cannot stand inside brackets", start, end)
        elif group is not None:
            if token != "1":
                group.append(Letter(token, start))
        else:
            axes.append(Axis(() if token == "1" else (Letter(token, start),), start, end))
    if group is not None:
        raise PatternFault("`(` is never closed", opened, opened + 1)
    _refuse_repeats(axes)
    return tuple(axes)


def _refuse_repeats(side: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for letter in letters(side):
        if letter.name in seen:
            raise PatternFault(
                f"`{letter.name}` stands twice in one tensor",
                letter.start,
                letter.start + len(letter.name),
                "give each axis a name of its own",
            )
        seen.add(letter.name)


def letters(side: Sequence[Axis]) -> Iterator[Letter]:
    for axis in side:
        yield from axis.letters


def expand_ellipsis(side: Side, count: int) -> Side:
    """`...` replaced by `count` axes, named from the right: `...1`, `...0`."""
    axes: list[Axis] = []
    for axis in side:
        if axis.is_ellipsis:
            axes.extend(
                Axis((Letter(f"{ELLIPSIS}{place}", axis.start),), axis.start, axis.end)
                for place in reversed(range(count))
            )
        else:
            axes.append(axis)
    return tuple(axes)


def spaced(text: str) -> str:
    """PyTorch's compact notation with its letters apart: `bld,de->ble` as `b l d, d e -> b l e`."""
    inputs, arrow, output = text.replace(" ", "").partition("->")
    sides = [" ".join(re.findall(r"\.\.\.|.", side)) for side in inputs.split(",")]
    joined = ", ".join(sides)
    return f"{joined} -> {' '.join(re.findall(r'[.]{3}|.', output))}" if arrow else joined
