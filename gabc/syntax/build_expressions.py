"""Makes the nodes of expressions and types; `build` makes the rest."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gabc.diagnostics.model import Diagnostic
from gabc.syntax import tree
from gabc.syntax.limits import MAX_INTEGER
from gabc.syntax.rules import check_dead, check_return
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import Token


@dataclass(frozen=True, slots=True)
class Body:
    """Braces with statements between; the nodes that own them keep the statements only."""

    span: Span
    statements: tuple[tree.Stmt, ...]


_CallArgs = tuple[tuple[tree.Expr, ...], tuple[tree.Keyword, ...]]
_Item = tree.Expr | tree.Slice | tree.EllipsisLiteral


class ExpressionBuilder:
    """One method `on_x` for each rule or alias `x` of the grammar's expressions and types."""

    def __init__(self, source: Source, tokens: Sequence[Token]) -> None:
        self.found: list[Diagnostic] = []
        self._source = source
        self._starts = [token.start for token in tokens]
        self._ends = [token.end for token in tokens]

    def _span(self, token: Token) -> Span:
        return Span(self._source, token.start, token.end)

    def body(self, span: Span, statements: tuple[tree.Stmt, ...]) -> Body:
        """The value of braces around statements."""
        self.found += check_dead(statements)
        return Body(span, statements)

    def _before(self, span: Span, after: tree.Node) -> Span:
        """The part of `span` that stands before `after`."""
        index = bisect_left(self._starts, after.span.start) - 1
        return Span(self._source, span.start, self._ends[index])

    # ------------------------------------------------------------ types

    def on_result(self, span: Span, kind: tree.TensorType | None = None) -> tree.TensorType | None:
        return kind

    def on_tensor_type(
        self, span: Span, dims: tuple[tree.Expr | tree.EllipsisLiteral, ...]
    ) -> tree.TensorType:
        return tree.TensorType(span, "float", dims)

    def on_kinded_type(
        self, span: Span, word: Token, dims: tuple[tree.Expr | tree.EllipsisLiteral, ...]
    ) -> tree.TensorType:
        return tree.TensorType(span, word.text, dims)

    def on_dims(
        self, span: Span, *dims: tree.Expr | tree.EllipsisLiteral
    ) -> tuple[tree.Expr | tree.EllipsisLiteral, ...]:
        return dims

    # ------------------------------------------------------------ operators

    def on_conditional(
        self, span: Span, then: tree.Expr, condition: tree.Expr, otherwise: tree.Expr
    ) -> tree.Conditional:
        return tree.Conditional(span, condition, then, otherwise)

    def on_binary(
        self, span: Span, left: tree.Expr, operator: Token, right: tree.Expr
    ) -> tree.Binary:
        return tree.Binary(span, operator.text, left, right)

    def on_unary(self, span: Span, operator: Token, operand: tree.Expr) -> tree.Unary:
        return tree.Unary(span, operator.text, operand)

    # ------------------------------------------------------------ what follows a value

    def on_attribute(self, span: Span, base: tree.Expr, name: tree.Name) -> tree.Attribute:
        return tree.Attribute(span, base, name)

    def on_subscript(self, span: Span, base: tree.Expr, items: tuple[_Item, ...]) -> tree.Subscript:
        return tree.Subscript(span, base, items)

    def on_subscripts(self, span: Span, *items: _Item | Token) -> tuple[_Item, ...]:
        # The one bare token is `None`, which inserts an axis.
        return tuple(
            tree.NoneLiteral(self._span(item)) if isinstance(item, Token) else item
            for item in items
        )

    def on_slice(self, span: Span, *parts: tree.Expr | None) -> tree.Slice:
        start, stop, step = parts if len(parts) == 3 else (*parts, None)
        return tree.Slice(span, start, stop, step)

    def on_slice_part(self, span: Span, value: tree.Expr | None = None) -> tree.Expr | None:
        return value

    def on_ellipsis(self, span: Span) -> tree.EllipsisLiteral:
        return tree.EllipsisLiteral(span)

    def on_call(self, span: Span, function: tree.Expr, args: _CallArgs) -> tree.Call:
        return tree.Call(span, function, *args)

    def on_call_args(self, span: Span, *items: tree.Expr | tree.Keyword) -> _CallArgs:
        keywords = tuple(item for item in items if isinstance(item, tree.Keyword))
        return tuple(item for item in items if not isinstance(item, tree.Keyword)), keywords

    def on_keyword(self, span: Span, name: tree.Name, value: tree.Expr) -> tree.Keyword:
        return tree.Keyword(span, name, value)

    def on_renamed(
        self, span: Span, call: tree.Call, renames: tuple[tree.Rename, ...]
    ) -> tree.Call:
        return replace(call, span=span, renames=renames)

    def on_renames(self, span: Span, *renames: tree.Rename) -> tuple[tree.Rename, ...]:
        return renames

    def on_rename(self, span: Span, key: tree.Name, other: tree.Name) -> tree.Rename:
        return tree.Rename(span, key, other)

    def on_scan(
        self,
        span: Span,
        word: Token,
        args: _CallArgs,
        chunk: tuple[Span, tree.Expr] | None,
        body: Body,
    ) -> tree.Call:
        self.found += check_return(body.statements, body.span, "a scan")
        where, size = (chunk[0].to(body.span), chunk[1]) if chunk else (body.span, None)
        block = tree.Block(where, size, body.statements)
        return tree.Call(span, tree.Name(self._span(word), word.text), *args, block=block)

    def on_chunk(
        self, span: Span, _word: Token | None = None, size: tree.Expr | None = None
    ) -> tuple[Span, tree.Expr] | None:
        return None if size is None else (span, size)

    def on_attend(
        self, span: Span, word: Token, args: _CallArgs, body: Body | None = None
    ) -> tree.Call:
        block = None if body is None else tree.Block(body.span, None, body.statements)
        return tree.Call(span, tree.Name(self._span(word), word.text), *args, block=block)

    # ------------------------------------------------------------ atoms

    def on_name(self, span: Span, word: Token) -> tree.Name:
        return tree.Name(span, word.text)

    def on_integer(self, span: Span, digits: Token) -> tree.Number:
        text = digits.text
        # Compared by length first: converting a long literal takes quadratic time.
        if len(text.lstrip("0")) > len(str(MAX_INTEGER)) or int(text) > MAX_INTEGER:
            self.found.append(
                Diagnostic(
                    "GAB0701",
                    f"an integer literal is at most {MAX_INTEGER}",
                    span,
                    label="too large",
                    facts=(("limit", str(MAX_INTEGER)),),
                )
            )
            return tree.Number(span, MAX_INTEGER)
        return tree.Number(span, int(text))

    def on_float(self, span: Span, digits: Token) -> tree.Number:
        value = float(digits.text)
        if math.isinf(value):
            self.found.append(
                Diagnostic("GAB0003", "the number does not fit a float", span, label="too large")
            )
            value = 0.0
        return tree.Number(span, value)

    def on_string(self, span: Span, text: Token) -> tree.String:
        return tree.String(span, text.text[1:-1])

    def on_true(self, span: Span) -> tree.Bool:
        return tree.Bool(span, True)

    def on_false(self, span: Span) -> tree.Bool:
        return tree.Bool(span, False)

    def on_none(self, span: Span) -> tree.NoneLiteral:
        return tree.NoneLiteral(span)

    def on_parenthesised(self, span: Span, value: tree.Expr) -> tree.Expr:
        return value

    def on_list(self, span: Span, items: tuple[tree.Expr, ...]) -> tree.ListLiteral:
        return tree.ListLiteral(span, items)

    def on_list_items(self, span: Span, *items: tree.Expr) -> tuple[tree.Expr, ...]:
        return items
