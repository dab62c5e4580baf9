"""Tokens: what the parser reads."""

from __future__ import annotations

from dataclasses import dataclass

END = "$END"

# Kinds after which an expression may have ended.
ENDERS = frozenset(
    (
        *("NAME", "INTEGER", "FLOAT", "STRING", "RPAR", "RSQB", "RBRACE", "TRUE", "FALSE"),
        *("NONE", "NONE_AXIS", "AS", "BOOL_WORD", "CHUNK", "COMPLEX_WORD", "FLOAT_WORD"),
        *("INT_WORD", "LIST", "LOSS", "SHARED", "STR_WORD", "TEST", "WITHIN", "QUESTION"),
    )
)
# Kinds that may stand for a name (rule `name` of the grammar).
NAMES = frozenset(
    (
        *("NAME", "AS", "BOOL_WORD", "CHUNK", "COMPLEX_WORD", "FLOAT_WORD", "INT_WORD"),
        *("LIST", "LOSS", "SHARED", "STR_WORD", "TEST", "WITHIN"),
    )
)
OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}


def clip(text: str) -> str:
    """At most 40 characters of a text, for a message."""
    return text if len(text) <= 40 else f"{text[:39]}…"


@dataclass(slots=True)
class Token:
    """`kind` is a terminal of the grammar, or a rule whose `value` recovery has parsed already.

    `first` says that it is the first on its line; `text` is as written, empty for a bracket that
    recovery has supplied.
    """

    kind: str
    text: str
    start: int
    end: int
    first: bool = False
    value: object = None

    @property
    def supplied(self) -> bool:
        """A bracket that the author left out."""
        return self.start == self.end and self.kind in CLOSERS
