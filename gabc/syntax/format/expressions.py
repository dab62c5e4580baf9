"""Lays out expressions and types."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from gabc.syntax import tree
from gabc.syntax.format.cursor import Cursor
from gabc.syntax.format.doc import (
    EMPTY,
    SOFT,
    SPACE,
    Doc,
    IfBroken,
    Text,
    concat,
    group,
    indent,
)
from gabc.syntax.format.levels import (
    ANY,
    HEADER,
    OPERAND,
    RIGHT,
    SUM,
    ends_in_attend,
    is_chain,
    level,
)

_Item = tree.Expr | tree.Slice | tree.EllipsisLiteral


class Place(Enum):
    """Where an expression stands, which says what its parentheses are good for."""

    WHOLE = "whole"
    """Alone: a value, an argument, an index. Parentheses around it say nothing."""
    OPERAND = "operand"
    """Beside an operator. Parentheses around `a * b` may help a reader and stay."""


class ExpressionLayout(ABC):
    """Documents of expressions; the cursor stands at their first token."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    @abstractmethod
    def block(self, body: Sequence[tree.Stmt]) -> Doc:
        """Statements in braces."""

    # ------------------------------------------------------------ parentheses

    def expr(self, node: tree.Expr, lowest: int = ANY, place: Place = Place.WHOLE) -> Doc:
        """An expression with the parentheses that it needs, or that are kept.

        `lowest` is how tightly it must bind to stand here without parentheses.
        """
        cursor = self._cursor
        if cursor.token.start == node.span.start:
            return self._bare(node)
        closing = cursor.closing_parenthesis()
        is_free = cursor.is_free(cursor.token.start, cursor.end_at(closing))
        if is_free and self._is_redundant(node, lowest, place, cursor.text_at(closing + 1)):
            return concat(
                (
                    cursor.comments_of("("),
                    self.expr(node, lowest, place),
                    cursor.comments_of(")"),
                )
            )
        inner = (cursor.take("("), indent(SOFT, self.expr(node), self._before_closing()), SOFT)
        return group(*inner, cursor.take(")"))

    def _is_redundant(self, node: tree.Expr, lowest: int, place: Place, after: str) -> bool:
        """Whether the outermost parentheses around `node` may go."""
        if self._cursor.text_at(self._cursor.index + 1) == "(" and not self._is_last_pair(node):
            return True
        if level(node) < lowest or (after == "{" and ends_in_attend(node)):
            return False
        if place is Place.WHOLE:
            return True
        is_call = isinstance(node, tree.Call) and bool(node.renames or node.block)
        return level(node) >= OPERAND and not is_call

    def _is_last_pair(self, node: tree.Expr) -> bool:
        """Whether the next token is the innermost parenthesis around `node`."""
        return self._cursor.start_at(self._cursor.index + 1) == node.span.start

    def _before_closing(self) -> Doc:
        """Comments on lines of their own before a closing bracket, indented as what it encloses."""
        return concat(placed.comment for placed in self._cursor.own_lines())

    # ------------------------------------------------------------ lists in brackets

    def bracketed(self, items: Sequence[Callable[[], Doc]]) -> Doc:
        """`(a, b)` or `[a, b]` on one line, or each item on its own with a comma behind."""
        cursor = self._cursor
        opening = cursor.take()
        if not items:
            return group(opening, indent(self._before_closing()), cursor.take())
        parts: list[Doc] = []
        for number, item in enumerate(items):
            parts.append(SPACE if number else SOFT)
            parts.append(item())
            if number < len(items) - 1:
                parts.append(cursor.take(","))
        parts.append(IfBroken(","))
        if cursor.at(","):
            parts.append(cursor.comments_of(","))
        parts.append(self._before_closing())
        return group(opening, indent(*parts), SOFT, cursor.take())

    def listed(self, items: Sequence[Callable[[], Doc]]) -> Doc:
        """`a, b` without brackets; broken, every item but the first is on a line of its own."""
        first = items[0]()
        rest: list[Doc] = []
        for item in items[1:]:
            rest += (self._cursor.take(","), SPACE, item())
        return group(first, indent(*rest)) if rest else first

    # ------------------------------------------------------------ expressions

    def _bare(self, node: tree.Expr) -> Doc:
        cursor = self._cursor
        match node:
            case tree.ListLiteral(_, items):
                return self.bracketed([partial(self.expr, item) for item in items])
            case tree.Attribute(_, base, _):
                dotted = (self.expr(base, OPERAND, Place.OPERAND), cursor.take("."), cursor.take())
                return concat(dotted)
            case tree.Subscript(_, base, items):
                before = self.expr(base, OPERAND, Place.OPERAND)
                return concat((before, self.subscripts(items)))
            case tree.Call():
                return self._call(node)
            case tree.Unary(_, operator, operand):
                sign = cursor.take(operator)
                gap = Text(" ") if operator == "not" else EMPTY
                return concat((sign, gap, self.expr(operand, level(node), Place.OPERAND)))
            case tree.Binary():
                return self._binary(node)
            case tree.Conditional():
                return self._conditional(node)
        return cursor.take()

    def _conditional(self, node: tree.Conditional) -> Doc:
        """`a if b else c if d else e`: broken, every `else` ends a line."""
        cursor = self._cursor
        rest: list[Doc] = []
        last: tree.Expr = node
        # One in parentheses ends before they close, and is laid out as any operand.
        while isinstance(last, tree.Conditional) and last.span.end == node.span.end:
            rest.append(self.expr(last.then, HEADER, Place.OPERAND))
            rest += (Text(" "), cursor.take("if"), Text(" "))
            rest.append(self.expr(last.condition, HEADER, Place.OPERAND))
            rest += (Text(" "), cursor.take("else"), SPACE)
            last = last.otherwise
        rest.append(self.expr(last, ANY, Place.OPERAND))
        return group(rest[0], indent(*rest[1:]))

    def _binary(self, node: tree.Binary) -> Doc:
        """A chain of operators of one level: broken, every one of them ends a line."""
        own = level(node)
        is_right = node.op in RIGHT
        chain = _right_chain(node) if is_right else _left_chain(node)
        first = self.expr(chain[0].left, own + is_right, Place.OPERAND)
        rest: list[Doc] = []
        for part, following in zip(chain, [*chain[1:], None], strict=True):
            rest += (Text(" "), self._cursor.take(part.op), SPACE)
            operand = following.left if is_right and following is not None else part.right
            lowest = own + (not is_right or following is not None)
            rest.append(self.expr(operand, lowest, Place.OPERAND))
        return group(first, indent(*rest))

    def _call(self, node: tree.Call) -> Doc:
        cursor = self._cursor
        parts: list[Doc] = [self.expr(node.function, OPERAND, Place.OPERAND)]
        arguments = [partial(self.expr, arg) for arg in node.args]
        parts.append(
            self.bracketed([*arguments, *(partial(self.keyword, word) for word in node.keywords)])
        )
        if node.block is not None:
            if node.block.chunk is not None:
                parts += (Text(" "), cursor.take("chunk"), Text(" "))
                parts.append(self.expr(node.block.chunk, SUM))
            parts += (Text(" "), self.block(node.block.body))
        for _ in node.renames:
            words: list[Doc] = [SPACE, cursor.take("with"), Text(" "), cursor.take(), Text(" ")]
            parts.append(indent(*words, cursor.take("as"), Text(" "), cursor.take()))
        return group(*parts) if node.renames else concat(parts)

    def keyword(self, node: tree.Keyword) -> Doc:
        """`name=value`."""
        return concat((self._cursor.take(), self._cursor.take("="), self.expr(node.value)))

    def subscripts(self, items: Sequence[_Item]) -> Doc:
        """`[a, b:c, ...]`."""
        return self.bracketed([partial(self._subscript, item) for item in items])

    def _subscript(self, item: _Item) -> Doc:
        match item:
            case tree.EllipsisLiteral():
                return self._cursor.take("...")
            case tree.Slice(_, start, stop, step):
                parts = [self._optional(start), self._cursor.take(":"), self._optional(stop)]
                if self._cursor.at(":"):
                    parts += (self._cursor.take(":"), self._optional(step))
                return concat(parts)
            case _:
                return self.expr(item)

    def _optional(self, node: tree.Expr | None) -> Doc:
        return EMPTY if node is None else self.expr(node)

    # ------------------------------------------------------------ types

    def type(self, node: tree.TensorType) -> Doc:
        """`[B, L, D]` or `int[B, L]`."""
        kind = EMPTY if self._cursor.at("[") else self._cursor.take()
        return concat((kind, self.bracketed([partial(self._subscript, dim) for dim in node.dims])))


def _left_chain(node: tree.Binary) -> list[tree.Binary]:
    """The sums in `a + b - c` without parentheses, the innermost first."""
    chain = [node]
    while is_chain(left := chain[-1].left, node.op) and left.span.start == node.span.start:
        assert isinstance(left, tree.Binary)
        chain.append(left)
    return chain[::-1]


def _right_chain(node: tree.Binary) -> list[tree.Binary]:
    """The powers in `a ** b ** c` without parentheses, the outermost first."""
    chain = [node]
    while (
        isinstance(right := chain[-1].right, tree.Binary)
        and right.op == node.op
        and right.span.end == node.span.end
    ):
        chain.append(right)
    return chain
