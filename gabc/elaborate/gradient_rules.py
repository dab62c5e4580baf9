"""Derivatives of the functions of one element at a time.

Each rule says what the operands of a node get of its result's gradient (reverse mode; Griewank and
Walther 2008, chapter 3). At kinks the choice is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from gabc.elaborate.gradient_tape import Contribution, NoRule, Rule, Taken, Tape, Term
from gabc.graph.nodes import Value
from gabc.graph.static import Apply, Literal

_ZERO, _HALF, _ONE, _TWO = (Literal(number) for number in (0.0, 0.5, 1.0, 2.0))


# ---------------------------------------------------------------- operators


def _add(_: Tape, taken: Taken) -> Iterator[Contribution]:
    for name in ("a", "b"):
        operand = taken.wants(name)
        if operand is not None:
            yield operand, taken.gradient


def _sub(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    a, b = taken.wants("a"), taken.wants("b")
    if a is not None:
        yield a, taken.gradient
    if b is not None:
        yield b, tape.neg(taken.gradient)


def _mul(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    for name, other in (("a", "b"), ("b", "a")):
        operand = taken.wants(name)
        if operand is not None:
            yield operand, tape.mul(taken.gradient, taken.term(other))


def _div(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    share = tape.binary("div", taken.gradient, taken.term("b"))
    a, b = taken.wants("a"), taken.wants("b")
    if a is not None:
        yield a, share
    if b is not None:
        yield b, tape.neg(tape.mul(share, taken.node.output))


def _pow(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    base, exponent = taken.term("a"), taken.term("b")
    a, b = taken.wants("a"), taken.wants("b")
    if a is not None:
        lower = tape.binary("sub", exponent, Literal(1))
        power: Term = tape.apply("pow", {"a": a, "b": lower})
        yield a, tape.mul(taken.gradient, exponent, power)
    if b is not None:
        logarithm: Term = tape.of("log", base) if isinstance(base, Value) else Apply("log", (base,))
        yield b, tape.mul(taken.gradient, taken.node.output, logarithm)


def _mod(_: Tape, taken: Taken) -> Iterator[Contribution]:
    a = taken.wants("a")
    if taken.wants("b") is not None:
        raise NoRule("the right side of `%`")  # torch has no derivative of it either
    if a is not None:
        yield a, taken.gradient


def _neg(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("a"), tape.neg(taken.gradient)


def _extremum(strict: str, loose: str) -> Rule:
    """Of `maximum` and `minimum`: equal operands get half each."""

    def rule(tape: Tape, taken: Taken) -> Iterator[Contribution]:
        for name, other in (("a", "b"), ("b", "a")):
            operand = taken.wants(name)
            if operand is not None:
                both = [
                    tape.indicator(tape.compare(op, operand, taken.term(other)))
                    for op in (strict, loose)
                ]
                yield operand, tape.mul(taken.gradient, _HALF, tape.add(*both))

    return rule


def _where(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    condition = taken.value("condition")
    a, b = taken.wants("a"), taken.wants("b")
    if a is not None:
        yield a, tape.where(condition, taken.gradient, _ZERO)
    if b is not None:
        yield b, tape.where(condition, _ZERO, taken.gradient)


def _fill(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("x"), tape.where(taken.value("mask"), taken.gradient, _ZERO)


def _lerp(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    weight = taken.term("weight")
    a, b, w = (taken.wants(name) for name in ("a", "b", "weight"))
    if a is not None:
        yield a, tape.mul(taken.gradient, tape.sub(_ONE, weight))
    if b is not None:
        yield b, tape.mul(taken.gradient, weight)
    if w is not None:
        yield w, tape.mul(taken.gradient, tape.sub(taken.term("b"), taken.term("a")))


def _clamp(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x, gradient = taken.value("x"), taken.gradient
    for name, op in (("lo", "ge"), ("hi", "le")):
        if taken.node.args[name] is not None:
            gradient = tape.where(tape.compare(op, x, taken.term(name)), gradient, _ZERO)
    yield x, gradient


def _square(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x = taken.value("x")
    yield x, tape.mul(tape.mul(taken.gradient, _TWO), x)


def _same(_: Tape, taken: Taken) -> Iterator[Contribution]:
    yield taken.value("x"), taken.gradient


def _nothing(_: Tape, __: Taken) -> Iterator[Contribution]:
    yield from ()


# ---------------------------------------------------------------- functions of one tensor

Slope = Callable[[Tape, Value, Value], Term]
"""The derivative, from the operand and the result."""


def _function(slope: Slope) -> Rule:
    def rule(tape: Tape, taken: Taken) -> Iterator[Contribution]:
        x = taken.value("x")
        yield x, tape.mul(taken.gradient, slope(tape, x, taken.node.output))

    return rule


def _result_slope(tape: Tape, y: Value) -> Term:
    """1 - y^2, of tanh."""
    return tape.sub(_ONE, tape.of("square", y))


def _silu_slope(tape: Tape, x: Value, _: Value) -> Term:
    gate = tape.of("sigmoid", x)
    return tape.mul(gate, tape.add(_ONE, tape.mul(x, tape.sub(_ONE, gate))))


def _erf_slope(tape: Tape, x: Value, _: Value) -> Term:
    return tape.mul(Literal(2.0 / math.sqrt(math.pi)), _bell(tape, x, -1.0))


def _bell(tape: Tape, x: Value, factor: float) -> Value:
    """exp(factor * x^2)."""
    inner = tape.mul(Literal(factor), tape.of("square", x))
    assert isinstance(inner, Value)
    return tape.of("exp", inner)


def _elu_slope(tape: Tape, x: Value, y: Value) -> Term:
    return tape.where(tape.compare("gt", x, _ZERO), _ONE, tape.add(y, _ONE))


def _relu_slope(tape: Tape, x: Value, _: Value) -> Term:
    return tape.indicator(tape.compare("gt", x, _ZERO))


def _rsqrt_slope(tape: Tape, _: Value, y: Value) -> Term:
    return tape.mul(Literal(-0.5), y, tape.of("square", y))


def _gelu(tape: Tape, taken: Taken) -> Iterator[Contribution]:
    x = taken.value("x")
    slope = _gelu_tanh if taken.node.args["approximate"] == "tanh" else _gelu_exact
    yield x, tape.mul(taken.gradient, slope(tape, x))


def _gelu_exact(tape: Tape, x: Value) -> Term:
    """Phi(x) + x phi(x)."""
    scaled = tape.mul(Literal(math.sqrt(0.5)), x)
    assert isinstance(scaled, Value)
    below = tape.mul(_HALF, tape.add(_ONE, tape.of("erf", scaled)))
    density = tape.mul(Literal(1.0 / math.sqrt(2.0 * math.pi)), x, _bell(tape, x, -0.5))
    return tape.add(below, density)


def _gelu_tanh(tape: Tape, x: Value) -> Term:
    """0.5 (1 + t) + 0.5 x (1 - t^2) u', with t = tanh(u), u = c (x + a x^3)."""
    c, a = math.sqrt(2.0 / math.pi), 0.044715
    square = tape.of("square", x)
    inner = tape.mul(Literal(c), x, tape.add(_ONE, tape.mul(Literal(a), square)))
    assert isinstance(inner, Value)
    t = tape.of("tanh", inner)
    slope = tape.mul(Literal(c), tape.add(_ONE, tape.mul(Literal(3.0 * a), square)))
    steep = tape.mul(_HALF, x, _result_slope(tape, t), slope)
    return tape.add(tape.mul(_HALF, tape.add(_ONE, t)), steep)


RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "neg": _neg,
    "maximum": _extremum("gt", "ge"),
    "minimum": _extremum("lt", "le"),
    "where": _where,
    "fill": _fill,
    "lerp": _lerp,
    "clamp": _clamp,
    "f32": _same,
    "float": _same,
    "gelu": _gelu,
    "exp": _function(lambda _, __, y: y),
    "expm1": _function(lambda tape, _, y: tape.add(y, _ONE)),
    "log": _function(lambda tape, x, _: tape.of("reciprocal", x)),
    "log1p": _function(lambda tape, x, _: tape.binary("div", _ONE, tape.add(x, _ONE))),
    "sqrt": _function(lambda tape, _, y: tape.binary("div", _HALF, y)),
    "rsqrt": _function(_rsqrt_slope),
    "reciprocal": _function(lambda tape, _, y: tape.neg(tape.of("square", y))),
    "sin": _function(lambda tape, x, _: tape.of("cos", x)),
    "cos": _function(lambda tape, x, _: tape.neg(tape.of("sin", x))),
    "tanh": _function(lambda tape, _, y: _result_slope(tape, y)),
    "erf": _function(_erf_slope),
    "sigmoid": _function(lambda tape, _, y: tape.mul(y, tape.sub(_ONE, y))),
    "abs": _function(lambda tape, x, _: tape.of("sign", x)),
    "square": _square,
    "relu": _function(_relu_slope),
    "silu": _function(_silu_slope),
    "softplus": _function(lambda tape, x, _: tape.of("sigmoid", x)),
    "logsigmoid": _function(lambda tape, _, y: tape.sub(_ONE, tape.of("exp", y))),
    "elu": _function(_elu_slope),
    **dict.fromkeys(("sign", "floor", "ceil", "round", "floordiv"), _nothing),
}
