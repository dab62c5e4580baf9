"""The evaluator: the names in scope at one place of a unit, and what they are taken for.

One evaluator serves members and bodies. Without a builder only static expressions have a meaning.
What each form of expression means stands in `expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING

from gabc.diagnostics.model import Diagnostic, Fix
from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bound import POISON, Bound, Poison, describe
from gabc.elaborate.builder import Builder, Given, Site
from gabc.elaborate.dim_static import dim_of, is_undecided, power_fault, static_of
from gabc.elaborate.faults import SilentError
from gabc.elaborate.limits import MAX_SIZE, limit
from gabc.elaborate.names import AMBIENT, BATCH_AND_LENGTH
from gabc.elaborate.scope import UnitScope
from gabc.elaborate.unknown_name import unknown_name
from gabc.graph.nodes import Value
from gabc.graph.static import (
    Apply,
    Literal,
    Ref,
    Static,
    StaticFault,
    StaticList,
    StaticValue,
    UnknownStatic,
    evaluate,
    kind_of,
)
from gabc.graph.types import LEADING, Kind, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.elaborate.modules import FunctionDefinition, Module
    from gabc.elaborate.zflow import ZFlow


@dataclass(eq=False)
class Evaluator:
    """Evaluates expressions of one body (or of a unit's members, then without a builder).

    `locals` are the names bound so far. `place` says where we are, for messages.
    `parameter` is the type of the parameter whose initialiser this is.
    """

    scope: UnitScope
    builder: Builder | None = None
    locals: dict[str, Bound] = field(default_factory=dict)
    z: ZFlow | None = None
    place: str = "a member of a unit"
    time: Dim | None = None
    parameter: TensorType | None = None
    forbidden_captures: set[str] = field(default_factory=set)
    """Names of values with a time axis outside a scan or an attention block."""
    any_rank: bool = False
    """Whether a type may begin with `...`."""
    in_region: bool = False
    in_attention: bool = False
    step: Value | None = None
    """`t` in a scan that speaks of it."""
    states: dict[str, TensorType] = field(default_factory=dict)
    """The states of the scan whose body this is."""
    losses: list[tuple[str, Value]] = field(default_factory=list)
    rounds: int = 1
    """How often the statement here is repeated by the loops around it."""
    module: Module | None = None
    """The module of the function being inlined: it sees no member of the unit."""
    _in_dims: int = 0

    # ---------------------------------------------------------------- entry points

    def static(self, expr: tree.Expr) -> Static:
        """A static scalar or list; refused otherwise."""
        result = self.expr(expr)
        static = self.as_static(result)
        if static is None:
            if isinstance(result, Poison):
                raise SilentError
            raise self.refuse(
                "GAB0109", f"a static value is needed here, not {describe(result)}", expr.span
            )
        return static

    def value_of(self, expr: tree.Expr) -> StaticValue:
        """The value of a static expression. Raises `UnknownStatic` while a name has none."""
        return self.evaluate(self.static(expr), expr.span)

    def evaluate(self, static: Static, span: Span) -> StaticValue:
        try:
            return evaluate(static, self.scope.env)
        except StaticFault as fault:
            raise self.refuse("GAB0109", f"this has no value: {fault}", span) from fault

    def dim(self, expr: tree.Expr) -> Dim:
        """An expression where a size is wanted: `/` is exact, `B` and `L` are allowed."""
        self._in_dims += 1
        try:
            result = self.expr(expr)
        finally:
            self._in_dims -= 1
        if isinstance(result, Poison):
            raise SilentError
        dim = self.as_dim(result, expr.span)
        if dim is None:
            reason = power_fault(self.as_static(result)) or f"it is {describe(result)}"
            raise self.refuse(
                "GAB0109",
                f"a size is needed here, and `{expr.span.text}` is none: {reason}",
                expr.span,
                help="sizes are made of ints, dims and hyperparameters",
            )
        number = dim.as_int()
        if number is not None and number > MAX_SIZE:
            raise Refused(
                limit(expr.span, f"a size of {number:,} is beyond the limit of {MAX_SIZE:,}")
            )
        self.scope.prover.require_integer(dim, expr.span, f"`{dim}` must be a whole number")
        self.scope.prover.require_positive(dim, expr.span, f"the size `{dim}` must be at least 1")
        return dim

    def is_none(self, expr: tree.Expr) -> bool:
        """Whether an expression is `none`, or a hyperparameter that is."""
        if isinstance(expr, tree.Name) and expr.id in BATCH_AND_LENGTH:
            return False
        if not isinstance(expr, (tree.Name, tree.NoneLiteral)):
            return False
        bound = self.expr(expr)
        return isinstance(bound, Literal) and bound.value is None

    def in_dims(self, entering: bool) -> None:
        """Whether sizes are being read: then `B` and `L` have a meaning."""
        self._in_dims += 1 if entering else -1

    def condition(self, expr: tree.Expr) -> bool | None:
        """A static condition, or `None` while it depends on an unknown."""
        result = self.expr(expr)
        if isinstance(result, Poison):
            raise SilentError
        static = self.as_static(result)
        if static is None:
            raise self.refuse(
                "GAB0114",
                f"a condition is decided when the design is compiled, and this is "
                f"{describe(result)}",
                expr.span,
                help="choose between two tensors with `where(condition, a, b)`",
            )
        try:
            return bool(self.evaluate(static, expr.span))
        except UnknownStatic:
            return None

    def type(self, node: tree.TensorType) -> TensorType:
        """A declared type. `...` may stand first, for any number of leading axes."""
        dims = []
        for position, item in enumerate(node.dims):
            if isinstance(item, tree.EllipsisLiteral):
                if position or not self.any_rank:
                    raise self.refuse(
                        "GAB0115",
                        "`...` stands only first, in the types of `forward`",
                        item.span,
                        help="name every axis",
                    )
                dims.append(LEADING)
                continue
            dims.append(self.dim(item))
        kinds: dict[str, Kind] = {
            "float": "float",
            "int": "int",
            "bool": "bool",
            "complex": "complex",
        }
        return TensorType(kinds[node.kind], tuple(dims))

    # ---------------------------------------------------------------- conversions

    def as_static(self, bound: Bound) -> Static | None:
        if isinstance(bound, (Literal, Ref, Apply, StaticList)):
            return bound
        if isinstance(bound, bd.DimAlias):
            return static_of(bound.dim)
        if isinstance(bound, bd.Items):
            items = [self.as_static(item) for item in bound.items]
            known = [item for item in items if item is not None]
            return StaticList(tuple(known)) if len(known) == len(items) else None
        return None

    def as_dim(self, bound: Bound, span: Span) -> Dim | None:
        """A size, or `None` if this is no number. Raises `Refused` if it has no value."""
        if isinstance(bound, bd.DimAlias):
            return bound.dim
        static = self.as_static(bound)
        if static is None:
            return None
        try:
            dim = dim_of(static, self.scope.env)
        except StaticFault as fault:
            raise self.refuse("GAB0109", f"this has no value: {fault}", span) from fault
        if dim is not None and is_undecided(dim) and self.scope.session.scale is not None:
            raise self.refuse("GAB0109", f"`{span.text}` is no size before the call", span)
        return dim

    def tensor(self, expr: tree.Expr) -> Value:
        """An expression that must be a tensor."""
        return self.as_value(self.expr(expr), expr.span)

    def as_value(self, result: Bound, span: Span) -> Value:
        if isinstance(result, Poison):
            raise SilentError
        if not isinstance(result, Value):
            raise self.refuse("GAB0109", f"a tensor is needed here, not {describe(result)}", span)
        return result

    def as_operand(self, result: Bound, span: Span) -> Value | bd.Masked | Static:
        """A tensor (perhaps masked), or a static number that broadcasts."""
        if isinstance(result, Poison):
            raise SilentError
        if isinstance(result, (Value, bd.Masked)):
            return result
        static = self.as_static(result)
        is_text = isinstance(static, Literal) and isinstance(static.value, (str, NoneType))
        if static is None or isinstance(static, StaticList) or is_text:
            message = f"a tensor or a number is needed here, not {describe(result)}"
            raise self.refuse("GAB0109", message, span)
        self._check_value(static, span)
        return static

    def _check_value(self, static: Static, span: Span) -> None:
        """A static number among tensors must have a value, as far as that can be known here."""
        if isinstance(static, Apply):
            try:
                kind_of(static, self.scope.kinds)
            except StaticFault as fault:
                raise self.refuse("GAB0109", f"this is no number: {fault}", span) from fault
            with suppress(UnknownStatic):
                self.evaluate(static, span)

    def refuse(
        self, code: str, message: str, span: Span, *, help: str = "", fixes: tuple[Fix, ...] = ()
    ) -> Refused:
        return Refused(Diagnostic(code, message, span, help=help, fixes=fixes))

    # ---------------------------------------------------------------- expressions

    def expr(self, expr: tree.Expr, names: Sequence[str] = ()) -> Bound:
        """The meaning of an expression; `names` are what its results will be called."""
        return self.scope.session.rules.expression(self, expr, names)

    def name(self, name: tree.Name) -> Bound:
        self._refuse_initial_read(name)
        found = self.lookup(name.id)
        if isinstance(found, Poison) and found.cause is not None:
            self.locals[name.id] = POISON
            raise Refused(found.cause)
        if found is not None:
            if name.id in self.forbidden_captures:
                raise self.refuse(
                    "GAB0115",
                    f"`{name.id}` has a time axis and cannot be captured by {self.place}",
                    name.span,
                    help=f"index it by the positions: `{name.id}[b, i]`, `{name.id}[b, j]`"
                    if self.in_attention
                    else f"pass it as an argument: `scan({name.id}, ...)`",
                )
            return found
        raise unknown_name(self, name)

    def lookup(self, name: str) -> Bound | None:
        """What a name means here, or `None`."""
        if name in self.locals:
            return self.locals[name]
        if self.module is None and name in self.scope.members:
            member = self.scope.members[name]
            return self._param(member) if isinstance(member, bd.ParamRef) else member
        if name in AMBIENT:
            if name == "layer":
                self.scope.session.mentions_layer = True
            return Ref(name)
        if name in BATCH_AND_LENGTH and self._in_dims:
            return Ref(name)
        module = self.module or self.scope.module
        return module.scope.get(name)

    def inside_function(
        self, definition: FunctionDefinition, locals: dict[str, Bound]
    ) -> Evaluator:
        """An evaluator for the body of an inlined function: its arguments are all it sees."""
        return Evaluator(
            self.scope,
            self.builder,
            locals,
            place="a function",
            time=self.time,
            parameter=self.parameter,
            module=definition.module,
            rounds=self.rounds,
            step=self.step,
            in_region=self.in_region,
            in_attention=self.in_attention,
        )

    def _param(self, param: bd.ParamRef) -> Bound:
        if self.builder is None:
            return param
        declared = self.scope.params[param.name]
        return self.builder.param(declared)

    def _refuse_initial_read(self, name: tree.Name) -> None:
        """Initial values are drawn one by one: none sees another."""
        if self.parameter is not None and isinstance(self.scope.members.get(name.id), bd.ParamRef):
            raise self.refuse(
                "GAB0501",
                f"an initial value cannot read the parameter `{name.id}`",
                name.span,
                help="compute both from the same sizes and numbers",
            )

    def template_of(self, bound: Bound) -> bd.UnitTemplate:
        assert isinstance(bound, (bd.Template, bd.LinearTemplate, bd.SlotRef))
        if not isinstance(bound, bd.SlotRef):
            return bound
        filled, _ = self.scope.slots[bound.name]
        assert isinstance(filled, (bd.Template, bd.LinearTemplate))
        return filled

    def require_z(self, span: Span) -> ZFlow:
        if self.z is None:
            raise self.refuse(
                "GAB0305",
                f"`Z` does not exist inside {self.place}",
                span,
                help="read it in `forward` and pass the value on",
            )
        return self.z

    # ---------------------------------------------------------------- names

    def assign(self, name: tree.Name, bound: Bound) -> None:
        """Bind a name; a state keeps its declared type."""
        declared = self.states.get(name.id)
        if declared is not None and not isinstance(bound, Poison):
            value = self.as_value(bound, name.span)
            same_type(self, declared, value.type, name.span, f"the state `{name.id}`")
        self.forbidden_captures.discard(name.id)
        self.locals[name.id] = bound

    @contextmanager
    def under_condition(self) -> Iterator[None]:
        """Inside a static condition, which may decide whether a Z entry is there."""
        if self.z is None:
            yield
            return
        self.z.static_depth += 1
        try:
            yield
        finally:
            self.z.static_depth -= 1

    @contextmanager
    def repeated(self, rounds: int) -> Iterator[None]:
        """Inside a loop of so many rounds."""
        outer, self.rounds = self.rounds, self.rounds * max(1, rounds)
        try:
            yield
        finally:
            self.rounds = outer

    # ---------------------------------------------------------------- nodes

    def emit(
        self,
        primitive: str,
        args: Mapping[str, Given],
        spans: Mapping[str, Span],
        span: Span,
        names: Sequence[str] = (),
    ) -> Bound:
        """Apply a primitive to bound arguments; several results come as `Items`."""
        if self.builder is None:
            raise self.refuse(
                "GAB0115",
                f"`{primitive}` computes a tensor, which {self.place} cannot do",
                span,
                help="compute it in `forward`, or in the initialiser of a `buffer`",
            )
        site = Site(span, spans, names, self.time, self.parameter)
        outputs = self.builder.primitive(PRIMITIVES[primitive], args, site)
        if isinstance(outputs, bd.Masked) or len(outputs) > 1:
            return outputs if isinstance(outputs, bd.Masked) else bd.Items(outputs)
        return outputs[0]
