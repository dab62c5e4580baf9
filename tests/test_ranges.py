"""Ranges of values against numbers drawn from them, and what they spare designs from."""

from __future__ import annotations

import math
import random

import pytest
from causality_ports import block

from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Verdict
from gabc.dependence.ranges import Range, combined, image, is_finite_at
from gabc.ops.arithmetic import PRIMITIVES as ARITHMETIC
from gabc.ops.pointwise import _ON_NUMBERS

SLACK = 1e-12
RANGES = [
    Range(), Range(0.0), Range(-2.0, 3.0), Range(0.5, 7.0), Range(-4.0, -0.25), Range(0.0, 1.0),
    Range(most=-1.0), Range(most=2.0), Range(1e-3), Range(2.0, 2.0),
]  # fmt: skip


def drawn(x: Range, rng: random.Random) -> float:
    """A number of the range, its ends among them."""
    low, high = max(x.least, -30.0), min(x.most, 30.0)
    return rng.choice([low, high, rng.uniform(low, high), rng.uniform(low, high)])


@pytest.mark.parametrize("name", _ON_NUMBERS)
def test_functions_of_one_number(name: str) -> None:
    rng, function, tried = random.Random(name), _ON_NUMBERS[name], 0
    for x in RANGES:
        found = image(name, function, x)
        for _ in range(40):
            number = drawn(x, rng)
            try:
                y = float(function(number))
            except (ValueError, ZeroDivisionError):
                assert not is_finite_at(name, x), (name, x, number)
                continue
            tried += 1
            slack = SLACK * max(1.0, abs(y))
            assert found.least - slack <= y <= found.most + slack, (name, x, number)
    assert tried > 50


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
def test_functions_of_two_numbers(name: str) -> None:
    rng = random.Random(name)
    functions = {p.name: p._apply for p in ARITHMETIC if hasattr(p, "_apply")}
    function = {**functions, "maximum": max, "minimum": min}[name]
    tried = 0
    for a in RANGES:
        for b in RANGES:
            found = combined(name, a, b)
            for _ in range(20):
                try:
                    y = function(drawn(a, rng), drawn(b, rng))
                except (ZeroDivisionError, OverflowError):
                    continue
                if isinstance(y, complex) or not math.isfinite(y):
                    continue
                tried += 1
                slack = SLACK * max(1.0, abs(y))
                assert found.least - slack <= y <= found.most + slack, (name, a, b)
    assert tried > 500


HEAD = "past = positions()[None, :] <= positions()[:, None]\nk = sum(X, axis=-1)[:, None, :]\n"

FINITE = {
    "a norm by hand": "w = k * rsqrt(mean(square(X), axis=-1, keep=true) + 1e-5)[:, None, :, 0]",
    "a divisor above one": "w = k / (1.0 + abs(k))",
    "the exponential of a bounded value": "w = exp(2.0 * tanh(k))",
    "the logarithm of what is positive": "w = log(1e-6 + square(k))",
    "a root of squares": "w = sqrt(square(k))",
    "a clamped divisor": "w = 1.0 / clamp(k, lo=0.1)",
    "a larger one": "w = 1.0 / maximum(abs(k), 0.5)",
    "softmax of what is finite": "w = log(0.01 + softmax(k, axis=1))",
}
INFINITE = {
    "a norm without eps": "w = k * rsqrt(mean(square(X), axis=-1, keep=true))[:, None, :, 0]",
    "a divisor that may vanish": "w = k / (1.0 + k)",
    "the exponential of anything": "w = exp(k)",
    "the logarithm of a square": "w = log(square(k))",
    "the root of a difference": "w = sqrt(square(k) - 1.0)",
    "a divisor clamped from above": "w = 1.0 / clamp(k, hi=0.1)",
    "shifted in, zero comes back": "w = 1.0 / shift(1.0 + square(X), 1)[:, None, :, 0]",
}
TAIL = "\nreturn X + sum(past * w, axis=-1)[..., None]"


@pytest.mark.parametrize("name", FINITE)
def test_a_mask_may_multiply_what_is_finite(name: str) -> None:
    assert prove(block(HEAD + FINITE[name] + TAIL)).are_proved


@pytest.mark.parametrize("name", INFINITE)
def test_a_mask_may_not_multiply_what_may_be_infinite(name: str) -> None:
    verdict = prove(block(HEAD + INFINITE[name] + TAIL)).causality.verdict
    assert verdict is not Verdict.PROVED
