"""Calls of children: arguments against declared types, dims translated, Z passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gabc.diagnostics.suggest import nearest
from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bound import Bound
from gabc.elaborate.dim_static import dim_of
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.faults import replace as replace_fix
from gabc.elaborate.prover import RUNTIME_DIMS, Obligation, Relation
from gabc.graph.instance import Children, Instance
from gabc.graph.nodes import Argument, ChildRef, Graph, Value
from gabc.graph.static import Apply, Environment, Literal, Static, to_dim
from gabc.graph.types import LEADING, TensorType
from gabc.syntax import tree
from gabc.syntax.source import Span


def call_child(
    evaluator: Evaluator,
    ref: ChildRef,
    expr: tree.Call,
    names: Sequence[str],
    given: Value | None = None,
) -> Bound:
    """Apply a child; `given` stands for the arguments where a sequence calls its parts."""
    children = evaluator.scope.children[ref.name]
    instance = children.instances[ref.index or 0]
    if instance.unit is None:
        return _call_linear(evaluator, ref, instance, expr, names, given)
    if instance.graph is None:
        raise SilentError
    return _UnitCall(evaluator, ref, children, instance, instance.graph, expr).apply(names, given)


def _call_linear(
    evaluator: Evaluator,
    ref: ChildRef,
    instance: Instance,
    expr: tree.Call,
    names: Sequence[str],
    given: Value | None,
) -> Bound:
    if given is None:
        if len(expr.args) != 1 or expr.keywords:
            raise evaluator.refuse("GAB0108", "a `Linear` is called with one tensor", expr.span)
        given = evaluator.tensor(expr.args[0])
    weight = instance.params[0].type
    span = expr.args[0].span if expr.args else expr.span
    if given.type.rank == 0:
        raise evaluator.refuse("GAB0202", "a `Linear` needs at least one axis", span)
    evaluator.scope.prover.require_equal(
        weight.dims[1],
        given.type.dims[-1],
        span,
        f"`{expr.function.span.text}` maps a last axis of {weight.dims[1]}, "
        f"and the value is {given.type}",
    )
    result = TensorType("float", (*given.type.dims[:-1], weight.dims[0]))
    assert evaluator.builder is not None
    args: dict[str, Argument] = {"child": ref, "args": (given,), "z": ()}
    return evaluator.builder.add("call", args, [result], expr.span, names)[0]


class _UnitCall:
    """One call of a unit: the child's names in terms of the caller's."""

    def __init__(
        self,
        evaluator: Evaluator,
        ref: ChildRef,
        children: Children,
        instance: Instance,
        graph: Graph,
        expr: tree.Call,
    ) -> None:
        self.evaluator = evaluator
        self.ref = ref
        self.children = children
        self.instance = instance
        self.graph = graph
        self.expr = expr
        self.called = expr.function.span.text
        self.call_dims: dict[str, Dim] = {}
        self.leading: tuple[Dim, ...] = ()
        """What `...` stands for in this call."""

    def apply(self, names: Sequence[str], given: Value | None) -> Bound:
        values, keywords = self._arguments(given)
        for position, (declared, value) in enumerate(zip(self.graph.inputs, values, strict=True)):
            self._check(position, declared, value)
        self._take_over_obligations()
        z_values = self._pass_z(keywords)
        results = [self.translate(value.type) for value in self.graph.results]
        writes = [(w.key, self.translate(w.value.type)) for w in self.graph.z_writes]
        types = [*results, *(type_ for _, type_ in writes)]
        z_names = [_plain(key) for key, _ in writes]
        labels = [*(names[i] if i < len(names) else "" for i in range(len(results))), *z_names]
        assert self.evaluator.builder is not None
        outputs = self.evaluator.builder.add(
            "call",
            {
                "child": self.ref,
                "args": tuple(values),
                "z": tuple(z_values),
                "z_keys": tuple(read.key for read in self.graph.z_reads),
                "z_writes": tuple(key for key, _ in writes),
            },
            types,
            self.expr.span,
            labels,
        )
        self._record_writes(outputs[len(results) :])
        plain = outputs[: len(results)]
        return plain[0] if len(plain) == 1 else bd.Items(tuple(plain))

    # ---------------------------------------------------------------- arguments

    def _arguments(self, given: Value | None) -> tuple[list[Value], dict[str, tree.Keyword]]:
        """The values for the inputs in order, and the keywords that bind Z reads."""
        if given is not None:
            if len(self.graph.inputs) != 1:
                raise self._refuse("GAB0107", f"`{self.instance.name}` needs more than one tensor")
            return [given], {}
        inputs = [value.name for value in self.graph.inputs]
        if len(self.expr.args) > len(inputs):
            raise self.evaluator.refuse(
                "GAB0108",
                f"`{self.called}` takes {_count(len(inputs))}: {', '.join(inputs)}",
                self.expr.args[len(inputs)].span,
            )
        bound = {
            name: self.evaluator.tensor(arg)
            for name, arg in zip(inputs, self.expr.args, strict=False)
        }
        z_reads = [read.key for read in self.graph.z_reads]
        keywords: dict[str, tree.Keyword] = {}
        for keyword in self.expr.keywords:
            key = keyword.name.id
            if key in inputs:
                if key in bound:
                    raise self._refuse("GAB0104", f"`{self.called}` is given `{key}` twice")
                bound[key] = self.evaluator.tensor(keyword.value)
            elif key in z_reads:
                keywords[key] = keyword
            else:
                known = [*inputs, *z_reads]
                near = nearest(key, known)
                raise self.evaluator.refuse(
                    "GAB0106",
                    f"`{self.called}` has no argument `{key}` and reads no `Z.{key}`",
                    keyword.name.span,
                    help=f"did you mean `{near}`?" if near else f"it takes {', '.join(known)}",
                    fixes=replace_fix(keyword.name.span, near),
                )
        missing = [name for name in inputs if name not in bound]
        if missing:
            raise self._refuse("GAB0107", f"`{self.called}` needs `{missing[0]}`")
        return [bound[name] for name in inputs], keywords

    def _check(self, position: int, declared: Value, value: Value) -> None:
        span = self._span_of(position)
        any_rank = declared.type.dims[:1] == (LEADING,)
        if any_rank:
            kept = declared.type.rank - 1
            if value.type.rank >= kept:
                self.leading = value.type.dims[: value.type.rank - kept]
        if self.translate(declared.type).rank != value.type.rank:
            raise self.evaluator.refuse(
                "GAB0202",
                f"`{self.called}` takes `{declared.name}` as {declared.type}, and this is "
                f"{value.type}",
                span,
                help="a `forward` argument without a type is [B, L, D]; give it a type such as "
                f"`forward({declared.name}: [B, L, H, K])`"
                if str(declared.type) == "[B, L, D]"
                else "",
            )
        for call_dim in self.graph.call_dims:
            if call_dim.argument == position and call_dim.name not in self.call_dims:
                self.call_dims[call_dim.name] = value.type.dims[call_dim.axis]
        what = f"`{declared.name}` of `{self.called}`"
        same_type(self.evaluator, self.translate(declared.type), value.type, span, what)
        self._learn(declared.type, value.type)

    def _span_of(self, position: int) -> Span:
        args = self.expr.args
        return args[position].span if position < len(args) else self.expr.span

    # ---------------------------------------------------------------- names

    def translate(self, type_: TensorType) -> TensorType:
        """A type in the child's names, in the caller's."""
        dims: list[Dim] = []
        for dim in type_.dims:
            dims.extend(self.leading if dim == LEADING else (self.dim(dim),))
        return type_.with_dims(tuple(dims))

    def dim(self, dim: Dim) -> Dim:
        return dim.substitute(self._mapping(dim.symbols()))

    def _mapping(self, symbols: frozenset[str]) -> Mapping[str, Dim]:
        return {
            name: self._meaning(name)
            for name in sorted(symbols)
            if name not in ("B", "L", "D", "layer", "n_layers")
        }

    def _meaning(self, name: str) -> Dim:
        """What a name of the child is, in the caller's names."""
        if name in self.call_dims:
            return self.call_dims[name]
        hyper = self.instance.hypers.get(name)
        if hyper is None:
            definition = self.instance.dims.get(name)
        elif hyper.is_default or not self.children.from_caller:
            definition = hyper.given
        else:
            definition = None
        if definition is not None and hyper is not None and not hyper.is_default:
            given = _as_dim(definition, self.evaluator.scope.env)
            if given is not None:
                return given
        elif definition is not None:
            inner = _as_dim(definition, self.instance.env)
            if inner is not None and name not in inner.symbols():
                return inner.substitute(self._mapping(inner.symbols()))
        return self._foreign(name)

    def _foreign(self, name: str) -> Dim:
        """A size that has no expression here, only a value: of a unit written elsewhere."""
        value = self.instance.env.get(name)
        if isinstance(value, float):
            known = to_dim(Literal(value), {})
            if known is not None:
                return known
        # By the child, not by what it is called here: in a loop one name calls many.
        index = f"[{self.ref.index}]" if self.ref.index is not None else ""
        foreign = f"{self.ref.name}{index}.{name}"
        if isinstance(value, int):
            self.evaluator.scope.env[foreign] = value
        return Dim.symbol(foreign)

    def _learn(self, declared: TensorType, actual: TensorType) -> None:
        """A size of a slot's unit that must equal one here is that one from now on."""
        for dim, here in zip(reversed(declared.dims), reversed(actual.dims), strict=False):
            for name in dim.symbols():
                if dim == Dim.symbol(name) and "." in str(self.dim(dim)):
                    self.call_dims.setdefault(name, here)

    def _take_over_obligations(self) -> None:
        """What the child leaves open about the dims of this call is now the caller's to prove."""
        prover = self.evaluator.scope.prover
        for obligation in self.evaluator.scope.session.obligations.get(self.instance, ()):
            here: Obligation = obligation.substitute(self._mapping(obligation.symbols))
            if here.relation is Relation.EQUAL:
                prover.require_equal(here.left, here.right, self.expr.span, here.message)
            elif here.relation is Relation.DIVIDES:
                prover.require_divides(here.left, here.right, self.expr.span, here.message)
            elif here.relation is Relation.AT_MOST:
                prover.require_at_most(here.left, here.right, self.expr.span, here.message)
            elif not here.symbols & RUNTIME_DIMS:
                prover.require_positive(here.left, self.expr.span, here.message)

    # ---------------------------------------------------------------- Z

    def _renames(self) -> dict[str, str]:
        known = {
            *(read.key for read in self.graph.z_reads),
            *(write.key for write in self.graph.z_writes),
        }
        renames: dict[str, str] = {}
        for rename in self.expr.renames:
            if rename.key.id not in known:
                near = nearest(rename.key.id, sorted(known))
                raise self.evaluator.refuse(
                    "GAB0301",
                    f"`{self.called}` neither reads nor writes `Z.{rename.key.id}`",
                    rename.key.span,
                    help=f"did you mean `{near}`?" if near else "",
                    fixes=replace_fix(rename.key.span, near),
                )
            renames[rename.key.id] = rename.other.id
        return renames

    def _pass_z(self, keywords: Mapping[str, tree.Keyword]) -> list[Value | None]:
        if not self.graph.z_reads:
            return []
        z = self.evaluator.require_z(self.expr.span)
        renames = self._renames()
        values: list[Value | None] = []
        for read in self.graph.z_reads:
            type_ = self.translate(read.value.type)
            if read.key in keywords:
                keyword = keywords[read.key]
                value = self.evaluator.tensor(keyword.value)
                what = f"Z.{read.key}"
                same_type(self.evaluator, type_, value.type, keyword.value.span, what, "GAB0303")
                values.append(value)
                continue
            key = renames.get(read.key, read.key)
            values.append(z.pass_in(self.evaluator, read, key, type_, self.expr.span))
        return values

    def _record_writes(self, outputs: Sequence[Value]) -> None:
        if not self.graph.z_writes:
            return
        z = self.evaluator.require_z(self.expr.span)
        renames = self._renames()
        for write, output in zip(self.graph.z_writes, outputs, strict=True):
            key = renames.get(write.key, write.key)
            z.written_by_call(self.evaluator, write.key, key, output, self.expr.span)

    def _refuse(self, code: str, message: str) -> Exception:
        return self.evaluator.refuse(code, message, self.expr.span)


def _as_dim(static: Static, env: Environment) -> Dim | None:
    """A static in the names of `env` as a dim.

    An item of a list is a number there, whatever it was made of: it has no expression.
    """
    if _takes_item(static):
        return None
    return dim_of(static, env)


def _takes_item(static: Static) -> bool:
    if not isinstance(static, Apply):
        return False
    return static.op in ("index", "len") or any(map(_takes_item, static.args))


def _count(number: int) -> str:
    return "one argument" if number == 1 else f"{number} arguments"


def _plain(key: str) -> str:
    return key.replace("[", "_").rstrip("]")
