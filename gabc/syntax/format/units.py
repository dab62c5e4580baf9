"""Lays out files: designs, imports, functions, units and tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gabc.syntax import tree
from gabc.syntax.format.doc import EMPTY, Doc, Text, concat
from gabc.syntax.format.statements import Made, Row, StatementLayout, lines

_Item = tree.Design | tree.Contract | tree.Import | tree.Function | tree.Unit | tree.Test


class FileLayout(StatementLayout):
    """The document of a whole file."""

    def file(self, file: tree.File) -> Doc:
        """Items in their order, a blank line between them; imports may stand together."""
        rows: list[Row] = []
        previous: _Item | None = None
        for item in _items(file):
            added = self.rows(item, self._end(item), partial(self._item, item))
            if previous is not None and not _may_touch(previous, item):
                _part(added)
            rows += added
            previous = item
        rows += self.comment_rows()
        return lines(rows)

    def _end(self, item: _Item) -> int:
        if isinstance(item, tree.Design) and item.contracts:
            return self._cursor.end_before(item.contracts[0].span.start)
        return item.span.end

    def _item(self, item: _Item) -> Made:
        match item:
            case tree.Design():
                return self._design(item)
            case tree.Contract():
                return self._contract(item)
            case tree.Import():
                return self._import(item)
            case tree.Function():
                return self._function(item)
            case tree.Unit():
                return self._unit(item)
            case tree.Test():
                words = (self._cursor.take("test"), Text(" "), self._cursor.take(), Text(" "))
                return concat((*words, self.block(item.body)))

    def _design(self, node: tree.Design) -> Doc:
        cursor = self._cursor
        head = (cursor.take("gab"), Text(" "), cursor.take())
        if not node.options:
            return concat(head)
        word = (Text(" "), cursor.take("with"), Text(" "))
        return concat((*head, *word, self.listed([partial(self.keyword, o) for o in node.options])))

    def _contract(self, node: tree.Contract) -> Doc:
        """Contracts are kept as text: their tokens with the spaces that expressions have."""
        cursor = self._cursor
        parts: list[Doc] = [cursor.take("require")]
        before = after = "require"
        while cursor.token.start < node.span.end:
            text = cursor.token.text
            parts += [Text(" ")] if _is_spaced(before, after, text) else []
            parts.append(cursor.take())
            before, after = after, text
        return concat(parts)

    def _import(self, node: tree.Import) -> Doc:
        cursor = self._cursor
        words: list[Doc] = [cursor.take("from"), Text(" "), cursor.take()]
        for _ in node.module[1:]:
            words += (cursor.take("."), cursor.take())
        words += (Text(" "), cursor.take("import"), Text(" "))
        return concat((*words, self.listed([partial(self._imported, n) for n in node.names])))

    def _imported(self, node: tree.ImportedName) -> Doc:
        name = self._cursor.take()
        if node.alias is None:
            return name
        return concat((name, Text(" "), self._cursor.take("as"), Text(" "), self._cursor.take()))

    def _function(self, node: tree.Function) -> Doc:
        cursor = self._cursor
        head = (cursor.take("fn"), Text(" "), cursor.take(), self._arguments(node.args))
        return concat((*head, self._result(node.result), Text(" "), self.block(node.body)))

    def _arguments(self, arguments: Sequence[tree.Argument]) -> Doc:
        return self.bracketed([partial(self._argument, argument) for argument in arguments])

    def _argument(self, node: tree.Argument) -> Doc:
        """`x`, `x: [B, L]`, `x=0.0` or `x: [B, L] = 0.0`."""
        if node.type is not None:
            return concat((self.typed(node.type), self._default(node.default)))
        name = self._cursor.take()
        if node.default is None:
            return name
        return concat((name, self._cursor.take("="), self.expr(node.default)))

    def _default(self, node: tree.Expr | None) -> Doc:
        return EMPTY if node is None else concat((Text(" "), *self.value(node)))

    def _result(self, node: tree.TensorType | None) -> Doc:
        if node is None:
            return EMPTY
        return concat((Text(" "), self._cursor.take("->"), Text(" "), self.type(node)))

    # ------------------------------------------------------------ units

    def _unit(self, node: tree.Unit) -> Doc:
        cursor = self._cursor
        head = (cursor.take("unit"), Text(" "), cursor.take())
        hypers = self.bracketed([partial(self._hyper, hyper) for hyper in node.hypers])
        return concat((*head, hypers, Text(" "), self.braces(lambda: self._body(node))))

    def _body(self, node: tree.Unit) -> list[Row]:
        """Members, a blank line, `forward`."""
        members = self._members(node.members)
        forward = self.rows(
            node.forward, node.forward.span.end, lambda: self._forward(node.forward)
        )
        if members:
            _part(forward)
        return members + forward

    def _forward(self, node: tree.Forward) -> Doc:
        head = (self._cursor.take("forward"), self._arguments(node.args))
        return concat((*head, self._result(node.result), Text(" "), self.block(node.body)))

    def _hyper(self, node: tree.Hyper) -> Doc:
        cursor = self._cursor
        parts: list[Doc] = [cursor.take(), cursor.take(":"), Text(" "), cursor.take()]
        if node.is_list:
            parts += (cursor.take("["), cursor.take(), cursor.take("]"))
        return concat((*parts, self._default(node.default)))

    def _members(self, members: Sequence[tree.Member]) -> list[Row]:
        found: list[Row] = []
        for member in members:
            found += self.rows(member, member.span.end, partial(self._member, member))
        return found

    def _member(self, node: tree.Member) -> Made:
        cursor = self._cursor
        match node:
            case tree.Dim(_, _, value):
                name = concat((cursor.take("dim"), Text(" "), cursor.take()))
                return "dim", name, self._default(value)
            case tree.Reads(_, entries) | tree.Writes(_, entries):
                word = cursor.take()
                listed = self.listed([partial(self._z_entry, entry) for entry in entries])
                return concat((word, Text(" "), listed))
            case tree.Require():
                return self.require(node)
            case tree.Param(_, _, kind, value, is_buffer):
                word_ = "buffer" if is_buffer else "param"
                return "param", self.typed(kind, word_), self._default(value)
            case tree.Child(_, _, value, is_shared):
                shared = (cursor.take("shared"), Text(" ")) if is_shared else ()
                return "child", concat((*shared, cursor.take())), self._default(value)
            case tree.MemberIf():
                return self._member_if(node)

    def _z_entry(self, node: tree.ZEntry) -> Doc:
        cursor = self._cursor
        name: list[Doc] = [cursor.take()]
        if node.is_indexed:
            name += (cursor.take("["), cursor.take(), cursor.take("]"))
        kind = (cursor.take(":"), Text(" "), self.type(node.type))
        return concat((*name, *kind, cursor.take("?") if node.optional else EMPTY))

    def _member_if(self, node: tree.MemberIf) -> Doc:
        parts: list[Doc] = []
        last = node
        while True:
            body = partial(self._members, last.then)
            parts += (*self.condition(last.condition), self.braces(body))
            if not self._cursor.at("else"):
                return concat(parts)
            parts += (Text(" "), self._cursor.take("else"), Text(" "))
            if not self._cursor.at("if"):
                return concat([*parts, self.braces(partial(self._members, last.otherwise))])
            (chained,) = last.otherwise
            assert isinstance(chained, tree.MemberIf)
            last = chained


def _items(file: tree.File) -> list[_Item]:
    """Everything at the top level of a file, in its order; contracts follow their design."""
    items: list[_Item] = [*file.imports, *file.functions, *file.units, *file.tests]
    if file.design is not None:
        items += (file.design, *file.design.contracts)
    return sorted(items, key=lambda item: item.span.start)


def _may_touch(previous: _Item, item: _Item) -> bool:
    """Whether no blank line is needed between two items."""
    return isinstance(item, tree.Contract) or (
        isinstance(previous, tree.Import) and isinstance(item, tree.Import)
    )


def _part(rows: Sequence[Row]) -> None:
    """Puts a blank line before an item and the comment directly above it."""
    first = len(rows) - 1
    while first and not rows[first].blank_before:
        first -= 1
    rows[first].blank_before = True


def _is_spaced(before: str, previous: str, text: str) -> bool:
    """Whether a space stands before `text`, which follows `previous`, which follows `before`."""
    if text in (",", ")", "]", ".") or previous in ("(", "[", "."):
        return False
    if text in ("(", "["):
        return not (previous.isidentifier() or previous in (")", "]")) or previous == "require"
    if text == "%":
        return before != "within"
    is_sign = previous in ("-", "+") and not (before.isalnum() or before in (")", "]"))
    return not is_sign
