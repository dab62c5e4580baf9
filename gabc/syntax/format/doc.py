"""Documents: texts with places where a line may break, and the rules that choose among them.

After Wadler, "A prettier printer" (2003), in the form that Prettier uses. A group is printed on one
line if it fits, else all its own lines break. Two things are added: a block in braces ends the line
that is measured, so that `wo(scan(q) {` stays together; and a comment can stand anywhere: whatever
follows it begins on a new line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 100
INDENT = 4
# What may still be written on a line before its comment: a newline here could change no meaning,
# and `a,  # about a` is where a reader looks for it.
BEFORE_COMMENT = (",", "{")


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A newline in a broken group, `flat` in one that is not."""

    flat: str


@dataclass(frozen=True, slots=True)
class Hard:
    """A newline, always; two make a blank line."""


@dataclass(frozen=True, slots=True)
class IfBroken:
    """A text that is there only in a broken group."""

    text: str


@dataclass(frozen=True, slots=True)
class Comment:
    """`own_line`: on a line of its own; else at the end of the line on which it falls."""

    text: str
    own_line: bool


@dataclass(frozen=True, slots=True)
class Concat:
    parts: tuple[Doc, ...]
    forced: bool


@dataclass(frozen=True, slots=True)
class Indent:
    doc: Doc
    forced: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that break together; `forced` if they must, because a comment stands among them."""

    doc: Doc
    forced: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Braces and what they hold: the lines in it break, and no group around it is forced to."""

    doc: Doc


Doc: TypeAlias = Text | Line | Hard | IfBroken | Comment | Concat | Indent | Group | Block

EMPTY = Concat((), False)
SPACE = Line(" ")
SOFT = Line("")
HARD = Hard()


def _forces(doc: Doc) -> bool:
    match doc:
        case Hard() | Comment():
            return True
        case Concat(_, forced) | Indent(_, forced) | Group(_, forced):
            return forced
    return False


def concat(parts: Iterable[Doc]) -> Concat:
    """One after the other."""
    listed = tuple(parts)
    return Concat(listed, any(map(_forces, listed)))


def indent(*parts: Doc) -> Indent:
    """Lines that break in it start one level deeper."""
    inner = concat(parts)
    return Indent(inner, inner.forced)


def group(*parts: Doc) -> Group:
    """Printed on one line if it fits."""
    inner = concat(parts)
    return Group(inner, inner.forced)


def flat_width(doc: Doc) -> int | None:
    """The columns of a document on one line; None if a comment, a newline or a block is in it."""
    width = 0
    stack = [doc]
    while stack:
        match stack.pop():
            case Text(text) | Line(text):
                width += len(text)
            case Concat(parts, _):
                stack.extend(parts)
            case Indent(inner, _) | Group(inner, _):
                stack.append(inner)
            case IfBroken():
                continue
            case _:
                return None
    return width


# A document, the columns its lines are indented by, and whether it is printed on one line.
_Command: TypeAlias = tuple[Doc, int, bool]


def render(doc: Doc) -> str:
    """The text of a document, without spaces at the end of any line."""
    output = _Output()
    stack: list[_Command] = [(doc, 0, False)]
    while stack:
        part, columns, flat = stack.pop()
        match part:
            case Text(text):
                output.write(text, columns)
            case Line(text) if flat:
                output.write(text, columns)
            case Line() | Hard():
                output.newline()
            case IfBroken(text):
                if not flat:
                    output.write(text, columns)
            case Comment():
                output.comment(part, columns)
            case Concat(parts, _):
                stack.extend((inner, columns, flat) for inner in reversed(parts))
            case Indent(inner, _):
                # On one line nothing is indented, not even the lines of a block that begins there.
                stack.append((inner, columns if flat else columns + INDENT, flat))
            case Block(inner):
                stack.append((inner, columns, False))
            case Group(inner, forced):
                room = WIDTH - output.column(columns)
                is_flat = not forced and (flat or _fits(inner, columns, stack, room))
                stack.append((inner, columns, is_flat))
    return output.text()


def _fits(doc: Doc, columns: int, rest: list[_Command], room: int) -> bool:
    """Whether `doc` on one line, and what follows up to the next newline, takes `room` columns."""
    stack: list[_Command] = [(doc, columns, True)]
    below = len(rest)
    while room >= 0:
        if not stack:
            if not below:
                return True
            below -= 1
            stack.append(rest[below])
        part, _, flat = stack.pop()
        match part:
            case Text(text):
                room -= len(text)
            case Line(text):
                if not flat:
                    return True
                room -= len(text)
            case Hard() | Comment():
                return True
            case Concat(parts, _):
                stack.extend((inner, 0, flat) for inner in reversed(parts))
            case Indent(inner, _):
                stack.append((inner, 0, flat))
            case Group(inner, forced):
                # What follows is not measured on one line if it cannot be printed on one.
                stack.append((inner, 0, flat and not forced))
            case Block(inner):
                stack.append((inner, 0, False))
            case IfBroken():
                continue
    return False


class _Output:
    """Lines being written. Indentation waits for a text, a comment for the end of its line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._waiting: str | None = None
        self._must_end = False

    def column(self, columns: int) -> int:
        """Where the next text begins."""
        return len(self._line) or columns

    def write(self, text: str, columns: int) -> None:
        if not text.strip():
            # A space at the start of a line is none; one at its end goes with the newline.
            self._line += text if self._line else ""
            return
        if self._must_end or (self._waiting and text.strip() not in BEFORE_COMMENT):
            self.newline()
        self._line = self._line + text if self._line else " " * columns + text.lstrip()

    def comment(self, comment: Comment, columns: int) -> None:
        is_taken = self._must_end or self._waiting is not None
        if comment.own_line or is_taken:
            if self._line or is_taken:
                self.newline()
            self._line = " " * columns + comment.text
            self._must_end = True
        else:
            self._waiting = comment.text

    def newline(self) -> None:
        line = self._line.rstrip()
        if self._waiting:
            line = f"{line}  {self._waiting}"
        self._lines.append(line)
        self._line, self._waiting, self._must_end = "", None, False

    def text(self) -> str:
        if self._line or self._waiting:
            self.newline()
        return "".join(f"{line}\n" for line in self._lines)
