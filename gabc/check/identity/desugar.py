"""Primitives as terms: what is only another way to say a thing is written out the one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Protocol

from gabc.check.identity.terms import Terms
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList
from gabc.ops.patterns_parse import Side, parse_pattern
from gabc.ops.patterns_solve import all_names, expand, solve

MAX_POWER = 8
"""`x ** 3` is `x * x * x` up to here."""


class Place(Protocol):
    """Where an operation stands: its values as terms, its sizes without names."""

    values: dict[Value, int]

    @property
    def terms(self) -> Terms: ...

    def size(self, dim: Dim) -> Dim: ...

    def shape(self, value: Value) -> tuple[Dim, ...]: ...

    def static(self, static: Static) -> int: ...


def desugar(place: Place, node: Node) -> list[int]:
    """The terms of a primitive's results."""
    rule = _RULES.get(node.op)
    if rule is not None:
        return [rule(place, node)]
    return _plain(place, node)


def _plain(place: Place, node: Node) -> list[int]:
    operands: list[int] = []
    parts = []
    for name, argument in node.args.items():
        if name == "axis" and isinstance(argument, int):
            argument = _axis(node, argument)
        parts.append(f"{name}={_text(place, argument, operands)}")
    shapes = [place.shape(value) for value in node.outputs]
    term = place.terms.add(node.op, tuple(operands), ", ".join(parts), shapes[0])
    if len(node.outputs) == 1:
        return [term]
    return [
        place.terms.add("result", (term,), str(index), shape) for index, shape in enumerate(shapes)
    ]


def _axis(node: Node, axis: int) -> int:
    """Counted from the end, which leading axes do not change."""
    operand = next(node.operands())
    rank = operand.type.rank + (node.op == "stack")
    return axis - rank if axis >= 0 else axis


def _text(place: Place, argument: Argument, operands: list[int]) -> str:
    """An argument in the signature; tensors and numbers become operands, there written `#`."""
    match argument:
        case Value():
            operands.append(place.values[argument])
            return "#"
        case Dim():
            return str(place.size(argument))
        case Literal(None):
            return "none"
        case Literal() | Ref() | Apply() | StaticList():
            operands.append(place.static(argument))
            return "#"
        case tuple():
            return f"({', '.join(_text(place, part, operands) for part in argument)})"
    return "none" if argument is None else str(argument)


# ---------------------------------------------------------------- rules

Rule = Callable[[Place, Node], int]


def _operand(place: Place, node: Node, name: str) -> int:
    argument = node.args[name]
    if isinstance(argument, Value):
        return place.values[argument]
    assert isinstance(argument, Static)
    return place.static(argument)


def _shape(place: Place, node: Node) -> tuple[Dim, ...]:
    return place.shape(node.output)


def _add(place: Place, node: Node, a: int, b: int) -> int:
    return place.terms.add("add", (a, b), shape=_shape(place, node))


def _mul(place: Place, node: Node, a: int, b: int) -> int:
    return place.terms.add("mul", (a, b), shape=_shape(place, node))


def _negated(place: Place, node: Node, a: int) -> int:
    return _mul(place, node, place.terms.constant(Dim.const(-1)), a)


def _inverse(place: Place, node: Node, a: int) -> int:
    return place.terms.add("inverse", (a,), shape=place.terms.all[a].shape)


def _sum(place: Place, node: Node) -> int:
    return _add(place, node, _operand(place, node, "a"), _operand(place, node, "b"))


def _difference(place: Place, node: Node) -> int:
    b = _negated(place, node, _operand(place, node, "b"))
    return _add(place, node, _operand(place, node, "a"), b)


def _negation(place: Place, node: Node) -> int:
    return _negated(place, node, _operand(place, node, "a"))


def _product(place: Place, node: Node) -> int:
    return _mul(place, node, _operand(place, node, "a"), _operand(place, node, "b"))


def _quotient(place: Place, node: Node) -> int:
    b = _inverse(place, node, _operand(place, node, "b"))
    return _mul(place, node, _operand(place, node, "a"), b)


def _power(place: Place, node: Node) -> int:
    match node.args["b"]:
        case Literal(int(exponent)) if 2 <= exponent <= MAX_POWER:
            base = result = _operand(place, node, "a")
            for _ in range(exponent - 1):
                result = _mul(place, node, result, base)
            return result
        case Literal(float(exponent)) if exponent in (2.0, 3.0, 4.0):
            args = {**node.args, "b": Literal(int(exponent))}
            return _power(place, Node(node.op, args, node.outputs, node.span))
    return _plain(place, node)[0]


def _square(place: Place, node: Node) -> int:
    x = _operand(place, node, "x")
    return _mul(place, node, x, x)


def _reciprocal(place: Place, node: Node) -> int:
    return _inverse(place, node, _operand(place, node, "x"))


def _rsqrt(place: Place, node: Node) -> int:
    x = _operand(place, node, "x")
    root = place.terms.add("sqrt", (x,), "x=#", _shape(place, node))
    return _inverse(place, node, root)


def _silu(place: Place, node: Node) -> int:
    x = _operand(place, node, "x")
    gate = place.terms.add("sigmoid", (x,), "x=#", _shape(place, node))
    return _mul(place, node, x, gate)


