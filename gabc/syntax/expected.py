"""Says in words what could have stood somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from gabc.syntax.table import load_table
from gabc.syntax.tokens import END, NAMES

_VALUE = NAMES | frozenset(
    (
        *("INTEGER", "FLOAT", "STRING", "TRUE", "FALSE", "NONE", "LPAR", "LSQB", "MINUS"),
        *("PLUS", "NOT", "SCAN", "ATTEND"),
    )
)
_OPERATORS = frozenset(
    (
        *("PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "AT", "POWER", "COMPARE"),
        *("COALESCE", "AND", "OR", "DOT", "LPAR", "LSQB", "WITH", "IF"),
    )
)
_WORDS = {
    END: "the end",
    "NAME": "a name",
    "INTEGER": "an integer",
    "FLOAT": "a number",
    "STRING": "a string in double quotes",
    "COMPARE": "a comparison",
    "STR_WORD": "`str`",
}


@cache
def _texts() -> dict[str, str]:
    return {name: f"`{text}`" for text, name in load_table().literals.items()}


def describe(terminals: Sequence[str]) -> str:
    """`an expression`, `` `,` or `)` ``: the terminals grouped and in words."""
    rest = set(terminals)
    words = []
    if {"NAME", "INTEGER", "LPAR"} <= rest:
        words.append("an expression")
        rest -= _VALUE
    elif "NAME" in rest:
        words.append("a name")
        rest -= NAMES
    if {"PLUS", "STAR", "POWER"} <= rest:
        rest -= _OPERATORS
        # What could close or separate says more than that the expression could go on.
        if not rest - {END}:
            words.append("an operator")
    if END in rest:
        # An `if` or `else` could follow almost anything.
        rest -= {"IF", "ELSE"}
    words += sorted(_word(terminal) for terminal in rest - ({END} if words else set()))
    if len(words) > 1:
        return f"{', '.join(words[:-1])} or {words[-1]}"
    return words[0] if words else _word(END)


def _word(terminal: str) -> str:
    return _WORDS.get(terminal) or _texts().get(terminal, terminal.lower())


def literal(terminal: str) -> str:
    """The text of a terminal that has only one, or an empty string."""
    return _texts().get(terminal, "").strip("`")
