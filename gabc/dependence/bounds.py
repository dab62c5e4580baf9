"""Numbers of the proof: symbolic in the sizes of the configuration, and evaluated at one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from gabc.dims import Dim
from gabc.dims.opaque import is_positive, lower_bound

MOST_TERMS = 12
"""A sum of more symbols (the kernels of a long stack) is kept as its number at the scale."""

Number: TypeAlias = "int | Fraction | float"


@dataclass(frozen=True, slots=True)
class Bound:
    """A number: `value` at the scale at hand, `dim` the same for every scale.

    `dim` is `None` where the number is the same at every scale; then it may be infinite. `at_scale`
    says that the numbers of the scale, not the symbols, decided something on the way here.
    """

    value: Number
    dim: Dim | None = None
    at_scale: bool = False

    @property
    def is_finite(self) -> bool:
        return type(self.value) is not float

    def __add__(self, other: Bound) -> Bound:
        if not self.is_finite or other is ZERO:
            return self
        if not other.is_finite or self is ZERO:
            return other
        value = self.value + other.value
        flag = self.at_scale or other.at_scale
        if self.dim is None and other.dim is None:
            return Bound(value, None, flag)
        return _symbolic(value, _dim(self) + _dim(other), flag)

    def __neg__(self) -> Bound:
        return Bound(-self.value, None if self.dim is None else -self.dim, self.at_scale)

    def __sub__(self, other: Bound) -> Bound:
        return self + -other

    def __mul__(self, other: Bound) -> Bound:
        """A product with a finite factor; infinity times zero is zero."""
        if self is ONE:
            return other
        if other is ONE:
            return self
        zero = next((bound for bound in (self, other) if bound.value == 0), None)
        if zero is not None and zero.dim is None:
            return Bound(0, None, True) if zero.at_scale else ZERO
        if zero is not None and not (self.is_finite and other.is_finite):
            return Bound(0, None, True)
        if not self.is_finite or not other.is_finite:
            return INFINITY if (self.value > 0) == (other.value > 0) else -INFINITY
        value = self.value * other.value
        flag = self.at_scale or other.at_scale
        if self.dim is None and other.dim is None:
            return Bound(value, None, flag)
        return _symbolic(value, _dim(self) * _dim(other), flag)

    def __truediv__(self, other: Bound) -> Bound:
        """The divisor is finite and not zero."""
        if other is ONE:
            return self
        if not self.is_finite:
            return self if other.value > 0 else -self
        value = _whole(Fraction(self.value) / Fraction(other.value))
        flag = self.at_scale or other.at_scale
        if self.dim is None and other.dim is None:
            return Bound(value, None, flag)
        return _symbolic(value, _dim(self) / _dim(other), flag)

    @property
    def is_integral(self) -> bool:
        """Whether it is an integer at this scale."""
        return isinstance(self.value, int) or (
            isinstance(self.value, Fraction) and self.value.denominator == 1
        )

    def __str__(self) -> str:
        if self.dim is not None:
            return str(self.dim)
        if not self.is_finite:
            return "inf" if self.value > 0 else "-inf"
        return str(self.value)


def number(value: int | Fraction) -> Bound:
    """A number that is the same at every scale."""
    if value == 0:
        return ZERO
    return ONE if value == 1 else Bound(_whole(value))


def sized(value: int | Fraction, dim: Dim) -> Bound:
    """A dim and its value at the scale."""
    return _symbolic(_whole(value), dim, False)


def larger(a: Bound, b: Bound) -> Bound:
    """The maximum. Where only the numbers of the scale decide, the result says so."""
    if a is b or a == b:
        return a
    high, low = (a, b) if a.value >= b.value else (b, a)
    if high.dim is None and low.dim is None:
        return high
    if not high.is_finite or not low.is_finite or is_never_negative(high - low):
        return high
    return Bound(high.value, high.dim, True)


def smaller(a: Bound, b: Bound) -> Bound:
    return -larger(-a, -b)


def is_never_negative(bound: Bound) -> bool:
    """At least 0 at every scale, as far as its form tells."""
    if bound.at_scale or bound.value < 0:
        return False
    if bound.dim is None:
        return True
    low = lower_bound(bound.dim)
    return (low is not None and low >= 0) or is_positive(bound.dim)


def floor_of(bound: Bound) -> Bound:
    """Rounded down where it is a plain number, or -1 or less at every scale; else as it is."""
    if not isinstance(bound.value, Fraction):
        return bound
    if bound.dim is None:
        return number(math.floor(bound.value))
    if -1 < bound.value < 0 and not bound.at_scale and is_positive(-bound.dim):
        return number(-1)
    return bound


def _whole(value: Number) -> Number:
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def _dim(bound: Bound) -> Dim:
    if bound.dim is not None:
        return bound.dim
    assert not isinstance(bound.value, float)
    return Dim.const(bound.value)


def _symbolic(value: Number, dim: Dim, at_scale: bool) -> Bound:
    constant = dim.as_fraction()
    if constant is not None:
        return Bound(_whole(constant), None, at_scale) if at_scale else number(constant)
    if len(dim.terms) > MOST_TERMS:
        return Bound(_whole(value), None, True)
    return Bound(_whole(value), dim, at_scale)


ZERO = Bound(0)
ONE = Bound(1)
INFINITY = Bound(math.inf)
