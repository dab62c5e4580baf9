"""Derivatives of what works along axes: products, sums, norms, and moves of axes.

As `gradient_rules`. A rule that yields nothing for a wanted operand says that its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_letters

from gabc.dims import Dim
from gabc.elaborate.gradient_tape import Contribution, NoRule, Rule, Taken, Tape, Term
from gabc.graph.nodes import Value
from gabc.graph.static import Literal
from gabc.ops.patterns_parse import Axis, Side, parse_pattern
from gabc.ops.patterns_solve import all_names, expand, solve
from gabc.ops.subscript import Item, subscript_items

# ---------------------------------------------------------------- products


def _matmul(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    """G b^T and a^T G; a vector is a matrix of one row or column."""
    a, b, y = taken.value("a"), taken.value("b"), taken.node.output
    gradient = tape.full(taken.gradient, y.type)
    if b.type.rank == 1:
        gradient = _new_axis(tape, gradient, -1)
    if a.type.rank == 1:
        gradient = _new_axis(tape, gradient, -2)
    left = a if a.type.rank > 1 else _new_axis(tape, a, -2)
    right = b if b.type.rank > 1 else _new_axis(tape, b, -1)
    if a in taken.wanted:
        found = tape.apply("matmul", {"a": gradient, "b": _transposed(tape, right)})
        yield a, _of_matrix(tape, found, a, -2)
    if b in taken.wanted:
        found = tape.apply("matmul", {"a": _transposed(tape, left), "b": gradient})
        yield b, _of_matrix(tape, found, b, -1)


def _of_matrix(tape: Tape, found: Value, operand: Value, axis: int) -> Term:
    """Summed along the leading axes that the operand was broadcast along; of a vector no matrix."""
    term: Term = found if operand.type.rank > 1 else tape.without_axis(found, axis)
    assert isinstance(term, Value)
    return tape.summed_to(term, term.type, operand.type)


def _new_axis(tape: Tape, x: Value, axis: int) -> Value:
    result = tape.with_axis(x, axis)
    assert isinstance(result, Value)
    if result is x:  # in front of the first axis
        return tape.apply("index", {"x": x, "items": (None, *(":",) * x.type.rank)})
    return result


def _transposed(tape: Tape, x: Value) -> Value:
    names = list(ascii_letters[: x.type.rank])
    turned = [*names[:-2], names[-1], names[-2]]
    pattern = f"{' '.join(names)} -> {' '.join(turned)}"
    return tape.apply("rearrange", {"x": x, "pattern": pattern})


def _einsum(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    """The result's gradient takes the place of the operand."""
    written, values = taken.node.args["pattern"], taken.node.args["xs"]
    assert isinstance(written, str)
    assert isinstance(values, tuple)
    xs = [value for value in values if isinstance(value, Value)]
    pattern = expand(parse_pattern(written), [x.type.rank for x in xs])
    letters = dict.fromkeys(name for side in pattern.inputs for name in all_names(side))
    names = dict(zip(letters, ascii_letters, strict=False))
    gradient = tape.full(taken.gradient, taken.node.output.type)
    for place, (x, side) in enumerate(zip(xs, pattern.inputs, strict=True)):
        if x not in taken.wanted:
            continue
        others = [i for i in range(len(xs)) if i != place]
        sides = [pattern.output, *(pattern.inputs[i] for i in others)]
        known = {name for part in sides for name in all_names(part)}
        # A name that the operand alone has was summed over: the gradient is alike along it.
        target = " ".join(
            names[axis.names[0]] if axis.letters and axis.names[0] in known else "1"
            for axis in side
        )
        text = f"{', '.join(_side(part, names) for part in sides)} -> {target}"
        yield (
            x,
            tape.apply("einsum", {"pattern": text, "xs": (gradient, *(xs[i] for i in others))}),
        )


def _side(side: Side, names: dict[str, str]) -> str:
    return " ".join(names[axis.names[0]] if axis.letters else "1" for axis in side)


# ---------------------------------------------------------------- reductions


def _plain(taken: Taken) -> None:
    if taken.node.args.get("mask") is not None:
        raise NoRule(f"`{taken.node.op}` of a masked value")


def _kept(tape: Tape, taken: Taken, term: Term) -> Term:
    """What belongs to the result, with the axis that was reduced as a unit axis."""
    x = taken.value("x")
    return term if taken.node.args["keep"] else tape.with_axis(term, taken.axis(x))


def _size(tape: Tape, taken: Taken) -> Term:
    x = taken.value("x")
    return tape.count(x.type.dims[taken.axis(x)])


