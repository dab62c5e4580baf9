"""Source lines with marks under them, and edits as a small diff."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from gabc.diagnostics.model import Edit
from gabc.syntax.source import Source, Span

_TAB = 4
# Columns of source shown of a line that is longer.
_WIDTH = 110
_DIFF_LINES = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """A span to underline; the primary one with `^`, others with `-`."""

    span: Span
    label: str
    primary: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One printed line: its number (0: none), a sign (`|`, `-`, `+`, `^`, `.`), and its text."""

    number: int
    sign: str
    text: str


def excerpt(source: Source, marks: Sequence[Mark]) -> list[Row]:
    """The marked lines of one source, each followed by its marks; `.` where lines are left out."""
    by_line: dict[int, list[Mark]] = {}
    for mark in marks:
        by_line.setdefault(source.position(mark.span.start)[0], []).append(mark)
    rows: list[Row] = []
    previous = 0
    for number in sorted(by_line):
        if previous and number > previous + 1:
            rows.append(Row(0, ".", ""))
        text = source.line(number)
        start = source.position(by_line[number][0].span.start)[1] - 1
        window = _window(text, start)
        rows.append(Row(number, "|", _shown(text, window)))
        ordered = sorted(by_line[number], key=lambda m: (not m.primary, m.span.start, m.span.end))
        rows += [_underline(source, text, window, mark) for mark in ordered]
        previous = number
    return rows


def _window(text: str, start: int) -> tuple[int, int]:
    """The part of a long line that is shown, around the first mark."""
    if len(text) <= _WIDTH:
        return 0, len(text)
    left = max(0, min(start - _WIDTH // 3, len(text) - _WIDTH))
    return left, left + _WIDTH


def _shown(text: str, window: tuple[int, int]) -> str:
    left, right = window
    head = "…" if left else ""
    tail = "…" if right < len(text) else ""
    return head + "".join(_cell(c) for c in text[left:right]).rstrip() + tail


def _cell(char: str) -> str:
    """What is printed for one character: tabs as spaces, what cannot be printed as `?`."""
    if char == "\t":
        return " " * _TAB
    if char == "\r":
        return ""
    return char if char.isprintable() else "\ufffd"


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    if char == "\t":
        return _TAB
    if char == "\r" or unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _underline(source: Source, text: str, window: tuple[int, int], mark: Mark) -> Row:
    left, right = window
    start = source.position(mark.span.start)[1] - 1
    length = mark.span.end - mark.span.start
    end_line = source.position(mark.span.end)[0]
    start = min(start, right)
    end = min(start + length, right)
    indent = _columns(text[left:start]) + (1 if left else 0)
    width = max(1, _columns(text[start:end].rstrip()))
    label = mark.label
    if end_line > source.position(mark.span.start)[0] and length and not _ends_line(mark.span):
        label = f"{label} (to line {end_line})" if label else f"to line {end_line}"
    sign = "^" if mark.primary else "-"
    return Row(0, sign, f"{' ' * indent}{sign * width} {label}".rstrip())


def _ends_line(span: Span) -> bool:
    """Whether the span reaches into the next line by the newline only."""
    return "\n" not in span.text.removesuffix("\n")


def diff(source: Source, edits: Sequence[Edit]) -> list[Row]:
    """What the edits change, as removed (`-`) and added (`+`) lines of the text."""
    ordered = sorted(edits, key=lambda edit: (edit.span.start, edit.span.end))
    pieces = []
    position = 0
    for edit in ordered:
        pieces += [source.text[position : edit.span.start], edit.text]
        position = edit.span.end
    pieces.append(source.text[position:])
    first = source.position(ordered[0].span.start)[0]
    last = source.position(ordered[-1].span.end)[0]
    old = source.text.split("\n")
    new = "".join(pieces).split("\n")
    grown = len(new) - len(old)
    before, after = old[first - 1 : last], new[first - 1 : last + grown]
    rows: list[Row] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        rows += [Row(first + n, "-", _clip(before[n])) for n in range(i, j)]
        rows += [Row(first + n, "+", _clip(after[n])) for n in range(k, m)]
    if len(rows) > _DIFF_LINES:
        return [*rows[:_DIFF_LINES], Row(0, ".", "")]
    return rows


def _clip(text: str) -> str:
    return _shown(text, (0, min(len(text), _WIDTH)))
