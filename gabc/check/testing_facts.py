"""`facts_of`: what may stand after `require` in a test.

| fact | holds if |
|---|---|
| `shape(x) == [B, L, D]`, `shape(x) == shape(y)` | the sizes of all axes agree |
| `equal(a, b)` | `a` and `b`, tensors of one shape or numbers, are equal everywhere, bit by bit |
| `close(a, b, tolerance=1e-9)` | they differ by at most `tolerance * (1 + max(abs(a), abs(b)))` |
| `is_finite(x)` | no element is infinite or not a number |
| `is_causal(y, x)` | no position of `y` changes when only later positions of `x` do |
| `keeps_rows(y, x)` | no row of `y` changes when only other rows of `x` do |
| `depends(y, x)` | `y` changes when all of `x` does |
| any bool tensor, such as `y >= 0.0` | it is true everywhere |
| a static condition, such as `D % 8 == 0` | it is true |

`not` turns a fact round, `and` states two. `x` in the last three dependences is a `random(...)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from gabc.diagnostics.suggest import nearest
from gabc.dims import Dim
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bind_names import bind_names
from gabc.elaborate.bound import Poison
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError, replace
from gabc.graph.nodes import Argument, Value
from gabc.graph.static import Literal
from gabc.graph.types import B, L
from gabc.ops import PRIMITIVES
from gabc.syntax import tree
from gabc.syntax.source import Span

TOLERANCE = 1e-9

FACTS: dict[str, tuple[str, ...]] = {
    "shape": ("x",),
    "equal": ("a", "b"),
    "close": ("a", "b", "tolerance"),
    "is_finite": ("x",),
    "is_causal": ("y", "x"),
    "keeps_rows": ("y", "x"),
    "depends": ("y", "x"),
}
"""The functions of facts and their arguments: they exist after `require` in a test only."""

Operand: TypeAlias = "Value | float"
Shape: TypeAlias = "Value | tuple[Dim, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class SameShape:
    left: Shape
    right: Shape

    def values(self) -> Iterator[Value]:
        yield from (side for side in (self.left, self.right) if isinstance(side, Value))


@dataclass(frozen=True, slots=True, eq=False)
class Close:
    """Equality bit by bit if `tolerance` is `None`."""

    left: Operand
    right: Operand
    tolerance: float | None

    def values(self) -> Iterator[Value]:
        yield from (side for side in (self.left, self.right) if isinstance(side, Value))


@dataclass(frozen=True, slots=True, eq=False)
class Everywhere:
    """A bool tensor, and the two sides of the comparison that it is, if it is one."""

    truth: Value
    left: Operand | None
    right: Operand | None

    def values(self) -> Iterator[Value]:
        sides = (self.truth, self.left, self.right)
        yield from (side for side in sides if isinstance(side, Value))


@dataclass(frozen=True, slots=True, eq=False)
class Finite:
    value: Value

    def values(self) -> Iterator[Value]:
        yield self.value


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """`kind` is `is_causal`, `keeps_rows` or `depends`; the axes are those of L or B."""

    kind: str
    result: Value
    source: Value
    result_axis: int
    source_axis: int

    def values(self) -> Iterator[Value]:
        yield self.result


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """A static condition."""

    is_true: bool

    def values(self) -> Iterator[Value]:
        return iter(())


Claim: TypeAlias = SameShape | Close | Everywhere | Finite | Dependence | Decided


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """`expected` is false for `not ...`."""

    span: Span
    claim: Claim
    expected: bool


def facts_of(
    evaluator: Evaluator, expr: tree.Expr, randoms: frozenset[Value], expected: bool = True
) -> list[Fact]:
    """The facts that a `require` of a test states. Raises `Refused` or `SilentError`."""
    match expr:
        case tree.Unary(_, "not", operand):
            return facts_of(evaluator, operand, randoms, not expected)
        case tree.Binary(_, "and", left, right) if expected:
            return [*facts_of(evaluator, left, randoms), *facts_of(evaluator, right, randoms)]
    return [Fact(expr.span, _claim(evaluator, expr, randoms), expected)]


def _claim(evaluator: Evaluator, expr: tree.Expr, randoms: frozenset[Value]) -> Claim:
    if isinstance(expr, tree.Binary) and expr.op == "==":
        sides = expr.left, expr.right
        if "shape" in (_called(evaluator, side) for side in sides):
            return SameShape(*(_shape(evaluator, side) for side in sides))
    name = _called(evaluator, expr)
    if name is None or name in PRIMITIVES:
        return _everywhere(evaluator, expr)
    assert isinstance(expr, tree.Call)
    if name not in FACTS:
        near = nearest(name, FACTS)
        if near is None:
            return _everywhere(evaluator, expr)
        span = expr.function.span
        raise evaluator.refuse(
            "GAB0101",
            f"there is no fact `{name}`",
            span,
            help=f"did you mean `{near}`?",
            fixes=replace(span, near),
        )
    given = _given(evaluator, expr, name)
    match name:
        case "shape":
            raise evaluator.refuse(
                "GAB0109",
                "`shape` is compared with `==`",
                expr.span,
                help="shape(x) == [B, L, D]",
            )
        case "is_finite":
            return Finite(evaluator.tensor(given["x"]))
        case "equal" | "close":
            return _close(evaluator, expr, given, name)
    return _dependence(evaluator, given, name, randoms)


def _called(evaluator: Evaluator, expr: tree.Expr) -> str | None:
    """The name of the function that a call calls, if nothing in the test is called so."""
    if not isinstance(expr, tree.Call) or not isinstance(expr.function, tree.Name):
        return None
    name = expr.function.id
    return name if evaluator.lookup(name) is None else None


def _given(evaluator: Evaluator, expr: tree.Call, name: str) -> dict[str, tree.Expr]:
    given = dict(bind_names(evaluator, expr, FACTS[name], name))
    missing = [p for p in FACTS[name] if p not in given and p != "tolerance"]
    if missing:
        raise evaluator.refuse(
            "GAB0107",
            f"`{name}` needs `{missing[0]}`",
            expr.span,
            help=f"it is called as `{name}({', '.join(FACTS[name])})`",
        )
    return given


def _shape(evaluator: Evaluator, expr: tree.Expr) -> Shape:
    if _called(evaluator, expr) == "shape":
        assert isinstance(expr, tree.Call)
        return evaluator.tensor(_given(evaluator, expr, "shape")["x"])
    if isinstance(expr, tree.ListLiteral):
        return tuple(evaluator.dim(item) for item in expr.items)
    raise evaluator.refuse(
        "GAB0109", "a shape is compared with a list of sizes or another shape", expr.span
    )


def _operand(evaluator: Evaluator, expr: tree.Expr) -> Operand:
    """A tensor or a static number."""
    bound = evaluator.expr(expr)
    if isinstance(bound, Poison):
        raise SilentError
    static = evaluator.as_static(bound)
    if static is None:
        return evaluator.as_value(bound, expr.span)
    number = evaluator.evaluate(static, expr.span)
    if not isinstance(number, (int, float)):
        raise evaluator.refuse("GAB0109", "a tensor or a number is needed here", expr.span)
    return float(number)


def _close(evaluator: Evaluator, expr: tree.Call, given: dict[str, tree.Expr], name: str) -> Close:
    left, right = _operand(evaluator, given["a"]), _operand(evaluator, given["b"])
    if isinstance(left, Value) and isinstance(right, Value):
        span = given["b"].span
        same_type(evaluator, left.type, right.type, span, f"the second operand of `{name}`")
    elif not isinstance(left, Value) and not isinstance(right, Value):
        raise evaluator.refuse(
            "GAB0109", f"`{name}` compares tensors, and these are two numbers", expr.span
        )
    if name == "equal":
        return Close(left, right, None)
    tolerance: Operand = TOLERANCE
    if "tolerance" in given:
        tolerance = _operand(evaluator, given["tolerance"])
    if isinstance(tolerance, Value) or tolerance < 0:
        raise evaluator.refuse(
            "GAB0109", "the tolerance is a number, at least 0", given["tolerance"].span
        )
    return Close(left, right, tolerance)


def _everywhere(evaluator: Evaluator, expr: tree.Expr) -> Claim:
    bound = evaluator.expr(expr)
    if isinstance(bound, Poison):
        raise SilentError
    static = evaluator.as_static(bound)
    if static is not None:
        value = evaluator.evaluate(static, expr.span)
        if not isinstance(value, bool):
            raise _no_fact(evaluator, expr)
        return Decided(value)
    truth = evaluator.as_value(bound, expr.span)
    if truth.type.kind != "bool":
        raise _no_fact(evaluator, expr)
    assert evaluator.builder is not None
    last = evaluator.builder.nodes[-1:]
    left: Operand | None = None
    right: Operand | None = None
    if last and truth in last[0].outputs and last[0].op in ("eq", "ne", "lt", "le", "gt", "ge"):
        left, right = _side(last[0].args["a"]), _side(last[0].args["b"])
    return Everywhere(truth, left, right)


def _side(argument: Argument) -> Operand | None:
    if isinstance(argument, Value):
        return argument
    if isinstance(argument, Literal) and isinstance(argument.value, (int, float)):
        return float(argument.value)
    return None


def _no_fact(evaluator: Evaluator, expr: tree.Expr) -> Exception:
    return evaluator.refuse(
        "GAB0109",
        "`require` needs a fact: something that is true or false",
        expr.span,
        help=f"compare it, or use one of {', '.join(FACTS)}",
    )


def _dependence(
    evaluator: Evaluator, given: dict[str, tree.Expr], name: str, randoms: frozenset[Value]
) -> Dependence:
    result, source = evaluator.tensor(given["y"]), evaluator.tensor(given["x"])
    if source not in randoms:
        raise evaluator.refuse(
            "GAB0109",
            f"`{name}` asks how a value depends on an input, and `{given['x'].span.text}` is none",
            given["x"].span,
            help="draw it with `random(...)` and give it a name",
        )
    if name == "depends":
        return Dependence(name, result, source, 0, 0)
    dim, what = (L, "L") if name == "is_causal" else (B, "B")
    for value, argument in ((result, given["y"]), (source, given["x"])):
        if dim not in value.type.dims:
            raise evaluator.refuse(
                "GAB0109",
                f"`{name}` needs an axis {what}, and this is {value.type}",
                argument.span,
            )
    axes = result.type.dims.index(dim), source.type.dims.index(dim)
    return Dependence(name, result, source, *axes)