def _sum(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("x"), _kept(tape, taken, taken.gradient)


def _mean(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    _plain(taken)
    whole = _kept(tape, taken, taken.gradient)
    yield taken.value("x"), tape.binary("div", whole, _size(tape, taken))


def _var(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    _plain(taken)
    x = taken.value("x")
    centred = tape.sub(x, tape.reduce("mean", x, taken.axis(x)))
    share = tape.binary("div", _kept(tape, taken, taken.gradient), _size(tape, taken))
    yield x, tape.mul(Literal(2.0), centred, share)


def _extreme(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    """Of `max` and `min`: equal elements share the gradient."""
    _plain(taken)
    x = taken.value("x")
    best = tape.indicator(tape.compare("eq", x, _kept(tape, taken, taken.node.output)))
    share = tape.binary("div", best, tape.reduce("sum", best, taken.axis(x)))
    yield x, tape.mul(_kept(tape, taken, taken.gradient), share)


def _logsumexp(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    _plain(taken)
    x = taken.value("x")
    shifted = tape.sub(x, _kept(tape, taken, taken.node.output))
    assert isinstance(shifted, Value)
    yield x, tape.mul(_kept(tape, taken, taken.gradient), tape.of("exp", shifted))


def _cumsum(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    """From each place on: the whole sum without what came before."""
    x = taken.value("x")
    axis = taken.axis(x)
    gradient = tape.full(taken.gradient, x.type)
    before = tape.apply("cumsum", {"x": gradient, "axis": axis})
    rest = tape.sub(tape.reduce("sum", gradient, axis), before)
    yield x, tape.add(rest, gradient)


# ---------------------------------------------------------------- softmax and norms


def _softmax(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x, y = taken.value("x"), taken.node.output
    weighted = tape.mul(taken.gradient, y)
    along = tape.mul(y, tape.total(weighted, y.type, taken.axis(x)))
    yield x, tape.sub(weighted, along)


def _log_softmax(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x, y = taken.value("x"), taken.node.output
    total = tape.total(taken.gradient, y.type, taken.axis(x))
    yield x, tape.sub(taken.gradient, tape.mul(tape.of("exp", y), total))


def _rms_norm(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x = taken.value("x")
    inverse = _inverse_root(tape, taken, tape.of("square", x))
    unit = tape.mul(x, inverse)
    yield from _normed(tape, taken, unit, inverse, is_centred=False)


def _layer_norm(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x = taken.value("x")
    centred = tape.sub(x, tape.reduce("mean", x, -1))
    assert isinstance(centred, Value)
    inverse = _inverse_root(tape, taken, tape.of("square", centred))
    yield from _normed(tape, taken, tape.mul(centred, inverse), inverse, is_centred=True)
    bias = taken.wants("bias")
    if bias is not None:
        yield bias, taken.gradient


def _inverse_root(tape: Tape, taken: Taken, squares: Value) -> Value:
    shifted = tape.add(tape.reduce("mean", squares, -1), taken.term("eps"))
    assert isinstance(shifted, Value)
    return tape.of("rsqrt", shifted)


def _normed(
    tape: Tape, taken: Taken, unit: Term, inverse: Value, *, is_centred: bool
) -> Iterator[Contribution]:
    """inverse (g - mean(g unit) unit), less the mean of g, for a gradient g of the unit vector."""
    x, weight = taken.wants("x"), taken.wants("weight")
    if weight is not None:
        yield weight, tape.mul(taken.gradient, unit)
    if x is None:
        return
    slope = taken.gradient
    if taken.node.args["weight"] is not None:
        slope = tape.mul(slope, taken.value("weight"))
    along = tape.mul(slope, unit)
    assert isinstance(along, Value)
    rest = tape.sub(slope, tape.mul(unit, tape.reduce("mean", along, -1)))
    if is_centred:
        mean = tape.binary("div", tape.total(slope, x.type, -1), tape.count(x.type.dims[-1]))
        rest = tape.sub(rest, mean)
    yield x, tape.mul(inverse, rest)


# ---------------------------------------------------------------- moves of axes


def _index(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    """Back to their places; elements that were left out get zeros."""
    x, items = taken.value("x"), subscript_items(taken.node.args["items"])
    gradient = taken.gradient
    rank = taken.node.output.type.rank
    axes = [place for place, item in enumerate(_present(items)) if item is None]
    for axis in axes:  # from the left, so that places counted from the end stay
        gradient = tape.without_axis(gradient, axis - rank)
    own = tuple(item for item in items if item is not None)
    if all(item == ":" for item in own):
        yield x, gradient
        return
    yield x, tape.apply("set_index", {"x": tape.zeros(x.type), "items": own, "value": gradient})


def _present(items: Sequence[Item]) -> list[Item]:
    """The items that the result has an axis for."""
    return [item for item in items if not isinstance(item, Dim)]


def _set_index(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x, value = taken.wants("x"), taken.wants("value")
    gradient = tape.full(taken.gradient, taken.node.output.type)
    items = taken.node.args["items"]
    if x is not None:
        zero = Literal(0.0)
        yield x, tape.apply("set_index", {"x": gradient, "items": items, "value": zero})
    if value is not None:
        yield value, tape.apply("index", {"x": gradient, "items": items})


def _rearrange(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("x"), _back(tape, taken, "rearrange", {})


def _repeat(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("x"), _back(tape, taken, "reduce", {"op": "sum"})


def _reduce(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    op, x = taken.node.args["op"], taken.value("x")
    if op not in ("sum", "mean"):
        raise NoRule(f'`reduce` by "{op}"')
    gradient: Term = _back(tape, taken, "repeat", {})
    if op == "mean":
        plan = _plan(taken)
        for name in all_names(plan[0]):
            if name not in all_names(plan[1]):
                gradient = tape.binary("div", gradient, tape.count(plan[2][name]))
    yield x, gradient


def _plan(taken: Taken) -> tuple[Side, Side, dict[str, Dim]]:
    """Left and right side of a node's pattern, and the size of every name."""
    text, x = taken.node.args["pattern"], taken.value("x")
    assert isinstance(text, str)
    given = {name: size for name, size in taken.node.args.items() if isinstance(size, Dim)}
    plan = solve(parse_pattern(text), x.type.dims, given)
    return plan.left, plan.right, dict(plan.sizes)


def _back(tape: Tape, taken: Taken, primitive: str, options: dict[str, str]) -> Value:
    """The pattern read from right to left."""
    left, right, sizes = _plan(taken)
    every = dict.fromkeys([*all_names(left), *all_names(right)])
    names = {name: f"n{place}" for place, name in enumerate(every)}
    text = f"{_shown(right, names)} -> {_shown(left, names)}"
    grouped = {name for axis in right if len(axis.letters) > 1 for name in axis.names}
    if primitive == "repeat":
        grouped.update(name for name in all_names(left) if name not in all_names(right))
    given = {names[name]: sizes[name] for name in sorted(grouped)}
    gradient = tape.full(taken.gradient, taken.node.output.type)
    return tape.apply(primitive, {"x": gradient, "pattern": text, **options, **given})


def _shown(side: Side, names: dict[str, str]) -> str:
    def shown(axis: Axis) -> str:
        parts = [names[name] for name in axis.names]
        return parts[0] if len(parts) == 1 else f"({' '.join(parts)})" if parts else "1"

    return " ".join(map(shown, side))


def _concat(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    y = taken.node.output
    axis = taken.axis(y)
    gradient = tape.full(taken.gradient, y.type)
    start = Dim.const(0)
    for x in _values(taken):
        stop = start + x.type.dims[axis]
        if x in taken.wanted:
            yield x, _part(tape, gradient, axis, (start, stop, None))
        start = stop


def _stack(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    y = taken.node.output
    gradient = tape.full(taken.gradient, y.type)
    for place, x in enumerate(_values(taken)):
        if x in taken.wanted:
            yield x, _part(tape, gradient, taken.axis(y), Dim.const(place))


def _values(taken: Taken) -> list[Value]:
    xs = taken.node.args["xs"]
    assert isinstance(xs, tuple)
    return [x for x in xs if isinstance(x, Value)]


def _part(tape: Tape, x: Value, axis: int, item: Item) -> Value:
    items: list[Item] = [":"] * x.type.rank
    items[axis] = item
    return tape.apply("index", {"x": x, "items": tuple(items)})


def _split(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x = taken.value("x")
    parts = [
        tape.zeros(value.type) if gradient is None else tape.full(gradient, value.type)
        for value, gradient in zip(taken.node.outputs, taken.gradients, strict=True)
    ]
    yield x, tape.apply("concat", {"xs": tuple(parts), "axis": taken.axis(x)})


AXIS_RULES: dict[str, Rule] = {
    "matmul": _matmul,
    "einsum": _einsum,
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "max": _extreme,
    "min": _extreme,
    "logsumexp": _logsumexp,
    "cumsum": _cumsum,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "index": _index,
    "set_index": _set_index,
    "rearrange": _rearrange,
    "repeat": _repeat,
    "reduce": _reduce,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
}
