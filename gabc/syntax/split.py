"""Finds where items, members and statements begin in a text that does not parse.

In a right text a statement begins exactly where a name or keyword follows something that could end
one. In a wrong text newlines and the words that follow help to tell; brackets are paired already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gabc.syntax.source import Source
from gabc.syntax.tokens import ENDERS, NAMES, OPENERS, Token

_ITEM_WORDS = frozenset(("GAB", "FROM", "UNIT", "FN"))
_MEMBER_WORDS = frozenset(("DIM", "READS", "WRITES", "PARAM", "BUFFER", "REQUIRE", "FORWARD"))
_STATEMENT_WORDS = frozenset(("RETURN", "STATE", "FOR"))
# Words that a line may begin with although it goes on.
_CONTINUING = frozenset(("ELSE", "AND", "OR", "IN", "WITH", "AS", "CHUNK", "WITHIN", "IMPORT"))

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cuts ranges of `tokens`, whose brackets are paired by `partner`."""

    source: Source
    tokens: list[Token]
    partner: list[int]

    def items(self, start: int, stop: int) -> list[Bounds]:
        """Units, functions, tests, imports and the design of a file."""
        return self._cut(start, stop, self._begins_item)

    def members(self, start: int, stop: int) -> list[Bounds]:
        """Members of a unit and its `forward`."""
        return self._cut(start, stop, self._begins_member)

    def statements(self, start: int, stop: int) -> list[Bounds]:
        return self._cut(start, stop, self._begins_statement)

    def top_level(self, start: int, stop: int) -> Iterator[int]:
        """Indices outside any bracket pair opened in the range; closers are passed over."""
        index = start
        while index < stop:
            yield index
            if self.tokens[index].kind in OPENERS:
                index = self.partner[index]
            index += 1

    def _cut(self, start: int, stop: int, begins: Callable[[int, int], bool]) -> list[Bounds]:
        if start >= stop:
            return []
        indices = self.top_level(start, stop)
        starts = [index for index in indices if index == start or begins(index, stop)]
        return list(zip(starts, [*starts[1:], stop], strict=True))

    def _kind(self, index: int) -> str:
        return self.tokens[index].kind if index < len(self.tokens) else ""

    def _begins_item(self, index: int, stop: int) -> bool:
        token, after = self.tokens[index], self._kind(index + 1)
        if token.kind in _ITEM_WORDS:
            return True
        if token.kind == "TEST" and after == "STRING":
            return True
        if not token.first or self._kind(index - 1) not in ENDERS:
            return False
        if token.kind in NAMES and after in NAMES:
            return True
        # Members left outside by a brace too many; inside a unit without braces they are indented.
        stray = token.kind in ("IMPORT", "FORWARD") or after == "EQUAL"
        return stray and self.source.position(token.start)[1] == 1

    def _begins_member(self, index: int, stop: int) -> bool:
        token = self.tokens[index]
        if token.kind in _MEMBER_WORDS or token.kind in _STATEMENT_WORDS:
            return self._kind(index - 1) != "DOT"
        if token.kind == "SHARED" and self._kind(index + 1) in NAMES:
            return True
        return self._begins_any(index, stop)

    def _begins_statement(self, index: int, stop: int) -> bool:
        token = self.tokens[index]
        if token.kind in _STATEMENT_WORDS:
            return self._kind(index - 1) != "DOT"
        if token.kind == "LOSS" and self._kind(index + 1) in NAMES:
            return True
        return self._begins_any(index, stop)

    def _begins_any(self, index: int, stop: int) -> bool:
        token, before = self.tokens[index], self._kind(index - 1)
        if token.kind == "IF":
            follows = before in ENDERS or token.first or index == 0
            return follows and before != "ELSE" and self._is_if_statement(index, stop)
        if token.kind == "NAME" and before == "RBRACE" and self._kind(index + 1) == "LBRACE":
            # A misspelt `else`.
            return False
        if token.kind in _CONTINUING and not self._is_target(index, stop):
            return False
        is_word = token.text.isidentifier()
        if before in ENDERS:
            if token.first and is_word:
                return True
            if token.kind in NAMES and before == "RBRACE":
                return True
            return self._is_target(index, stop)
        return token.first and before != "COMMA" and self._kind(index + 1) == "EQUAL" and is_word

    def _is_if_statement(self, index: int, stop: int) -> bool:
        """An `if` whose block comes before an `else`; a broken one if it begins its line."""
        for other in self.top_level(index + 1, stop):
            kind = self._kind(other)
            if kind == "LBRACE":
                return True
            if kind == "ELSE":
                return False
            if kind in ("EQUAL", "IF") or kind in _STATEMENT_WORDS or kind in _MEMBER_WORDS:
                # The next statement has begun.
                break
        return self.tokens[index].first

    def _is_target(self, index: int, stop: int) -> bool:
        """Whether `a, Z.b, c[i] =` begins here."""
        expects_name = True
        for other in self.top_level(index, stop):
            kind = self._kind(other)
            if expects_name:
                if kind not in NAMES:
                    return False
                expects_name = False
            elif kind in ("COMMA", "DOT"):
                expects_name = True
            elif kind != "LSQB":
                return kind == "EQUAL"
        return False
