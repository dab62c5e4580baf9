"""Ints and floats that follow from positions: between which lines of the axes they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import product

from gabc.dependence.bounds import ONE, ZERO, Bound, number
from gabc.dependence.domain import (
    EVERYWHERE,
    Dependence,
    Fill,
    Values,
    Zone,
)
from gabc.dependence.forms import CONSTANT, Line, axis_form
from gabc.dependence.pointwise import elementwise, is_position_mask, known_fills
from gabc.dependence.zones import at_most, intersection
from gabc.syntax.source import Span

MOST_LINES = 4


def constant_values(value: Bound) -> Values:
    return line_values(Line(CONSTANT, value), value.is_integral)


def line_values(line: Line, is_whole: bool = True) -> Values:
    return Values((line,), (line,), is_whole)


def _limited(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(dict.fromkeys(lines))[:MOST_LINES]


def added(a: Values, b: Values, sign: Bound = ONE) -> Values:
    """`a + b`, or `a - b` with the sign -1."""
    other = b if sign is ONE else negated(b)
    return Values(
        _limited(x.plus(y) for x, y in product(a.lowers, other.lowers)),
        _limited(x.plus(y) for x, y in product(a.uppers, other.uppers)),
        a.is_whole and b.is_whole,
    )


def negated(a: Values) -> Values:
    return Values(
        tuple(line.times(-ONE) for line in a.uppers),
        tuple(line.times(-ONE) for line in a.lowers),
        a.is_whole,
    )


def constant_of(a: Values) -> Bound | None:
    """The number that the value is at every index."""
    line = a.line
    return line.constant if line is not None and not line.linear else None


def multiplied(a: Values, b: Values) -> Values | None:
    """A product with a number."""
    factor, other = constant_of(a), b
    if factor is None:
        factor, other = constant_of(b), a
    return None if factor is None else times(other, factor)


def times(a: Values, factor: Bound) -> Values:
    lowers = tuple(line.times(factor) for line in a.lowers)
    uppers = tuple(line.times(factor) for line in a.uppers)
    if factor.value < 0:
        lowers, uppers = uppers, lowers
    return Values(lowers, uppers, a.is_whole and factor.is_integral)


def divided(a: Values, b: Values) -> Values | None:
    """True division by a number."""
    divisor = constant_of(b)
    if divisor is None or divisor.value == 0 or not divisor.is_finite:
        return None
    return replace(times(a, ONE / divisor), is_whole=False)


def floor_divided(a: Values, b: Values) -> Values | None:
    """`a // n` lies in `[a / n - (n - 1) / n, a / n]` for whole numbers, n > 0."""
    divisor = constant_of(b)
    quotient = divided(a, b)
    if quotient is None or divisor is None or divisor.value < 0:
        return None
    least = (divisor - ONE) / divisor if a.is_whole and divisor.is_integral else ONE
    lowers = tuple(replace(line, constant=line.constant - least) for line in quotient.lowers)
    return Values(lowers, quotient.uppers, True)


def remainder(a: Values, b: Values) -> Values | None:
    """`a % n` lies in `[0, n - 1]` for whole numbers, n > 0, in `[0, n]` otherwise.

    It is at most `a` where that is never negative.
    """
    divisor = constant_of(b)
    if divisor is None or divisor.value <= 0 or not divisor.is_finite:
        return None
    is_whole = a.is_whole and divisor.is_integral
    high = divisor - ONE if is_whole else divisor
    tops = a.uppers if is_never_below_zero(a) else ()
    return Values((Line(CONSTANT),), _limited((Line(CONSTANT, high), *tops)), is_whole)


def is_never_below_zero(a: Values) -> bool:
    """Whether a lower line has no negative part; indices are not negative."""
    return any(
        line.constant.value >= 0 and all(c.value >= 0 for _, c in line.linear) for line in a.lowers
    )


def absolute(a: Values) -> Values:
    """At least `a`, at least `-a`; `a` itself where that is never negative."""
    if is_never_below_zero(a):
        return a
    lowers = _limited((*a.lowers, *negated(a).lowers))
    return Values(lowers, (), a.is_whole)


def maximum(a: Values, b: Values) -> Values:
    for one, other in ((a, b), (b, a)):
        number_ = constant_of(other)
        if number_ is not None and number_.value <= 0 and is_never_below_zero(one):
            return one
    return Values(_limited((*a.lowers, *b.lowers)), (), a.is_whole and b.is_whole)


def minimum(a: Values, b: Values) -> Values:
    return Values((), _limited((*a.uppers, *b.uppers)), a.is_whole and b.is_whole)


def widened(a: Values, below: Bound, above: Bound) -> Values:
    """Rounded: a whole number within `below` and `above` of the value."""
    if a.is_whole:
        return a
    return Values(
        tuple(replace(line, constant=line.constant - below) for line in a.lowers),
        tuple(replace(line, constant=line.constant + above) for line in a.uppers),
        True,
    )


BINARY: dict[str, Callable[[Values, Values], Values | None]] = {
    "add": added,
    "sub": lambda a, b: added(a, b, -ONE),
    "mul": multiplied,
    "div": divided,
    "floordiv": floor_divided,
    "mod": remainder,
    "maximum": maximum,
    "minimum": minimum,
}
"""What an operation makes of values that follow from positions, by the primitive's name."""


