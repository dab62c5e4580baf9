"""Zones, legs and bounds against enumeration over small axes."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from gabc.dependence.bounds import INFINITY, Bound, larger, number, sized
from gabc.dependence.domain import (
    Axis,
    Constraint,
    Extent,
    Leg,
    Region,
    Zone,
)
from gabc.dependence.forms import Form, Line, form
from gabc.dependence.moves import joining, moved_zone, substitution
from gabc.dependence.sums import Act, eliminated
from gabc.dependence.zones import at_most, eliminate, intersection, union
from gabc.dims import Dim
from gabc.syntax.source import Source, Span

SIZE = 5
NAMES = (-3, -2, -1)
AXIS = Axis(Extent.STATIC, number(SIZE))
LONG = Axis(Extent.TIME, None, number(1))
ACT = Act("sum", Span(Source("x.gab", "sum"), 0, 3))
Index = dict[int, int]


def value(linear: Form, index: Index) -> Fraction:
    return sum((Fraction(c.value) * index[axis] for axis, c in linear), Fraction(0))


def inside(zone: Zone, index: Index) -> bool:
    return any(
        all(c.lo.value <= value(c.linear, index) <= c.hi.value for c in region) for region in zone
    )


def indices(names: tuple[int, ...]) -> list[Index]:
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(range(SIZE), repeat=len(names))
    ]


def random_form(rng: random.Random) -> Form:
    while True:
        found = form({name: number(rng.randint(-2, 2)) for name in NAMES})
        if found:
            return found


def random_zone(rng: random.Random) -> Zone:
    regions: list[Region] = []
    for _ in range(rng.randint(1, 2)):
        constraints = []
        for _ in range(rng.randint(1, 3)):
            lo = number(rng.randint(-4, 2)) if rng.random() < 0.6 else -INFINITY
            hi = number(rng.randint(-2, 4)) if rng.random() < 0.8 else INFINITY
            constraints.append(Constraint(random_form(rng), lo, hi))
        regions.append(tuple(constraints))
    return tuple(regions)


@pytest.mark.parametrize("seed", range(120))
def test_elimination_contains_the_projection(seed: int) -> None:
    rng = random.Random(seed)
    zone = random_zone(rng)
    rest = eliminate(zone, -1, AXIS)
    for index in indices((-3, -2)):
        if any(inside(zone, {**index, -1: i}) for i in range(SIZE)):
            assert inside(rest, index)


@pytest.mark.parametrize("seed", range(120))
def test_a_summed_leg_covers_what_is_read(seed: int) -> None:
    """Every position read through an index in the zone lies in one of the legs of the sum."""
    rng = random.Random(seed)
    zone = random_zone(rng)
    lo = rng.randint(-3, 2)
    leg = Leg(random_form(rng), number(lo), number(lo + rng.randint(0, 3)))
    legs = eliminated([leg], zone, -1, rng.choice([AXIS, LONG]), ACT)
    for index in indices((-3, -2)):
        for i in range(SIZE):
            whole = {**index, -1: i}
            if not inside(zone, whole):
                continue
            for read in (leg.lo.value, leg.hi.value):
                position = value(leg.linear, whole) + Fraction(read)
                assert any(
                    found.lo.value <= position - value(found.linear, index) <= found.hi.value
                    for found in legs
                )


@pytest.mark.parametrize("seed", range(60))
def test_union_and_intersection(seed: int) -> None:
    rng = random.Random(seed)
    a, b = random_zone(rng), random_zone(rng)
    both, either = intersection(a, b), union([a, b])
    for index in indices(NAMES):
        if inside(a, index) and inside(b, index):
            assert inside(both, index)
        if inside(a, index) or inside(b, index):
            assert inside(either, index)


@pytest.mark.parametrize("seed", range(60))
def test_comparisons_of_lines(seed: int) -> None:
    rng = random.Random(seed)
    scale = rng.choice([1, 2, 3])
    lines = [
        Line(
            form({name: number(Fraction(rng.randint(-3, 3), scale)) for name in NAMES}),
            number(Fraction(rng.randint(-4, 4), scale)),
        )
        for _ in range(2)
    ]
    for strict in (False, True):
        zone = at_most(lines[0], lines[1], strict, False, None)
        for index in indices(NAMES):
            left, right = (
                value(line.linear, index) + Fraction(line.constant.value) for line in lines
            )
            if left < right or (left == right and not strict):
                assert inside(zone, index)


@pytest.mark.parametrize("seed", range(60))
def test_moved_zones(seed: int) -> None:
    """Axis -1 of size 6 is cut into (n, c) of 2 and 3, and joined again."""
    rng = random.Random(seed)
    zone = random_zone(rng)
    size = number(3)
    cut = substitution({-1: Line(form({1: size, 2: number(1)}))})
    back = joining(1, 2, size, -1, {})
    apart = moved_zone(zone, cut)
    again = moved_zone(apart, back)
    for index in indices((-3, -2)):
        for n, c in itertools.product(range(2), range(3)):
            whole = {**index, -1: 3 * n + c}
            if inside(zone, whole):
                assert inside(apart, {**index, 1: n, 2: c})
                assert inside(again, whole)


def test_joining_without_the_inner_axis_widens() -> None:
    linear, below, above = joining(1, 2, number(4), -1, {})(form({1: number(4)}))
    assert linear == form({-1: number(1)})
    assert (below.value, above.value) == (-3, 0)


def test_larger_says_when_only_the_numbers_decide() -> None:
    window, size = sized(4, Dim.symbol("window")), sized(6, Dim.symbol("size"))
    assert larger(window, size) == Bound(6, Dim.symbol("size"), True)
    assert larger(window, window + number(1)) == window + number(1)
    assert not larger(window, number(1)).at_scale
    assert larger(window, number(5)).at_scale


def test_arithmetic_with_infinity() -> None:
    assert (INFINITY - number(3)) == INFINITY
    assert (-INFINITY * number(-2)) == INFINITY
    assert (number(0) * INFINITY) == number(0)
    assert (number(1) / number(3) * number(3)) == number(1)
