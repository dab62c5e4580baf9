"""Z inside one unit: definite assignment with types.

`Z.key` means the last write before it in this unit or in a child called before; otherwise it enters
the unit from outside, and the unit's graph says so. A call passes the whole Z on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gabc.diagnostics.model import Diagnostic, Related
from gabc.diagnostics.suggest import nearest
from gabc.elaborate.agreement import joined_value, same_entry, same_type
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


@dataclass(frozen=True, slots=True, eq=False)
class ZState:
    """What may differ between two branches of a unit that is checked alone."""

    current: dict[str, tuple[Value | Poison, Span]]
    entering: dict[str, ZRead]
    in_statement: dict[str, Span]


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

    # ---------------------------------------------------------------- branches

    def snapshot(self) -> ZState:
        """The state at this point."""
        return ZState(dict(self.current), dict(self.entering), dict(self.in_statement))

    def restore(self, state: ZState) -> None:
        """Go back to a state, to try another branch from there."""
        self.current, self.entering = dict(state.current), dict(state.entering)
        self.in_statement = dict(state.in_statement)

    def join(self, evaluator: Evaluator, other: ZState) -> None:
        """Keep what this branch and the other, which ended in `other`, have in common."""
        joined: dict[str, tuple[Value | Poison, Span]] = {}
        for key, (value, span) in other.current.items():
            if key in self.current:
                here, _ = self.current[key]
                joined[key] = (joined_value(evaluator, f"Z.{key}", value, here, "GAB0303"), span)
        self.current = joined
        self.entering = {**self.entering, **other.entering}
        self.in_statement = {**self.in_statement, **other.in_statement}

    # ---------------------------------------------------------------- reads

    def read(
        self, evaluator: Evaluator, key: tree.Name, index: tree.Expr | None, span: Span
    ) -> Bound:
        """The value of `Z.key` or `Z.key[index]`."""
        name = self._key(evaluator, key, index)
        self.made_reads.add(key.id)
        evaluator.scope.session.z_read.add(key.id)
        if name in self.current:
            return self._known(evaluator, key, index, span)
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
        return self._enter(evaluator, name, declared.type, span, False, (self.unit,))

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
        fallback = evaluator.as_value(default, expr.right.span)
        what = f"default of Z.{name}"
        if name in self.current:
            known = self._known(evaluator, key, index, expr.left.span)
            if isinstance(known, Value):
                same_type(evaluator, known.type, fallback.type, expr.right.span, what)
            return known
        declared = self._declared_read(key, index)
        same_type(evaluator, declared.type, fallback.type, expr.right.span, what)
        optional = declared.optional
        value = self._enter(evaluator, name, declared.type, expr.left.span, optional, (self.unit,))
        if not optional:
            return value
        assert evaluator.builder is not None
        (result,) = evaluator.builder.add(
            "coalesce", {"value": value, "default": fallback}, [declared.type], expr.span, names
        )
        return result

    def _known(
        self, evaluator: Evaluator, key: tree.Name, index: tree.Expr | None, span: Span
    ) -> Value | Poison:
        """An entry that was written in this unit before; a declaration of the read must fit it."""
        name = self._key(evaluator, key, index)
        value, written = self.current[name]
        if isinstance(value, Poison):
            if value.cause is None:
                return value
            self.current[name] = (POISON, written)
            raise Refused(value.cause)
        if key.id in self.declared_reads:
            declared = self._declared_read(key, index)
            related = Related(written, f"written here as {value.type}")
            same_entry(evaluator, name, declared.type, value.type, span, related)
        return value

    def _enter(
        self,
        evaluator: Evaluator,
        name: str,
        type_: TensorType,
        span: Span,
        optional: bool,
        path: tuple[str, ...],
    ) -> Value:
        """The entry as it comes from outside; a required read makes an optional one required.

        Everyone who reads it reads it with one type.
        """
        known = self.entering.get(name)
        if known is not None:
            related = Related(known.value.span, f"read here as {known.value.type}")
            same_entry(evaluator, name, known.value.type, type_, span, related)
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
        self._check_indexed(key.id, declared, index is not None, key.span)
        return declared

    def _check_indexed(self, key: str, declared: Declared, is_indexed: bool, span: Span) -> None:
        if declared.indexed is not is_indexed:
            raise Refused(
                Diagnostic(
                    "GAB0302",
                    f"`Z.{key}` is declared {'with' if declared.indexed else 'without'} an index",
                    span,
                    related=(Related(declared.span, "declared here"),),
                )
            )

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
        self._check_indexed(key.id, declared, index is not None, span)
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
        evaluator.scope.session.z_read.add(_base(key))
        if key in self.current:
            value, written = self.current[key]
            if isinstance(value, Poison):
                if value.cause is not None:
                    raise Refused(value.cause)
                return None
            related = Related(written, f"written here as {value.type}")
            same_entry(evaluator, key, type_, value.type, span, related)
            return value
        declared = self.declared_reads.get(_base(key))
        if declared is not None:
            self._check_indexed(_base(key), declared, "[" in key, span)
            related = Related(declared.span, "declared here")
            same_entry(evaluator, key, declared.type, type_, span, related)
        path = (self.unit, *read.path)
        return self._enter(evaluator, key, type_, read.value.span, read.optional, path)

    def written_by_call(
        self, evaluator: Evaluator, inner: str, key: str, value: Value, span: Span
    ) -> None:
        """A child wrote an entry: `inner` to the child, `key` here (a call may rename)."""
        self.made_writes.add(_base(key))
        session = evaluator.scope.session
        if inner != key:
            session.z_renamed.add(_base(inner))
            session.z_written.setdefault(_base(key), span)
        declared = self.declared_writes.get(_base(key))
        if declared is not None:
            self._check_indexed(_base(key), declared, "[" in key, span)
            related = Related(declared.span, "declared here")
            same_entry(evaluator, key, declared.type, value.type, span, related)
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