def counted(a: Values, axis: int) -> Values | None:
    """The sum up to and including each index of a number: `c`, `2 c`, ..."""
    step = constant_of(a)
    return None if step is None else line_values(Line(axis_form(axis, step), step), a.is_whole)


def delayed_values(a: Values, axis: int, by: Bound) -> Values | None:
    """`max(i - by, 0)`, for `i` along the axis; other values are not followed."""
    line = a.line
    if line is None or line != Line(axis_form(axis)):
        return None
    lowers = (Line(axis_form(axis), -by), Line(CONSTANT))
    return Values(lowers, (line,), True)


HALF = number(Fraction(1, 2))

UNARY: dict[str, Callable[[Values], Values]] = {
    "floor": lambda a: widened(a, ONE, ZERO),
    "ceil": lambda a: widened(a, ZERO, ONE),
    "round": lambda a: widened(a, HALF, HALF),
    "int": lambda a: widened(a, ONE, ONE),
    "neg": negated,
    "abs": absolute,
    "relu": lambda a: maximum(a, constant_values(ZERO)),
}


def with_values(
    result: Dependence, rule: Callable[..., Values | None] | None, *operands: Dependence
) -> Dependence:
    """The result with what the rule makes of its operands' values, if all have some."""
    known = [operand.exact_values for operand in operands]
    present = [values for values in known if values is not None]
    if rule is None or len(present) < len(known):
        return result
    return replace(result, values=rule(*present))


# ---------------------------------------------------------------- comparisons


def compared(name: str, a: Dependence, b: Dependence, span: Span) -> Dependence:
    """`lt`, `le`, `gt`, `ge`, `eq`, `ne`, with the zones where it can hold and can fail."""
    functions = {
        "lt": lambda x, y: x < y,
        "le": lambda x, y: x <= y,
        "gt": lambda x, y: x > y,
        "ge": lambda x, y: x >= y,
        "eq": lambda x, y: x == y,
        "ne": lambda x, y: x != y,
    }
    result = elementwise([a, b], functions[name], may_overflow=False)
    left, right = a.exact_values, b.exact_values
    if left is not None and right is not None:
        holds, fails = _outcomes(name, left, right, span)
        fills = (*result.fills, Fill(0.0, holds), Fill(1.0, fails))
        result = replace(result, fills=known_fills(fills))
    if is_position_mask([a, b], result):
        return replace(result, is_vague=True)
    return result


def _outcomes(name: str, a: Values, b: Values, span: Span) -> tuple[Zone, Zone]:
    """Where the comparison can hold, and where it can fail."""
    match name:
        case "gt" | "ge":
            return _outcomes({"gt": "lt", "ge": "le"}[name], b, a, span)
        case "lt":
            return _ordered(a, b, True, span), _ordered(b, a, False, span)
        case "le":
            return _ordered(a, b, False, span), _ordered(b, a, True, span)
        case "ne":
            equal, differ = _outcomes("eq", a, b, span)
            return differ, equal
        case _:
            equal = intersection(_ordered(a, b, False, span), _ordered(b, a, False, span))
            return equal, EVERYWHERE


def _ordered(small: Values, large: Values, strict: bool, span: Span) -> Zone:
    """Where `small < large` (or `<=`) can hold: every lower line is below every upper one."""
    zone: Zone = EVERYWHERE
    is_whole = small.is_whole and large.is_whole
    for lower, upper in product(small.lowers, large.uppers):
        zone = intersection(zone, at_most(lower, upper, strict, is_whole, span))
    return zone
