"""Lays out statements and the blocks they stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gabc.syntax import tree
from gabc.syntax.format.cursor import Cursor
from gabc.syntax.format.doc import (
    EMPTY,
    HARD,
    INDENT,
    WIDTH,
    Block,
    Comment,
    Concat,
    Doc,
    Text,
    concat,
    flat_width,
    indent,
)
from gabc.syntax.format.expressions import ExpressionLayout
from gabc.syntax.format.levels import HEADER

# The `=` of neighbours are aligned if what stands before them differs by no more than this.
_NEAR = {"child": 6, "dim": 6, "param": 16, "state": 16}


@dataclass(slots=True)
class Row:
    """One line of a block: a comment, or a statement in two parts, `left` being what is padded.

    Rows of one `kind` that stand one below the other have their `=` aligned; no kind, no `=`.
    """

    left: Doc
    right: Doc = EMPTY
    kind: str = ""
    blank_before: bool = False
    after: Comment | None = None
    pad: int = 0

    def doc(self) -> Concat:
        """The row as it is printed, without the newline."""
        return concat(
            (self.left, Text(" " * self.pad), self.right, *([self.after] if self.after else ()))
        )

    @property
    def is_comment(self) -> bool:
        return isinstance(self.left, Comment)


Made = Doc | tuple[str, Doc, Doc]


class StatementLayout(ExpressionLayout):
    """Documents of statements; the cursor stands at their first token."""

    def __init__(self, cursor: Cursor) -> None:
        super().__init__(cursor)
        self._depth = 0

    # ------------------------------------------------------------ blocks

    def rows(self, node: tree.Node, end: int, make: Callable[[], Made]) -> list[Row]:
        """The comments above a node and the node itself, which `make` lays out."""
        blank = self._cursor.has_blank_before(node.span.start)
        rows = self.comment_rows()
        after = self._cursor.end_comment(end)
        made = make()
        kind, left, right = made if isinstance(made, tuple) else ("", made, EMPTY)
        return [*rows, Row(left, right, kind, blank, after)]

    def comment_rows(self) -> list[Row]:
        """The comments before the next token."""
        placed = self._cursor.own_lines()
        return [Row(line.comment, blank_before=line.blank_before) for line in placed]

    def braces(self, make_rows: Callable[[], list[Row]]) -> Doc:
        """Rows in braces; blank lines at either end go."""
        opening = self._cursor.take("{")
        self._depth += 1
        rows = [*make_rows(), *self.comment_rows()]
        self._depth -= 1
        closing = self._cursor.take("}")
        if not rows:
            return Block(concat((opening, closing)))
        align(rows, INDENT * (self._depth + 1))
        return Block(concat((opening, indent(HARD, lines(rows)), HARD, closing)))

    def block(self, body: Sequence[tree.Stmt | tree.Require]) -> Doc:
        """Statements in braces."""
        return self.braces(lambda: self._statements(body))

    def _statements(self, body: Sequence[tree.Stmt | tree.Require]) -> list[Row]:
        found: list[Row] = []
        for node in body:
            found += self.rows(node, node.span.end, partial(self._statement, node))
        return found

    # ------------------------------------------------------------ statements

    def _statement(self, node: tree.Stmt | tree.Require) -> Made:
        cursor = self._cursor
        match node:
            case tree.Assign(_, targets, value):
                left = self.listed([partial(self.expr, target) for target in targets])
                return concat((left, Text(" "), *self.value(value)))
            case tree.Return(_, values):
                word = cursor.take("return")
                listed = self.listed([partial(self.expr, value) for value in values])
                return concat((word, Text(" "), listed))
            case tree.If():
                return self._if(node)
            case tree.For(_, targets, iterable, body):
                word = cursor.take("for")
                names = self.listed([cursor.take for _ in targets])
                inside = (Text(" "), cursor.take("in"), Text(" "), self.expr(iterable, HEADER))
                return concat((word, Text(" "), names, *inside, Text(" "), self.block(body)))
            case tree.State(_, _, kind, value):
                return "state", self.typed(kind, "state"), concat((Text(" "), *self.value(value)))
            case tree.Loss(_, _, value):
                name = (cursor.take(), Text(" "), cursor.take())
                return concat((*name, Text(" "), *self.value(value)))
            case tree.Require():
                return self.require(node)

    def value(self, node: tree.Expr) -> tuple[Doc, ...]:
        """`= value`."""
        return self._cursor.take("="), Text(" "), self.expr(node)

    def typed(self, kind: tree.TensorType, *words: str) -> Doc:
        """`state S: [B, K]` and the like."""
        cursor = self._cursor
        before = [part for word in words for part in (cursor.take(word), Text(" "))]
        name = (cursor.take(), cursor.take(":"), Text(" "))
        return concat((*before, *name, self.type(kind)))

    def require(self, node: tree.Require) -> Doc:
        """`require condition`."""
        return concat((self._cursor.take("require"), Text(" "), self.expr(node.condition)))

    def _if(self, node: tree.If) -> Doc:
        parts: list[Doc] = []
        last = node
        while True:
            parts += (*self.condition(last.condition), self.block(last.then))
            if not self._cursor.at("else"):
                return concat(parts)
            parts += (Text(" "), self._cursor.take("else"), Text(" "))
            if not self._cursor.at("if"):
                return concat([*parts, self.block(last.otherwise)])
            (chained,) = last.otherwise
            assert isinstance(chained, tree.If)
            last = chained

    def condition(self, node: tree.Expr) -> tuple[Doc, ...]:
        """`if condition `."""
        return self._cursor.take("if"), Text(" "), self.expr(node, HEADER), Text(" ")


def lines(rows: Sequence[Row]) -> Doc:
    """Rows below each other."""
    parts: list[Doc] = []
    for number, row in enumerate(rows):
        if number:
            parts.append(HARD)
            if row.blank_before:
                parts.append(HARD)
        parts.append(row.doc())
    return concat(parts)


def align(rows: Sequence[Row], columns: int) -> None:
    """Pads neighbours of one kind so that their `=` stand below each other.

    Neighbours are rows of one kind that fit on one line each and are about as long up to the `=`,
    with neither a blank line nor a comment between. They stay as they are if a line would become
    too long. So alignment depends on what is written and never on how.
    """
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or not _are_neighbours(rows[end - 1], rows[end], columns):
            _pad(rows[start:end], columns)
            start = end


def _are_neighbours(above: Row, row: Row, columns: int) -> bool:
    if above.kind != row.kind or row.kind not in _NEAR or row.blank_before:
        return False
    if _width(above, columns) is None or _width(row, columns) is None:
        return False
    return abs(_left(above) - _left(row)) <= _NEAR[row.kind]


def _pad(rows: Sequence[Row], columns: int) -> None:
    widest = max(_left(row) for row in rows)
    if all(widest - _left(row) + (_width(row, columns) or 0) <= WIDTH for row in rows):
        for row in rows:
            row.pad = widest - _left(row)


def _left(row: Row) -> int:
    return flat_width(row.left) or 0


def _width(row: Row, columns: int) -> int | None:
    """The length of the line that a row takes, if it is one."""
    right = flat_width(row.right)
    if flat_width(row.left) is None or right is None:
        return None
    width = columns + _left(row) + right
    return width if width <= WIDTH else None
