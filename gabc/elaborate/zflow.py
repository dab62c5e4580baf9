"""Z inside one unit: definite assignment with types.

`Z.key` means the last write before it in this unit or in a child called before; otherwise it enters
the unit from outside, and the unit's graph says so. A call passes the whole Z on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gabc.diagnostics.model import Diagnostic, Related
from gabc.diagnostics.suggest import nearest
from gabc.elaborate.bound import POISON, Bound, Masked, Poison
from gabc.graph.nodes import Value, ZRead, ZWrite
from gabc.graph.static import UnknownStatic
from gabc.graph.types import TensorType
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.elaborate.evaluator import Evaluator


@dataclass(frozen=True, slots=True)
class Declared:
    """An entry of `reads` or `writes`."""

    type: TensorType
    optional: bool
    indexed: bool
    span: Span


@dataclass(eq=False)
class ZFlow:
    """`current` is what Z holds at this point of `forward` and where it was written."""

    unit: str
    declared_reads: dict[str, Declared] = field(default_factory=dict)
    declared_writes: dict[str, Declared] = field(default_factory=dict)
    current: dict[str, tuple[Value | Poison, Span]] = field(default_factory=dict)
    entering: dict[str, ZRead] = field(default_factory=dict)
    static_depth: int = 0
    """How many static conditions surround this point: they may decide an optional read."""
    in_statement: dict[str, Span] = field(default_factory=dict)
    """What calls of the current statement wrote."""
    made_reads: set[str] = field(default_factory=set)
    made_writes: set[str] = field(default_factory=set)
    """Keys (without an index) read or written in any branch, here or in a unit called."""

    # ---------------------------------------------------------------- reads

    def read(
        self, evaluator: Evaluator, key: tree.Name, index: tree.Expr | None, span: Span
    ) -> Bound:
        """The value of `Z.key` or `Z.key[index]`."""
        name = self._key(evaluator, key, index)
        self.made_reads.add(key.id)
        evaluator.scope.session.z_read.add(key.id)
        if name in self.current:
            return self.current[name][0]
        declared = self._declared_read(key, index)
        if declared.optional and not self.static_depth:
            raise Refused(
                Diagnostic(
                    "GAB0304",
                    f"`Z.{name}` may be absent and has no default here",
                    span,
                    help=f"write `Z.{name} ?? default`, or read it under a static condition "
                    "that decides whether it is there",
                    related=(Related(declared.span, "declared optional here"),),
                )
            )
        return self._enter(name, declared.type, span, optional=False, path=(self.unit,))

    def coalesce(
        self,
        evaluator: Evaluator,
        key: tree.Name,
        index: tree.Expr | None,
        expr: tree.Binary,
        names: Sequence[str],
    ) -> Bound:
        """`Z.key ?? default`."""
        name = self._key(evaluator, key, index)
        self.made_reads.add(key.id)
        evaluator.scope.session.z_read.add(key.id)
        default = evaluator.expr(expr.right)
        if name in self.current:
            return self.current[name][0]
        declared = self._declared_read(key, index)
        if not declared.optional:
            return self._enter(name, declared.type, expr.left.span, False, (self.unit,))
        value = self._enter(name, declared.type, expr.left.span, True, (self.unit,))
        fallback = evaluator.as_value(default, expr.right.span)
        same_type(evaluator, declared.type, fallback.type, expr.right.span, f"default of Z.{name}")
        assert evaluator.builder is not None
        (result,) = evaluator.builder.add(
            "coalesce", {"value": value, "default": fallback}, [declared.type], expr.span, names
        )
        return result

    def _enter(
        self, name: str, type_: TensorType, span: Span, optional: bool, path: tuple[str, ...]
    ) -> Value:
        """The entry as it comes from outside; a required read makes an optional one required."""
        known = self.entering.get(name)
        if known is not None:
            if known.optional and not optional:
                self.entering[name] = ZRead(name, known.value, False, path)
            return known.value
        value = Value(type_, span, name.replace("[", "_").rstrip("]"))
        self.entering[name] = ZRead(name, value, optional, path)
        return value

    def _declared_read(self, key: tree.Name, index: tree.Expr | None) -> Declared:
        declared = self.declared_reads.get(key.id)
        if declared is None:
            known = [*self.declared_reads, *map(_base, self.current)]
            near = nearest(key.id, known)
            raise Refused(
                Diagnostic(
                    "GAB0302",
                    f"`{self.unit}` reads `Z.{key.id}` without declaring it",
                    key.span,
                    help=f"did you mean `Z.{near}`?"
                    if near
                    else f"add `reads {key.id}: [...]` before the unit's parameters",
                )
            )
        if declared.indexed is not (index is not None):
            raise Refused(
                Diagnostic(
                    "GAB0302",
                    f"`Z.{key.id}` is declared {'with' if declared.indexed else 'without'} an "
                    "index",
                    key.span,
                    related=(Related(declared.span, "declared here"),),
                )
            )
        return declared

    def _key(self, evaluator: Evaluator, key: tree.Name, index: tree.Expr | None) -> str:
        if index is None:
            return key.id
        try:
            number = evaluator.value_of(index)
        except UnknownStatic:
            return f"{key.id}[{index.span.text}]"
        if not isinstance(number, int) or isinstance(number, bool):
            raise evaluator.refuse("GAB0109", "the index of a Z entry is a static int", index.span)
        return f"{key.id}[{number}]"

    # ---------------------------------------------------------------- writes

    def write(
        self,
        evaluator: Evaluator,
        key: tree.Name,
        index: tree.Expr | None,
        value: Bound,
        span: Span,
    ) -> None:
        """`Z.key = value`. The key must be declared in `writes`."""
        self.made_writes.add(key.id)
        name = self._key(evaluator, key, index)
        declared = self.declared_writes.get(key.id)
        if declared is None:
            near = nearest(key.id, list(self.declared_writes))
            raise Refused(
                Diagnostic(
                    "GAB0302",
                    f"`{self.unit}` writes `Z.{key.id}` without declaring it",
                    span,
                    help=f"did you mean `Z.{near}`?"
                    if near
                    else f"add `writes {key.id}: [...]` before the unit's parameters",
                )
            )
        if isinstance(value, Poison):
            self.current[name] = (POISON, span)
            return
        if isinstance(value, Masked):
            raise evaluator.refuse("GAB0115", "a masked value cannot be put into Z", span)
        tensor = evaluator.as_value(value, span)
        evaluator.scope.session.z_written.setdefault(key.id, span)
        same_type(evaluator, declared.type, tensor.type, span, f"Z.{name}", "GAB0303")
        self.current[name] = (tensor, span)

    # ---------------------------------------------------------------- calls

    def pass_in(
        self, evaluator: Evaluator, read: ZRead, key: str, type_: TensorType, span: Span
    ) -> Value | None:
        """What a child's read receives: the entry here, or the one from outside, if there is none.

        `key` is the entry's name here (a call may rename), `type_` its type in this unit's names.
        """
        self.made_reads.add(_base(key))
        if key in self.current:
            value, written = self.current[key]
            if isinstance(value, Poison):
                return None
            try:
                same_type(evaluator, type_, value.type, span, f"Z.{key}", "GAB0303")
            except Refused as refused:
                related = Related(written, f"written here as {value.type}")
                raise Refused(_with_related(refused.diagnostic, related)) from None
            return value
        return self._enter(key, type_, read.value.span, read.optional, (self.unit, *read.path))

    def written_by_call(self, key: str, value: Value, span: Span) -> None:
        """A child wrote an entry."""
        self.made_writes.add(_base(key))
        if key in self.in_statement:
            raise Refused(
                Diagnostic(
                    "GAB0306",
                    f"two calls in one statement write `Z.{key}`",
                    span,
                    help="put each call into a statement of its own",
                    related=(Related(self.in_statement[key], "the first call"),),
                )
            )
        self.in_statement[key] = span
        self.current[key] = (value, span)

    def writes(self) -> tuple[ZWrite, ...]:
        """What leaves the unit, by key in the order of the first write."""
        return tuple(
            ZWrite(key, value)
            for key, (value, _) in self.current.items()
            if not isinstance(value, Poison)
        )


def _base(key: str) -> str:
    """`skip` of `skip[3]`."""
    return key.partition("[")[0]


def same_type(
    evaluator: Evaluator,
    expected: TensorType,
    actual: TensorType,
    span: Span,
    what: str,
    code: str = "GAB0201",
) -> None:
    """Require equal types; the message shows both."""
    if expected == actual:
        return
    message = f"{what} is {expected}, and this is {actual}"
    if expected.kind != actual.kind or expected.rank != actual.rank:
        fault = _mismatch(expected, actual) if code == "GAB0201" else code
        raise Refused(Diagnostic(fault, message, span, expected=str(expected), actual=str(actual)))
    for left, right in zip(expected.dims, actual.dims, strict=True):
        try:
            evaluator.scope.prover.require_equal(left, right, span, message)
        except Refused as refused:
            if code == "GAB0201":
                raise
            found = refused.diagnostic
            raise Refused(
                Diagnostic(
                    code,
                    message,
                    span,
                    help=found.help,
                    expected=str(expected),
                    actual=str(actual),
                    facts=found.facts,
                )
            ) from None


def _mismatch(expected: TensorType, actual: TensorType) -> str:
    return "GAB0202" if expected.rank != actual.rank else "GAB0109"


def _with_related(diagnostic: Diagnostic, related: Related) -> Diagnostic:
    return replace(diagnostic, related=(*diagnostic.related, related))
