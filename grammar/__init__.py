"""The grammar of the language: one file, `gab.lark`, and what constrained decoding needs of it."""

from __future__ import annotations

from importlib.resources import files

# Words that are never names (language.md 10.23), and four more that the parser could not tell from
# a name where they begin or follow a statement.
RESERVED = (
    *("gab", "unit", "fn", "forward", "from", "import", "dim", "param", "buffer", "reads"),
    *("writes", "state", "scan", "return", "if", "else", "for", "in", "and", "or", "not"),
    *("true", "false", "none", "None", "attend", "require", "with"),
)

_NAME = "NAME: /[A-Za-z_][A-Za-z0-9_]*/"
_START = "start: _item*"
_LEADING = r"LEADING: /(#[^\n]*\n|[ \t\r\n])+/"


def grammar_text() -> str:
    """The text of `gab.lark`."""
    return (files(__name__) / "gab.lark").read_text(encoding="utf-8")


def decoding_grammar() -> str:
    """The grammar for llguidance: exactly the files that the parser accepts.

    llguidance takes `gab.lark` unchanged, with two differences from Lark. It lexes by what may come
    next, so that `unit state(...)` would pass: reserved words are taken out of `NAME`, by operators
    that Lark's regular expressions do not have. And it ignores comments and space only after the
    first token: those before it become part of `start`.
    """
    text = grammar_text()
    if text.count(_NAME) != 1 or text.count(_START) != 1:
        raise ValueError("gab.lark does not define NAME and start as expected")
    text = text.replace(_NAME, f"{_NAME} & ~/({'|'.join(RESERVED)})/")
    return text.replace(_START, f"start: LEADING? _item*\n{_LEADING}")
