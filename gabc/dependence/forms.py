"""Linear forms over the axes of a value.

Axes are named from the right, -1 being the last, so that broadcasting keeps their names; 0 is the
step of a scan; positive names are axes that an operation is about to sum over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gabc.dependence.bounds import ONE, ZERO, Bound

Form: TypeAlias = "tuple[tuple[int, Bound], ...]"
"""(axis, coefficient) in rising order of axes, no coefficient zero."""

STEP = 0
"""The position of a scan's step, or of the first position of its chunk."""

CONSTANT: Form = ()


def form(coefficients: Mapping[int, Bound]) -> Form:
    return tuple(sorted((axis, c) for axis, c in coefficients.items() if c.value != 0))


def axis_form(axis: int, coefficient: Bound = ONE) -> Form:
    return ((axis, coefficient),)


def coefficient_of(linear: Form, axis: int) -> Bound:
    for name, coefficient in linear:
        if name == axis:
            return coefficient
    return ZERO


def without(linear: Form, axis: int) -> Form:
    return tuple(part for part in linear if part[0] != axis)


def combined(left: Form, right: Form, factor: Bound = ONE) -> Form:
    """`left + factor * right`."""
    if not right or factor.value == 0:
        return left
    if not left:
        return scaled(right, factor)
    coefficients = dict(left)
    for axis, coefficient in right:
        coefficients[axis] = coefficients.get(axis, ZERO) + factor * coefficient
    return form(coefficients)


def scaled(linear: Form, factor: Bound) -> Form:
    if factor is ONE:
        return linear
    if factor.value == 0:
        return CONSTANT
    return tuple((axis, factor * coefficient) for axis, coefficient in linear)


LARGEST = 2**20
FINEST = 2**10


def _is_coarse(number: Bound) -> bool:
    value = number.value
    if isinstance(value, float):
        return False
    return -LARGEST <= value <= LARGEST and value.denominator <= FINEST


@dataclass(frozen=True, slots=True)
class Line:
    """`linear + constant`."""

    linear: Form
    constant: Bound = ZERO

    @property
    def is_representable(self) -> bool:
        """Whether floating point tells its values at different indices apart.

        `positions() + 1e17` is one number for many positions. A whole number that no index changes
        may be of any size.
        """
        if not self.linear and self.constant.is_integral:
            return True
        return _is_coarse(self.constant) and all(_is_coarse(factor) for _, factor in self.linear)

    def plus(self, other: Line, factor: Bound = ONE) -> Line:
        return Line(
            combined(self.linear, other.linear, factor), self.constant + factor * other.constant
        )

    def times(self, factor: Bound) -> Line:
        return Line(scaled(self.linear, factor), self.constant * factor)
