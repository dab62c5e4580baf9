"""Between which numbers a value lies, as far as it is known: what keeps a logarithm finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TINY = 1e-30
"""A positive number that is less may be 0 in float32."""

_EXPONENT = 80.0
"""The exponential of more may be infinite in float32."""


@dataclass(frozen=True, slots=True)
class Range:
    """`least <= x <= most` for every element, wherever the value is finite."""

    least: float = -math.inf
    most: float = math.inf

    @property
    def has_sign(self) -> bool:
        """Never zero, and of one sign."""
        return self.least > _TINY or self.most < -_TINY


ANY = Range()


def hull(*parts: Range) -> Range:
    return Range(min(part.least for part in parts), max(part.most for part in parts))


# ---------------------------------------------------------------- functions of one number

_LIMITS: Mapping[str, tuple[float, float]] = {
    "exp": (0.0, math.inf),
    "expm1": (-1.0, math.inf),
    "log": (-math.inf, math.inf),
    "log1p": (-math.inf, math.inf),
    "sqrt": (0.0, math.inf),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "logsigmoid": (-math.inf, 0.0),
    "elu": (-1.0, math.inf),
    "sign": (-1.0, 1.0),
    "floor": (-math.inf, math.inf),
    "ceil": (-math.inf, math.inf),
    "round": (-math.inf, math.inf),
}
"""Functions that never fall: their values at minus infinity (or where they begin) and infinity."""


def image(name: str, function: Callable[[float], float], x: Range) -> Range:
    """The range of a function of values in `x`."""
    if name in ("sin", "cos"):
        return Range(-1.0, 1.0)
    if name in ("square", "abs"):
        ends = [_at(function, end, math.inf) for end in (x.least, x.most)]
        return Range(min(ends) if x.has_sign else 0.0, max(ends))
    if name in ("rsqrt", "reciprocal"):
        if x.least <= _TINY:
            return ANY
        return Range(_at(function, x.most, 0.0), _at(function, x.least, math.inf))
    if name in _LIMITS:
        low, high = _LIMITS[name]
        return Range(_at(function, x.least, low), _at(function, x.most, high))
    return ANY


def _at(function: Callable[[float], float], x: float, otherwise: float) -> float:
    """The function's value, or `otherwise` where it has none."""
    if not math.isfinite(x):
        return otherwise
    try:
        return float(function(x))
    except (ValueError, OverflowError, ZeroDivisionError):
        return otherwise


def is_finite_at(name: str, x: Range) -> bool:
    """Whether a function is finite for every finite number in `x`."""
    match name:
        case "exp" | "expm1":
            return x.most <= _EXPONENT
        case "log":
            return x.least > _TINY
        case "log1p":
            return x.least > -1.0 + 1e-6
        case "sqrt":
            return x.least >= 0.0
        case "rsqrt":
            return x.least > _TINY
        case "reciprocal":
            return x.has_sign
    return True


# ---------------------------------------------------------------- functions of two numbers


def combined(name: str, a: Range, b: Range) -> Range:
    """The range of `a + b` and so on."""
    match name:
        case "add":
            return Range(a.least + b.least, a.most + b.most)
        case "sub":
            return Range(a.least - b.most, a.most - b.least)
        case "mul":
            return _product(a, b)
        case "div" if b.has_sign:
            return _product(a, Range(*sorted((_inverse(b.least), _inverse(b.most)))))
        case "pow" if b.least == b.most and b.least in (2.0, 4.0):
            return _product(Range(0.0, math.inf), Range(0.0, math.inf))
        case "maximum":
            return Range(max(a.least, b.least), max(a.most, b.most))
        case "minimum":
            return Range(min(a.least, b.least), min(a.most, b.most))
    return ANY


def _inverse(x: float) -> float:
    return 0.0 if math.isinf(x) else 1.0 / x


def _product(a: Range, b: Range) -> Range:
    ends = [0.0 if 0.0 in (x, y) else x * y for x in (a.least, a.most) for y in (b.least, b.most)]
    return Range(min(ends), max(ends))