def _lerp(place: Place, node: Node) -> int:
    a, b, weight = (_operand(place, node, name) for name in ("a", "b", "weight"))
    moved = _mul(place, node, weight, _add(place, node, b, _negated(place, node, a)))
    return _add(place, node, a, moved)


def _norm(place: Place, node: Node) -> int:
    """The norm alone, then its weight and bias."""
    x, eps = _operand(place, node, "x"), _operand(place, node, "eps")
    result = place.terms.add(node.op, (x, eps), shape=_shape(place, node))
    if node.args.get("weight") is not None:
        result = _mul(place, node, result, _operand(place, node, "weight"))
    if node.args.get("bias") is not None:
        result = _add(place, node, result, _operand(place, node, "bias"))
    return result


def _same(place: Place, node: Node) -> int:
    return place.values[next(node.operands())]


def _mask(place: Place, node: Node) -> int:
    return _operand(place, node, "keep")


def _causal(place: Place, node: Node) -> int:
    """Only the sizes of what is masked matter."""
    query, key = _shape(place, node)
    return place.terms.add("causal", signature=f"[{query}, {key}]", shape=(query, key))


def _swapped(op: str) -> Rule:
    def rule(place: Place, node: Node) -> int:
        a, b = _operand(place, node, "a"), _operand(place, node, "b")
        return place.terms.add(op, (b, a), "a=#, b=#", _shape(place, node))

    return rule


def _symmetric(place: Place, node: Node) -> int:
    a, b = _operand(place, node, "a"), _operand(place, node, "b")
    return place.terms.add(node.op, (a, b), shape=_shape(place, node))


def _index(place: Place, node: Node) -> int:
    """A subscript, without the axes in front that it leaves alone."""
    items = node.args["items"]
    assert isinstance(items, tuple)
    kept = list(items)
    while kept and kept[0] == ":":
        kept.pop(0)
    x = _operand(place, node, "x")
    if not kept:
        return x
    return place.terms.add("index", (x,), _text(place, tuple(kept), []), _shape(place, node))


def _arrangement(place: Place, node: Node) -> int:
    """`rearrange`, `repeat` and `reduce`: letters numbered, sizes solved, nothing if all stay."""
    x, pattern = node.args["x"], node.args["pattern"]
    assert isinstance(x, Value)
    assert isinstance(pattern, str)
    given = {
        name: size
        for name, size in node.args.items()
        if isinstance(size, Dim) and name not in ("x", "pattern", "op")
    }
    plan = solve(parse_pattern(pattern), x.type.dims, given)
    numbers: dict[str, int] = {}
    for name in (*all_names(plan.left), *all_names(plan.right)):
        numbers.setdefault(name, len(numbers))
    left, right = _side(plan.left, numbers), _side(plan.right, numbers)
    if left == right:
        return place.values[x]
    split = {name for axis in plan.left if len(axis.names) > 1 for name in axis.names}
    made = set(numbers) - set(all_names(plan.left))
    sizes = [f"{numbers[n]}={place.size(plan.sizes[n])}" for n in numbers if n in split | made]
    op = node.args.get("op", "")
    text = f"{left} -> {right}; {', '.join(sizes)}" + (f"; {op}" if op else "")
    name = "rearrange" if not made and not op else node.op
    return place.terms.add(name, (place.values[x],), text, _shape(place, node))


def _side(side: Side, numbers: Mapping[str, int]) -> str:
    return " ".join(
        "(" + " ".join(str(numbers[name]) for name in axis.names) + ")" for axis in side
    )


def _einsum(place: Place, node: Node) -> int:
    """Letters keep their places in the term, under names of one's own."""
    written, xs = node.args["pattern"], node.args["xs"]
    assert isinstance(written, str)
    assert isinstance(xs, tuple)
    values = [value for value in xs if isinstance(value, Value)]
    pattern = expand(parse_pattern(written), [value.type.rank for value in values])
    fresh = count()
    names: dict[str, str] = {}

    def letters(side: Side) -> Iterator[str]:
        for axis in side:
            if not axis.letters:
                yield "1"
            for name in axis.names:
                if name not in names:
                    names[name] = f"{next(fresh)}"
                yield names[name]

    output = tuple(letters(pattern.output))
    inputs = tuple(tuple(letters(side)) for side in pattern.inputs)
    operands = tuple(place.values[value] for value in values)
    return place.terms.add("einsum", operands, shape=_shape(place, node), letters=(*inputs, output))


_RULES: Mapping[str, Rule] = {
    "add": _sum,
    "sub": _difference,
    "neg": _negation,
    "mul": _product,
    "div": _quotient,
    "pow": _power,
    "square": _square,
    "reciprocal": _reciprocal,
    "rsqrt": _rsqrt,
    "silu": _silu,
    "lerp": _lerp,
    "rms_norm": _norm,
    "layer_norm": _norm,
    "detach": _same,
    "dropout": _same,
    "masked": _mask,
    "causal": _causal,
    "gt": _swapped("lt"),
    "ge": _swapped("le"),
    "eq": _symmetric,
    "ne": _symmetric,
    "logical_and": _symmetric,
    "logical_or": _symmetric,
    "maximum": _symmetric,
    "minimum": _symmetric,
    "index": _index,
    "rearrange": _arrangement,
    "repeat": _arrangement,
    "reduce": _arrangement,
    "einsum": _einsum,
}
