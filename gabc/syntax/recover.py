"""Parses what can be parsed of a file that is wrong, and explains each part that cannot.

A file is cut into items, an item into members, a body into statements, and each is parsed alone
with the blocks inside it parsed first. One wrong part costs one finding and only itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gabc.diagnostics.model import MAX_ERRORS, Diagnostic, TooManyErrors
from gabc.syntax.build import TreeBuilder, UnitBody
from gabc.syntax.explain import explain, explain_depth, explain_expression
from gabc.syntax.failure import Failure
from gabc.syntax.lr import Splice, TooDeep, Unexpected, run
from gabc.syntax.member_order import check_order
from gabc.syntax.misspelt import correct_first_word
from gabc.syntax.source import Source, Span
from gabc.syntax.split import Bounds, Splitter
from gabc.syntax.table import Table
from gabc.syntax.teach import foreign_word
from gabc.syntax.tokens import NAMES, Token

# The rule to parse an item by, and the rule its block is parsed by.
_ITEM_RULES = {
    "GAB": ("design", "body"),
    "FROM": ("import", "body"),
    "UNIT": ("unit", "unit_body"),
    "FN": ("function", "body"),
    "TEST": ("test", "test_body"),
}
# Rules of what has no block of its own name: a brace refused there opens no block at all.
_PARTS = ("statement", "test_item", "member")


class Recovery:
    """Parses the parts of one file; `found` holds what is wrong with them."""

    def __init__(
        self,
        source: Source,
        table: Table,
        builder: TreeBuilder,
        splitter: Splitter,
        reported: Sequence[Diagnostic],
    ) -> None:
        self.found: list[Diagnostic] = []
        self._source = source
        self._table = table
        self._builder = builder
        self._actions = builder.actions(table)
        self._split = splitter
        self._tokens = splitter.tokens
        # Where the tokens start that earlier findings are about.
        starts = [token.start for token in self._tokens]
        indices = (bisect_right(starts, d.span.start) - 1 for d in reported)
        self._reported = {starts[index] for index in indices if index >= 0}

    def file(self) -> tuple[object, ...]:
        """The items that parse. Raises `TooManyErrors`."""
        items: list[object] = []
        for start, stop in self._split.items(0, len(self._tokens)):
            self._correct("item", start, stop)
            rule, block = _ITEM_RULES.get(self._tokens[start].kind, ("start", "body"))
            items += self._parse(rule, self._fold(start, stop, block))
        return tuple(items)

    # ------------------------------------------------------------ blocks

    def _fold(self, start: int, stop: int, block: str) -> list[Token]:
        """The tokens of a part, each block in it replaced by what it parses to."""
        folded = []
        index = start
        while index < stop:
            token = self._tokens[index]
            if token.kind != "LBRACE":
                folded.append(token)
                index += 1
                continue
            close = self._split.partner[index]
            span = Span(self._source, token.start, self._tokens[close].end)
            value = self._block(block, index, close, span)
            folded.append(Token(block, "{", span.start, span.end, token.first, value))
            index = close + 1
        return folded

    def _block(self, block: str, start: int, stop: int, span: Span) -> object:
        if block == "body":
            statements = self._split.statements(start + 1, stop)
            return self._builder.body(span, self._parts(statements, "statement", "body"))
        if block == "test_body":
            statements = self._split.statements(start + 1, stop)
            return self._parts(statements, "test_item", "body")
        members = self._split.members(start + 1, stop)
        self.found += check_order(self._source, self._tokens, members)
        if block == "member_body":
            return self._parts(members, "member", "member_body")
        return self._unit_body(members, self._tokens[start])

    def _parts(self, parts: list[Bounds], rule: str, block: str) -> tuple[Any, ...]:
        """The values of parts; their type is that of the rule's nodes."""
        values: list[Any] = []
        for start, stop in parts:
            self._correct(rule, start, stop)
            values += self._parse(rule, self._fold(start, stop, block))
        return tuple(values)

    def _unit_body(self, parts: list[Bounds], brace: Token) -> UnitBody:
        members: list[Any] = []
        forwards: list[Any] = []
        has_forward = False
        for start, stop in parts:
            self._correct("member", start, stop)
            if self._tokens[start].kind == "FORWARD":
                has_forward = True
                forwards += self._parse("forward", self._fold(start, stop, "body"))
            else:
                members += self._parse("member", self._fold(start, stop, "member_body"))
        if not has_forward and not self._is_reported([brace]):
            self.found.append(_no_forward(self._span(brace)))
        return UnitBody(tuple(members), forwards[0] if forwards else None)

    # ------------------------------------------------------------ one part

    def _span(self, token: Token) -> Span:
        return Span(self._source, token.start, token.end)

    def _correct(self, rule: str, start: int, stop: int) -> None:
        """Reads a misspelt first word as what it was meant to be."""
        corrected = correct_first_word(self._source, self._tokens[start : start + 3], rule)
        if corrected is not None and start + 1 < stop:
            self._tokens[start], diagnostic = corrected
            self.found.append(diagnostic)
            self._reported.add(diagnostic.span.start)

    def _parse(self, rule: str, tokens: list[Token]) -> list[Any]:
        """The value or values of one part; none, and a finding, where it does not parse."""
        if len(self.found) > MAX_ERRORS:
            raise TooManyErrors
        try:
            value = self._run(rule, tokens)
        except Unexpected as error:
            if rule in _PARTS:
                self._forget_inside(tokens, error.token)
            if not self._is_reported(tokens):
                self.found.append(self._explain(rule, tokens, error))
            return []
        except TooDeep:
            self.found.append(explain_depth(self._span(tokens[0]).to(self._span(tokens[-1]))))
            return []
        return list(value) if isinstance(value, Splice | tuple) else [value]

    def _forget_inside(self, tokens: list[Token], refused: Token) -> None:
        """Drops what was found inside braces that turn out to be no block."""
        takes_block = any(t.kind in ("SCAN", "ATTEND", "IF", "FOR") for t in tokens)
        no_block = refused.kind == "IF" or (tokens[0].kind in NAMES and not takes_block)
        for token in tokens if no_block else [refused]:
            if token.value is not None:
                self.found = [d for d in self.found if not token.start < d.span.start < token.end]

    def _run(self, rule: str, tokens: list[Token]) -> object:
        return run(self._table, self._actions, self._source, tokens, rule)

    def _is_reported(self, tokens: list[Token]) -> bool:
        """Whether a finding stands already inside the part, but not in a block of it."""
        return any(
            token.supplied or (token.value is None and token.start in self._reported)
            for token in tokens
        )

    def _explain(self, rule: str, tokens: list[Token], error: Unexpected) -> Diagnostic:
        failure = Failure(self._source, tokens, error, rule)
        if rule in _PARTS and not foreign_word(failure):
            try:
                self._run("expr", tokens)
            except (Unexpected, TooDeep):
                pass
            else:
                return explain_expression(self._source, tokens, rule)
        return explain(failure)


def _no_forward(brace: Span) -> Diagnostic:
    return Diagnostic(
        "GAB0009",
        "a unit has a `forward`, as its last member",
        brace,
        label="this unit has none",
        help="add `forward(X) { return X }`",
    )
