"""Makes the nodes of files, units and statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gabc.syntax import tree
from gabc.syntax.build_expressions import Body, ExpressionBuilder
from gabc.syntax.lr import Action, Splice
from gabc.syntax.rules import check_return
from gabc.syntax.source import Source, Span
from gabc.syntax.table import NODE, Table
from gabc.syntax.tokens import Token

_Target = tree.Name | tree.Attribute | tree.Subscript


@dataclass(frozen=True, slots=True)
class UnitBody:
    """What stands in a unit's braces; recovery may find no `forward`, and then there is no unit."""

    members: tuple[tree.Member, ...]
    forward: tree.Forward | None


@dataclass(frozen=True, slots=True)
class _Glued:
    """An expression and the `if` that follows its statement (note 1 of the grammar)."""

    value: tree.Expr
    after: tree.If | tree.MemberIf


class TreeBuilder(ExpressionBuilder):
    """One method `on_x` for each rule or alias `x`; findings about literals go to `found`."""

    def __init__(
        self, source: Source, tokens: Sequence[Token], comments: Sequence[tree.Comment]
    ) -> None:
        super().__init__(source, tokens)
        self._comments = {c.span.line: c.text for c in comments if c.own_line}

    def actions(self, table: Table) -> list[Action | None]:
        """The action of each rule of the table, None where a rule makes no value of its own."""
        return [
            getattr(self, f"on_{action}") if kind == NODE else None
            for _, action, _, _, kind in table.rules
        ]

    def _doc(self, span: Span) -> str:
        """The text of the comment lines directly above."""
        lines: list[str] = []
        number = span.line - 1
        while number in self._comments:
            lines.append(self._comments[number].removeprefix("#").removeprefix(" ").rstrip())
            number -= 1
        return "\n".join(reversed(lines))

    def _finish(
        self, span: Span, value: tree.Expr | _Glued, make: Callable[[Span, tree.Expr], tree.Node]
    ) -> tree.Node | Splice:
        """The statement that ends in `value`, or that and the `if` glued to it."""
        if isinstance(value, _Glued):
            return Splice([make(self._before(span, value.after), value.value), value.after])
        return make(span, value)

    # ------------------------------------------------------------ a file

    def on_start(self, span: Span, *items: tree.Node) -> tuple[tree.Node, ...]:
        return items

    def on_design(
        self,
        span: Span,
        name: tree.Name,
        options: tuple[tree.Keyword, ...],
        contracts: tuple[tree.Contract, ...],
    ) -> tree.Design:
        return tree.Design(span, name, options, contracts)

    def on_design_options(self, span: Span, *options: tree.Keyword) -> tuple[tree.Keyword, ...]:
        return options

    def on_contracts(self, span: Span, *contracts: tree.Contract) -> tuple[tree.Contract, ...]:
        return contracts

    def on_contract(self, span: Span, terms: str) -> tree.Contract:
        return tree.Contract(span, terms)

    def on_contract_terms(self, span: Span, *_terms: object) -> str:
        return " ".join(span.text.split())

    def on_import(
        self, span: Span, module: tuple[tree.Name, ...], names: tuple[tree.ImportedName, ...]
    ) -> tree.Import:
        return tree.Import(span, module, names)

    def on_module(self, span: Span, *parts: tree.Name) -> tuple[tree.Name, ...]:
        return parts

    def on_imported_names(
        self, span: Span, *names: tree.ImportedName
    ) -> tuple[tree.ImportedName, ...]:
        return names

    def on_imported(
        self, span: Span, name: tree.Name, alias: tree.Name | None = None
    ) -> tree.ImportedName:
        return tree.ImportedName(span, name, alias)

    def on_function(
        self,
        span: Span,
        name: tree.Name,
        args: tuple[tree.Argument, ...],
        result: tree.TensorType | None,
        body: Body,
    ) -> tree.Function:
        self.found += check_return(body.statements, body.span, f"`fn {name.id}`")
        return tree.Function(span, name, args, result, body.statements, self._doc(span))

    def on_test(
        self, span: Span, title: tree.String, body: tuple[tree.Stmt | tree.Require, ...]
    ) -> tree.Test:
        return tree.Test(span, title, body)

    def on_test_body(
        self, span: Span, *body: tree.Stmt | tree.Require
    ) -> tuple[tree.Stmt | tree.Require, ...]:
        return body

    # ------------------------------------------------------------ units

    def on_unit(
        self,
        span: Span,
        name: tree.Name,
        hypers: tuple[tree.Hyper, ...],
        body: UnitBody,
    ) -> tree.Unit | Splice:
        if body.forward is None:
            return Splice()
        return tree.Unit(span, name, hypers, body.members, body.forward, self._doc(span))

    def on_unit_body(self, span: Span, *parts: tree.Member | tree.Forward) -> UnitBody:
        members = tuple(part for part in parts if not isinstance(part, tree.Forward))
        forwards = [part for part in parts if isinstance(part, tree.Forward)]
        return UnitBody(members, forwards[0])

    def on_hypers(self, span: Span, *hypers: tree.Hyper) -> tuple[tree.Hyper, ...]:
        return hypers

    def on_hyper(
        self,
        span: Span,
        name: tree.Name,
        kind: tuple[str, bool],
        default: tree.Expr | None = None,
    ) -> tree.Hyper:
        return tree.Hyper(span, name, *kind, default)

    def on_hyper_type(self, span: Span, *parts: Token | str) -> tuple[str, bool]:
        return str(parts[-1]), len(parts) == 2

    def on_scalar_type(self, span: Span, word: Token) -> str:
        return word.text

    def on_reads(self, span: Span, *entries: tree.ZEntry) -> tree.Reads:
        return tree.Reads(span, entries)

    def on_writes(self, span: Span, *entries: tree.ZEntry) -> tree.Writes:
        return tree.Writes(span, entries)

    def on_z_entry(self, span: Span, name: tree.Name, kind: tree.TensorType) -> tree.ZEntry:
        return tree.ZEntry(span, name, False, kind, False)

    def on_z_optional(self, span: Span, name: tree.Name, kind: tree.TensorType) -> tree.ZEntry:
        return tree.ZEntry(span, name, False, kind, True)

    def on_z_indexed(
        self, span: Span, name: tree.Name, _index: Token, kind: tree.TensorType
    ) -> tree.ZEntry:
        return tree.ZEntry(span, name, True, kind, False)

    def on_z_optional_indexed(
        self, span: Span, name: tree.Name, _index: Token, kind: tree.TensorType
    ) -> tree.ZEntry:
        return tree.ZEntry(span, name, True, kind, True)

    def on_dim(self, span: Span, name: tree.Name, value: tree.Expr | _Glued) -> tree.Node | Splice:
        return self._finish(span, value, lambda where, expr: tree.Dim(where, name, expr))

    def on_require(self, span: Span, value: tree.Expr | _Glued) -> tree.Node | Splice:
        return self._finish(span, value, tree.Require)

    on_check = on_require

    def on_param(
        self,
        span: Span,
        name: tree.Name,
        kind: tree.TensorType,
        value: tree.Expr | _Glued | None = None,
        is_buffer: bool = False,
    ) -> tree.Node | Splice:
        if value is None:
            return tree.Param(span, name, kind, None, is_buffer)
        return self._finish(
            span, value, lambda where, expr: tree.Param(where, name, kind, expr, is_buffer)
        )

    def on_buffer(
        self, span: Span, name: tree.Name, kind: tree.TensorType, value: tree.Expr | _Glued
    ) -> tree.Node | Splice:
        return self.on_param(span, name, kind, value, is_buffer=True)

    def on_child(
        self, span: Span, name: tree.Name, value: tree.Expr | _Glued, is_shared: bool = False
    ) -> tree.Node | Splice:
        return self._finish(
            span, value, lambda where, expr: tree.Child(where, name, expr, is_shared)
        )

    def on_shared(
        self, span: Span, _word: Token, name: tree.Name, value: tree.Expr | _Glued
    ) -> tree.Node | Splice:
        return self.on_child(span, name, value, is_shared=True)

    def on_member_if(
        self,
        span: Span,
        condition: tree.Expr,
        then: tuple[tree.Member, ...],
        otherwise: tuple[tree.Member, ...] | tree.MemberIf = (),
    ) -> tree.MemberIf:
        other = (otherwise,) if isinstance(otherwise, tree.MemberIf) else otherwise
        return tree.MemberIf(span, condition, then, other)

    def on_member_body(self, span: Span, *members: tree.Member) -> tuple[tree.Member, ...]:
        return members

    def on_forward(
        self,
        span: Span,
        args: tuple[tree.Argument, ...],
        result: tree.TensorType | None,
        body: Body,
    ) -> tree.Forward:
        self.found += check_return(body.statements, body.span, "`forward`")
        return tree.Forward(span, args, result, body.statements)

    def on_arguments(self, span: Span, *args: tree.Argument) -> tuple[tree.Argument, ...]:
        return args

    def on_argument(
        self,
        span: Span,
        name: tree.Name,
        kind: tree.TensorType | None,
        default: tree.Expr | None,
    ) -> tree.Argument:
        return tree.Argument(span, name, kind, default)

    def on_argument_type(
        self, span: Span, kind: tree.TensorType | None = None
    ) -> tree.TensorType | None:
        return kind

    def on_default(self, span: Span, value: tree.Expr | None = None) -> tree.Expr | None:
        return value

    # ------------------------------------------------------------ statements

    def on_body(self, span: Span, *statements: tree.Stmt) -> Body:
        return self.body(span, statements)

    def on_assign(
        self, span: Span, targets: tuple[_Target, ...], value: tree.Expr | _Glued
    ) -> tree.Node | Splice:
        return self._finish(span, value, lambda where, expr: tree.Assign(where, targets, expr))

    def on_targets(self, span: Span, *targets: _Target) -> tuple[_Target, ...]:
        return targets

    def on_return(
        self, span: Span, values: tuple[tuple[tree.Expr, ...], tree.Expr | _Glued]
    ) -> tree.Node | Splice:
        before, last = values
        return self._finish(span, last, lambda where, expr: tree.Return(where, (*before, expr)))

    def on_returned(
        self, span: Span, *values: tree.Expr | _Glued
    ) -> tuple[object, tree.Expr | _Glued]:
        return values[:-1], values[-1]

    def on_if(
        self, span: Span, condition: tree.Expr, then: Body, otherwise: Body | tree.If | None = None
    ) -> tree.If:
        other: tuple[tree.Stmt, ...] = ()
        if isinstance(otherwise, tree.If):
            other = (otherwise,)
        elif otherwise is not None:
            other = otherwise.statements
        return tree.If(span, condition, then.statements, other)

    def on_expr_then_if(
        self, span: Span, value: tree.Expr, after: tree.If | tree.MemberIf
    ) -> _Glued:
        return _Glued(value, after)

    def on_conditional_then_if(
        self, span: Span, then: tree.Expr, condition: tree.Expr, otherwise: _Glued
    ) -> _Glued:
        before = self._before(span, otherwise.after)
        conditional = tree.Conditional(before, condition, then, otherwise.value)
        return _Glued(conditional, otherwise.after)

    def on_for(
        self, span: Span, targets: tuple[tree.Name, ...], iterable: tree.Expr, body: Body
    ) -> tree.For:
        return tree.For(span, targets, iterable, body.statements)

    def on_loop_targets(self, span: Span, *names: tree.Name) -> tuple[tree.Name, ...]:
        return names

    def on_state(
        self, span: Span, name: tree.Name, kind: tree.TensorType, value: tree.Expr | _Glued
    ) -> tree.Node | Splice:
        return self._finish(span, value, lambda where, expr: tree.State(where, name, kind, expr))

    def on_loss(
        self, span: Span, _word: Token, name: tree.Name, value: tree.Expr | _Glued
    ) -> tree.Node | Splice:
        return self._finish(span, value, lambda where, expr: tree.Loss(where, name, expr))
