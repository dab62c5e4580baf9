"""Lines of generated Python, laid out as `ruff format` would lay them out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from gabc.syntax.source import Span

WIDTH = 100
INDENT = "    "

_POWER = re.compile(r"(?<![\w.)\]])([\w.]++) \*\* (-?[\w.]++)(?![(\[])")


@dataclass(frozen=True, slots=True)
class Line:
    """One statement (or part of a compound one) at an indentation level; text `""` is a blank line.

    `note` becomes a comment beside the code, followed by the place of `span` where the line is the
    first of several from the same line of the design. The lines of a docstring are `is_prose`: they
    are left as they are.
    """

    text: str
    level: int = 0
    span: Span | None = None
    note: str = ""
    is_prose: bool = False


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of the file, and where in the design it comes from."""

    text: str
    span: Span | None


def place(span: Span) -> str:
    """`design.gab:12`."""
    return f"{PurePosixPath(span.source.path).name}:{span.line}"


def printed(lines: Iterable[Line]) -> Iterator[Printed]:
    """The lines as text: comments added, long statements broken."""
    seen: set[tuple[str, int]] = set()
    for line in lines:
        if not line.text:
            yield Printed("", None)
            continue
        if line.is_prose:
            yield Printed(INDENT * line.level + line.text, line.span)
            continue
        line = replace(line, text=_hugged(line.text))
        comment = line.note
        if line.span is not None:
            key = (line.span.source.path, line.span.line)
            if key not in seen:
                seen.add(key)
                comment = f"{comment}  {place(line.span)}" if comment else place(line.span)
        yield from _with_comment(line, comment)


def _with_comment(line: Line, comment: str) -> Iterator[Printed]:
    margin = INDENT * line.level
    whole = f"{margin}{line.text}  # {comment}" if comment else margin + line.text
    if len(whole) <= WIDTH:
        yield Printed(whole, line.span)
        return
    if comment:
        yield Printed(f"{margin}# {comment}", line.span)
    for text in broken(line.text, line.level):
        yield Printed(text, line.span)


def _hugged(text: str) -> str:
    """Powers of simple operands without spaces: `K**-0.5`, but `2.0 ** f(x)`."""
    return _POWER.sub(r"\1**\2", text)


def fits(text: str, level: int) -> bool:
    """Whether a statement fits on one line, without a comment."""
    return len(INDENT) * level + len(text) <= WIDTH


def broken(text: str, level: int) -> list[str]:
    """A statement as lines of at most `WIDTH` columns where that is possible.

    A call (or a `def`) puts its arguments on a line of their own, or each on one; another
    expression is put in brackets.
    """
    margin = INDENT * level
    if fits(text, level):
        return [margin + text]
    opening, items, closing = _last_bracket(text)
    if items:
        return _bracketed(opening, items, closing, level)
    target, equals, value = _split_assignment(text)
    if not equals:
        return [margin + text]
    lines = [f"{margin}{target}{equals}("]
    if fits(value, level + 1):
        lines.append(f"{margin}{INDENT}{value}")
    else:
        lines += [f"{margin}{INDENT}{part}" for part in _operands(value)]
    return [*lines, f"{margin})"]


def _bracketed(opening: str, items: list[str], closing: str, level: int) -> list[str]:
    margin = INDENT * level
    joined = ", ".join(items)
    if fits(joined, level + 1):
        return [margin + opening, f"{margin}{INDENT}{joined}", margin + closing]
    lines = [margin + opening]
    for item in items:
        *head, last = broken(item, level + 1)
        # A trailing comma may not follow an unpacked generator; ours never are.
        lines += [*head, f"{last},"]
    return [*lines, margin + closing]


def _last_bracket(text: str) -> tuple[str, list[str], str]:
    """`f(a, b) -> T:` as `f(`, its items and `) -> T:`; no items if there is no such bracket."""
    stop = len(text) - 1
    if text.startswith("def "):
        stop = text.rfind(") ->")
    elif text.startswith("for "):
        stop -= 1  # the colon
    if text[stop] not in ")]" or _is_operation(text):
        return "", [], ""
    code = _without_strings(text)
    depth, start = 0, stop
    commas = []
    for start in range(stop, -1, -1):
        depth += (code[start] in ")]}") - (code[start] in "([{")
        if depth == 0:
            break
        if depth == 1 and code[start] == ",":
            commas.append(start)
    edges = [start, *reversed(commas), stop]
    items = [text[a + 1 : b].strip() for a, b in pairwise(edges)]
    return text[: start + 1], [item for item in items if item], text[stop:]


def _without_strings(text: str) -> str:
    """The text with every string literal overwritten, so that its punctuation is not seen."""
    return re.sub(r'"[^"]*"', lambda match: "_" * len(match[0]), text)


def _is_operation(text: str) -> bool:
    """Whether the value of a statement is no call, list or subscript but an operator's result."""
    if text.startswith(("def ", "class ", "for ")):
        return False
    body = ast.parse(_split_assignment(text)[2], mode="eval").body
    return isinstance(body, ast.BinOp | ast.BoolOp | ast.IfExp | ast.Compare | ast.UnaryOp)


def _split_assignment(text: str) -> tuple[str, str, str]:
    """Target, ` = ` or ` `, value; for `return x` the target is `return`."""
    if text.startswith("return "):
        return "return", " ", text.removeprefix("return ")
    try:
        tree = ast.parse(text).body[0]
    except SyntaxError:  # one item of a broken call: `heads: int = 8`, `x=f(y)`
        return "", "", text
    if isinstance(tree, ast.Assign):
        start = tree.value.col_offset
        while text[start - 1] == "(":
            start -= 1
        return text[: start - 3], " = ", text[start:]
    return "", "", text


def _operands(text: str) -> list[str]:
    """An operation broken before each of its loosest operators."""
    body = ast.parse(text, mode="eval").body
    if not isinstance(body, ast.BinOp):
        return [text]
    level = isinstance(body.op, ast.Add | ast.Sub)
    starts = []
    node: ast.expr = body
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) == level:
        end = node.left.end_col_offset or 0
        while text[end] in ") ":
            end += 1
        starts.append(end)
        node = node.left
    edges = [0, *reversed(starts), len(text)]
    return [text[a:b].strip() for a, b in pairwise(edges)]
