"""A part that does not parse, as the explanations look at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gabc.syntax.lr import Unexpected
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import CLOSERS, END, NAMES, OPENERS, Token, clip

_VALUES = NAMES | {"INTEGER", "FLOAT", "STRING", "TRUE", "FALSE", "NONE", "SCAN", "ATTEND"}


@dataclass(frozen=True)
class Failure:
    """`tokens` parse as a `rule` up to the token of `error`."""

    source: Source
    tokens: list[Token]
    error: Unexpected
    rule: str

    @property
    def token(self) -> Token:
        return self.error.token

    @property
    def expected(self) -> tuple[str, ...]:
        return self.error.expected

    @cached_property
    def index(self) -> int:
        """The index of the refused token; the number of tokens at the end."""
        for index, token in enumerate(self.tokens):
            if token is self.token:
                return index
        return len(self.tokens)

    @property
    def previous(self) -> Token | None:
        return self.tokens[self.index - 1] if self.index else None

    @property
    def following(self) -> Token | None:
        return self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else None

    @property
    def span(self) -> Span:
        """The refused token, or the place behind the last one."""
        token = self.token
        # A block parsed already is shown by its brace.
        end = token.start + 1 if token.value is not None else token.end
        return Span(self.source, token.start, end)

    @property
    def shown(self) -> str:
        return "the end" if self.token.kind == END else f"`{clip(self.token.text)}`"

    @property
    def begins_value(self) -> bool:
        return self.token.kind in _VALUES

    @cached_property
    def openers(self) -> list[int]:
        """Indices of the brackets open at the refused token."""
        stack: list[int] = []
        for index, token in enumerate(self.tokens[: self.index]):
            if token.kind in OPENERS:
                stack.append(index)
            elif token.kind in CLOSERS and stack:
                stack.pop()
        return stack

    @property
    def depth(self) -> int:
        return len(self.openers)

    def place(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)
