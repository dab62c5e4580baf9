"""The one public function of the formatter."""

from __future__ import annotations

from dataclasses import fields

from gabc.diagnostics.model import Diagnostic
from gabc.syntax import tree
from gabc.syntax.format.cursor import Cursor
from gabc.syntax.format.doc import render
from gabc.syntax.format.units import FileLayout
from gabc.syntax.lexer import lex
from gabc.syntax.parse import parse
from gabc.syntax.source import Source

# What is left out of a `skeleton`.
_PLACES = ("span", "source", "doc")


class FormatError(Exception):
    """A text that cannot be formatted because its syntax is wrong; `diagnostics` say where."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__(f"{len(diagnostics)} syntax errors")
        self.diagnostics = diagnostics


def format_source(text: str, path: str = "<text>") -> str:
    """A `.gab` text as it is to be written: 4 spaces, 100 columns, one statement a line.

    Comments stay where they are and blank lines stay, one at a time; nothing else of the layout
    does, so that all ways to lay out a program become one. Parentheses go where they say nothing:
    around a whole value, a name, a call. `format_source(format_source(x)) == format_source(x)`.

    Raises:
        FormatError: if the text has a syntax error.
    """
    source = Source(path, text)
    file, found = parse(source)
    if found:
        raise FormatError(found)
    lexed = lex(source)
    layout = FileLayout(Cursor(source, lexed.tokens, lexed.comments))
    formatted = render(layout.file(file))
    _verify(file, Source(path, formatted))
    return formatted


def _verify(file: tree.File, formatted: Source) -> None:
    """Formatting must change no meaning: a fault of the formatter must not reach a file."""
    again, found = parse(formatted)
    if found or skeleton(again) != skeleton(file):
        raise AssertionError(f"formatting would change the meaning of {formatted.path}")


def skeleton(file: tree.File) -> list[object]:
    """A tree without places: equal for two texts that say the same, comments included.

    Every node with its parts behind it. What a unit's `doc` is depends on where its comments stand;
    they are compared as comments.
    """
    found: list[object] = []
    stack: list[object] = [file]
    while stack:
        match stack.pop():
            case tuple() as parts:
                found.append(len(parts))
                stack.extend(parts)
            case tree.Contract(_, text):
                found.append("".join(text.split()))
            case tree.Comment(_, text, _):
                found.append("".join(text.split()))
            case (tree.Node() | tree.File()) as node:
                found.append(type(node).__name__)
                names = [part.name for part in fields(node) if part.name not in _PLACES]
                stack.extend(getattr(node, name) for name in names)
            case value:
                found.append(value)
    return found
