"""`scan` and `attend` with a block: the body in braces becomes a region of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.arguments import bind_primitive
from gabc.elaborate.bound import POISON, Bound, Poison, describe
from gabc.elaborate.builder import Builder
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.prover import RUNTIME_DIMS
from gabc.elaborate.statements import run_body
from gabc.graph.nodes import Carried, Region, Value
from gabc.graph.static import Static
from gabc.graph.types import ONE, B, L, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span
from gabc.syntax.walk import mentions

ATTENTION_NAMES = ("score", "b", "h", "i", "j")


def require_builder(evaluator: Evaluator, span: Span) -> Builder:
    if evaluator.builder is None:
        raise evaluator.refuse("GAB0115", f"this cannot be computed in {evaluator.place}", span)
    return evaluator.builder


# ---------------------------------------------------------------- scan


@dataclass(eq=False)
class _State:
    declared: tree.State
    current: Value
    initial: Value | Static


@dataclass(eq=False)
class _Scan:
    """A scan being elaborated; `time` is the dim of the axis its arguments lose."""

    evaluator: Evaluator
    expr: tree.Call
    chunk: Dim | None
    states: dict[str, _State | None] = field(default_factory=dict)

    def arguments(self) -> list[tuple[str, Value, Span]]:
        found: list[tuple[str, Value, Span]] = []
        for arg in self.expr.args:
            if not isinstance(arg, tree.Name):
                raise self.evaluator.refuse(
                    "GAB0109",
                    "an argument of `scan` is a name, or `name=expression`",
                    arg.span,
                    help=f"write `x={arg.span.text}`",
                )
            found.append((arg.id, self.evaluator.tensor(arg), arg.span))
        for keyword in self.expr.keywords:
            value = self.evaluator.tensor(keyword.value)
            found.append((keyword.name.id, value, keyword.value.span))
        if not found:
            raise self.evaluator.refuse(
                "GAB0107", "`scan` needs at least one tensor to run over", self.expr.span
            )
        for name, value, span in found:
            self._check_argument(name, value, span)
        return found

    def _check_argument(self, name: str, value: Value, span: Span) -> None:
        prover = self.evaluator.scope.prover
        dims = value.type.dims
        if len(dims) < 2 or not prover.are_equal(dims[1], L) or not prover.are_equal(dims[0], B):
            raise self.evaluator.refuse(
                "GAB0204",
                f"`scan` runs over the time axis, and `{name}` is {value.type}",
                span,
                help="an argument of `scan` is [B, L, ...]; what does not change with time is "
                "used inside by its name",
            )

    def step_type(self, type_: TensorType) -> TensorType:
        """The type of an argument inside the body."""
        middle = () if self.chunk is None else (self.chunk,)
        return type_.with_dims((type_.dims[0], *middle, *type_.dims[2:]))

    def result_type(self, value: Value, span: Span) -> TensorType:
        """The type of a result outside; it must have the batch axis first (and the chunk's)."""
        prover = self.evaluator.scope.prover
        dims = value.type.dims
        skip = 1 if self.chunk is None else 2
        has_axes = len(dims) >= skip and prover.are_equal(dims[0], B)
        if has_axes and self.chunk is not None:
            has_axes = prover.are_equal(dims[1], self.chunk)
        if not has_axes:
            wanted = "[B, ...]" if self.chunk is None else f"[B, {self.chunk}, ...]"
            raise self.evaluator.refuse(
                "GAB0206",
                f"the body of this `scan` returns {wanted}, and this is {value.type}",
                span,
            )
        return value.type.with_dims((B, L, *dims[skip:]))

    # ---------------------------------------------------------------- states

    def declare_states(self, statements: Sequence[tree.Stmt]) -> list[tree.Stmt]:
        """The statements that remain. Initial values belong to the outer graph."""
        rest: list[tree.Stmt] = []
        for statement in statements:
            if not isinstance(statement, tree.State):
                rest.append(statement)
                continue
            name = statement.name.id
            self.states[name] = None
            try:
                self.states[name] = self._declare_state(statement)
            except Refused as refused:
                self.evaluator.scope.report(refused.diagnostic)
            except SilentError:
                continue
        return rest

    def _declare_state(self, statement: tree.State) -> _State:
        evaluator = self.evaluator
        type_ = evaluator.type(statement.type)
        if not type_.dims or not evaluator.scope.prover.are_equal(type_.dims[0], B):
            raise evaluator.refuse(
                "GAB0206",
                f"a state has the batch axis first, and `{statement.name.id}` is {type_}",
                statement.type.span,
                help="every row of the batch has its own state: `[B, ...]`",
            )
        span = statement.value.span
        initial = evaluator.as_operand(evaluator.expr(statement.value), span)
        if isinstance(initial, bd.Masked):
            raise evaluator.refuse("GAB0115", "a state cannot be a masked value", span)
        if isinstance(initial, Value):
            _check_initial(evaluator, statement, type_, initial)
        return _State(statement, Value(type_, statement.span, statement.name.id), initial)

    def enter(self, body: Evaluator) -> None:
        """Make the states known inside the body."""
        for name, state in self.states.items():
            body.forbidden_captures.discard(name)
            body.locals[name] = POISON if state is None else state.current
            if state is not None:
                body.states[name] = state.current.type

    def carried(self, body: Evaluator) -> tuple[Carried, ...] | None:
        """Each state with its next value; `None` if one is poisoned."""
        carried: list[Carried] = []
        for name, state in self.states.items():
            after = body.locals[name]
            if state is None or isinstance(after, Poison):
                return None
            if after is state.current:
                raise body.refuse(
                    "GAB0107",
                    f"the state `{name}` is never assigned",
                    state.declared.span,
                    help="a value that does not change is no state: define it outside `scan`",
                )
            assert isinstance(after, Value)
            carried.append(Carried(state.current, state.initial, after))
        return tuple(carried)


def scan(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """`scan(q, k, v=expr) [chunk C] { ... }`."""
    builder = require_builder(evaluator, expr.span)
    if evaluator.in_region:
        raise evaluator.refuse("GAB0115", "a `scan` cannot stand inside another", expr.span)
    if expr.block is None:
        raise evaluator.refuse("GAB0107", "`scan` needs a body in braces", expr.span)
    chunk = None if expr.block.chunk is None else _chunk(evaluator, expr.block.chunk)
    this = _Scan(evaluator, expr, chunk)
    arguments = this.arguments()
    inputs = tuple(Value(this.step_type(value.type), span, name) for name, value, span in arguments)
    statements = this.declare_states(expr.block.body)
    with builder.region() as nodes:
        body = _inner(evaluator, {value.name: value for value in inputs}, "`scan`", chunk)
        step = _step_value(expr, body)
        this.enter(body)
        results = run_body(body, statements, names)
        carried = this.carried(body)
    if results is None:
        raise evaluator.refuse("GAB0009", "the body of a `scan` ends in `return`", expr.span)
    if carried is None or any(isinstance(result, Poison) for result in results):
        raise SilentError
    values = [result for result in results if isinstance(result, Value)]
    types = [this.result_type(value, expr.span) for value in values]
    region = Region(inputs, tuple(nodes), tuple(values), carried, step)
    args = {"inputs": tuple(value for _, value, _ in arguments), "chunk": chunk}
    outputs = builder.add("scan", {**args}, types, expr.span, names, region)
    return outputs[0] if len(outputs) == 1 else bd.Items(tuple(outputs))


def _chunk(evaluator: Evaluator, size: tree.Expr) -> Dim:
    dim = evaluator.dim(size)
    if dim.symbols() & RUNTIME_DIMS:
        raise evaluator.refuse(
            "GAB0207",
            f"the chunk `{dim}` depends on B or L",
            size.span,
            help="a chunk is a size of the configuration",
        )
    return dim


def _step_value(expr: tree.Call, body: Evaluator) -> Value | None:
    """`t`, if the body speaks of it; in a chunk `t` is the number of the chunk's first position."""
    assert expr.block is not None
    if not mentions(expr.block.body)["t"]:
        return None
    step = Value(TensorType("int", ()), expr.block.span, "t")
    body.locals["t"] = step
    body.step = step
    return step


def _check_initial(
    body: Evaluator, statement: tree.State, type_: TensorType, initial: Value
) -> None:
    """An initial value broadcasts to the state's type, from the right."""
    dims = initial.type.dims
    if len(dims) > type_.rank:
        raise body.refuse(
            "GAB0202",
            f"the initial value {initial.type} does not fit the state {type_}",
            statement.value.span,
        )
    for expected, actual in zip(type_.dims[type_.rank - len(dims) :], dims, strict=True):
        if not actual.is_one:
            body.scope.prover.require_equal(
                expected,
                actual,
                statement.value.span,
                f"the initial value {initial.type} does not fit the state {type_}",
            )


def _inner(
    evaluator: Evaluator, inputs: dict[str, Value], place: str, time: Dim | None
) -> Evaluator:
    """An evaluator for the body: the names around it are seen, but for those with a time axis."""
    prover = evaluator.scope.prover
    timed = {
        name
        for name, bound in evaluator.locals.items()
        if isinstance(bound, Value) and any(prover.are_equal(dim, L) for dim in bound.type.dims)
    }
    return Evaluator(
        evaluator.scope,
        evaluator.builder,
        {**evaluator.locals, **inputs},
        place=place,
        time=time,
        module=evaluator.module,
        forbidden_captures=timed - inputs.keys(),
        in_region=True,
        rounds=evaluator.rounds,
    )


# ---------------------------------------------------------------- attend


def attend_block(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """`attend(q, k, v, ...) { score = ...  keep = ... }`."""
    builder = require_builder(evaluator, expr.span)
    assert expr.block is not None
    if expr.block.chunk is not None:
        raise evaluator.refuse("GAB0115", "`attend` has no chunks", expr.block.chunk.span)
    args, spans = bind_primitive(evaluator, PRIMITIVES["attend"], expr)
    result = evaluator.emit("attend", args, spans, expr.span, names)
    assert isinstance(result, Value)
    plain = builder.nodes.pop()
    query = plain.args["q"]
    assert isinstance(query, Value)
    heads = query.type.dims[2]
    inputs = _attention_inputs(heads, expr.span)
    with builder.region() as nodes:
        body = _inner(evaluator, {v.name: v for v in inputs}, "an attention block", None)
        body.in_attention = True
        body.locals.pop("keep", None)
        run_body(body, expr.block.body)
    results = _attention_results(evaluator, body, inputs[0], expr.block)
    region = Region(inputs, tuple(nodes), results)
    return builder.add("attend", plain.args, [result.type], expr.span, names, region)[0]


def _attention_results(
    evaluator: Evaluator, body: Evaluator, plain: Value, block: tree.Block
) -> tuple[Value, ...]:
    """The edited score, and `keep` if the block sets it."""
    score, keep = body.locals["score"], body.locals.get("keep")
    if isinstance(score, Poison) or isinstance(keep, Poison):
        raise SilentError
    spans = _target_spans(block)
    if score is plain and keep is None:
        raise evaluator.refuse(
            "GAB0107",
            "this block sets neither `score` nor `keep`",
            block.span,
            help="assign `score = ...`, `keep = ...`, or drop the block",
        )
    for name, bound in (("score", score), ("keep", keep)):
        if bound is not None and not isinstance(bound, Value):
            raise evaluator.refuse(
                "GAB0109", f"`{name}` is a tensor, not {describe(bound)}", spans[name]
            )
    assert isinstance(score, Value)
    _check_score(evaluator, score, plain.type, spans.get("score", block.span))
    if not isinstance(keep, Value):
        return (score,)
    if keep.type.kind != "bool":
        raise evaluator.refuse(
            "GAB0109",
            f"`keep` is a condition, bool, and this is {keep.type}",
            spans["keep"],
            help="compare: `i - j < window`",
        )
    return (score, keep)


def _target_spans(block: tree.Block) -> dict[str, Span]:
    """Where each name is assigned last."""
    return {
        target.id: target.span
        for statement in block.body
        if isinstance(statement, tree.Assign)
        for target in statement.targets
        if isinstance(target, tree.Name)
    }


def _attention_inputs(heads: Dim, span: Span) -> tuple[Value, ...]:
    types = (
        TensorType("float", (B, heads, L, L)),
        TensorType("int", (B, ONE, ONE, ONE)),
        TensorType("int", (ONE, heads, ONE, ONE)),
        TensorType("int", (ONE, ONE, L, ONE)),
        TensorType("int", (ONE, ONE, ONE, L)),
    )
    return tuple(
        Value(type_, span, name) for name, type_ in zip(ATTENTION_NAMES, types, strict=True)
    )


def _check_score(evaluator: Evaluator, score: Value, expected: TensorType, span: Span) -> None:
    if score.type.rank == 4 and score.type.kind == "float":
        same_type(evaluator, expected, score.type, span, "`score`")
        return
    raise evaluator.refuse("GAB0206", f"`score` is {expected}, and this is {score.type}", span)
