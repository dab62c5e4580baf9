"""Python expressions as text with their precedence, so that brackets stand only where needed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Precedence(IntEnum):
    """Python's operator precedence, loosest first."""

    CONDITIONAL = 0
    OR = 1
    AND = 2
    NOT = 3
    COMPARE = 4
    BIT_OR = 5
    BIT_AND = 6
    ADD = 7
    MULTIPLY = 8
    UNARY = 9
    POWER = 10
    ATOM = 11


OPERATORS = {
    "or": Precedence.OR,
    "and": Precedence.AND,
    "==": Precedence.COMPARE,
    "!=": Precedence.COMPARE,
    "<": Precedence.COMPARE,
    "<=": Precedence.COMPARE,
    ">": Precedence.COMPARE,
    ">=": Precedence.COMPARE,
    "|": Precedence.BIT_OR,
    "&": Precedence.BIT_AND,
    "+": Precedence.ADD,
    "-": Precedence.ADD,
    "*": Precedence.MULTIPLY,
    "/": Precedence.MULTIPLY,
    "//": Precedence.MULTIPLY,
    "%": Precedence.MULTIPLY,
    "@": Precedence.MULTIPLY,
    "**": Precedence.POWER,
}


@dataclass(frozen=True, slots=True)
class Code:
    """An expression's text and the precedence of its outermost operator."""

    text: str
    precedence: Precedence = Precedence.ATOM

    def within(self, precedence: Precedence) -> str:
        """The text, bracketed if it binds more loosely than `precedence`."""
        return self.text if self.precedence >= precedence else f"({self.text})"


def binary(op: str, left: Code, right: Code) -> Code:
    """`left op right`, left-associative but for `**`."""
    level = OPERATORS[op]
    tighter = Precedence(min(level + 1, Precedence.ATOM))
    if op == "**":
        return Code(f"{left.within(tighter)} ** {right.within(Precedence.UNARY)}", level)
    # Comparisons do not associate: `a == (b == c)` needs its brackets on both sides.
    left_level = tighter if level is Precedence.COMPARE else level
    return Code(f"{left.within(left_level)} {op} {right.within(tighter)}", level)


def unary(op: str, operand: Code) -> Code:
    """`-x`, `+x` or `not x`."""
    if op == "not":
        return Code(f"not {operand.within(Precedence.NOT)}", Precedence.NOT)
    # `-a ** b` would be right, and is written `-(a ** b)`, as formatters do.
    inner = Precedence.ATOM if operand.precedence is Precedence.POWER else Precedence.UNARY
    return Code(f"{op}{operand.within(inner)}", Precedence.UNARY)
