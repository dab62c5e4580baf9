"""Dims: the algebra against exact evaluation, texts, and facts on the cases designs contain."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gabc.dims import ContradictionError, Dim, Facts, Verdict

B, C, D, G, H, K, L, N = (Dim.symbol(name) for name in "BCDGHKLN")
const = Dim.const
apply = Dim.apply

NAMES = "abc"
SIZES = st.fixed_dictionaries({name: st.integers(1, 30) for name in NAMES})
SYMBOLS = st.sampled_from(NAMES).map(Dim.symbol)
NUMBERS = st.one_of(st.integers(-6, 6), st.fractions(-4, 4, max_denominator=6)).map(Dim.const)
# Divisors and steps are sizes: sums and products of symbols and positive numbers.
DIVISORS = st.recursive(
    st.one_of(SYMBOLS, st.integers(1, 8).map(Dim.const)),
    lambda inner: st.builds(lambda a, b, add: a + b if add else a * b, inner, inner, st.booleans()),
    max_leaves=3,
)
FEW = settings(max_examples=50)
BINARY = ("floordiv", "mod", "ceil_to", "div")
UNARY = ("floor", "ceil", "round")


def _grow(inner: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
    return st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(lambda a, b: a / b, inner, DIVISORS),
        st.builds(apply, st.sampled_from(UNARY), inner),
        st.builds(apply, st.sampled_from(BINARY), inner, DIVISORS),
        st.builds(apply, st.sampled_from(("min", "max")), inner, inner),
    )


DIMS = st.recursive(st.one_of(SYMBOLS, NUMBERS), _grow, max_leaves=6)


def python_value(dim: Dim, sizes: dict[str, int]) -> object:
    return eval(dim.python(), {"__builtins__": {"min": min, "max": max}}, dict(sizes))


# -- algebra ----------------------------------------------------------------------


@given(DIMS, DIMS, SIZES)
@FEW
def test_operators_agree_with_evaluation(a: Dim, b: Dim, sizes: dict[str, int]) -> None:
    x, y = a.evaluate(sizes), b.evaluate(sizes)
    assert (a + b).evaluate(sizes) == x + y
    assert (a - b).evaluate(sizes) == x - y
    assert (a * b).evaluate(sizes) == x * y
    assert (-a).evaluate(sizes) == -x
    assert (a**2).evaluate(sizes) == x * x
    assert apply("min", a, b).evaluate(sizes) == min(x, y)
    assert apply("max", a, b).evaluate(sizes) == max(x, y)


@given(DIMS, DIVISORS, SIZES)
@FEW
def test_division_and_rounding_agree_with_evaluation(a: Dim, b: Dim, sizes: dict[str, int]) -> None:
    x, y = a.evaluate(sizes), b.evaluate(sizes)
    assert (a / b).evaluate(sizes) == x / y
    assert apply("floordiv", a, b).evaluate(sizes) == x // y
    assert apply("mod", a, b).evaluate(sizes) == x % y
    assert apply("ceil_to", a, b).evaluate(sizes) == -(-x // y) * y
    assert apply("round", a / b).evaluate(sizes) == round(x / y)


@given(DIMS, DIMS, DIMS)
@FEW
def test_ring_laws_are_structural(a: Dim, b: Dim, c: Dim) -> None:
    assert a + b == b + a
    assert hash(a + b) == hash(b + a)
    assert (a + b) + c == a + (b + c)
    assert a * (b + c) == a * b + a * c
    assert (a - a).is_zero


@given(DIVISORS, DIVISORS, DIVISORS)
@FEW
def test_exact_quotients_are_found(a: Dim, b: Dim, c: Dim) -> None:
    assert (a * b) / b == a
    assert Facts().equal((a * c) / (b * c), a / b).proved


@given(DIMS, SIZES)
@settings(max_examples=120)
@example(apply("ceil_to", D * Fraction(8, 3), const(128)), {"D": 768})
def test_python_is_exact_where_the_dim_is_an_integer(dim: Dim, sizes: dict[str, int]) -> None:
    value = dim.evaluate(sizes)
    assume(value.denominator == 1)
    assert python_value(dim, sizes) == value


@given(DIMS, SIZES)
@settings(max_examples=120)
def test_obligations_suffice(dim: Dim, sizes: dict[str, int]) -> None:
    for n, d in dim.denominators():
        assume((n.evaluate(sizes) / d.evaluate(sizes)).denominator == 1)
    assert dim.evaluate(sizes).denominator == 1


@given(st.lists(SYMBOLS, min_size=1, max_size=3), DIVISORS, NUMBERS, SIZES)
@FEW
def test_obligations_of_a_fraction_are_exact(
    above: list[Dim], below: Dim, shift: Dim, sizes: dict[str, int]
) -> None:
    dim = sum(above, Dim({})) / below + shift
    held = [(n.evaluate(sizes) / d.evaluate(sizes)).denominator == 1 for n, d in dim.denominators()]
    assert all(held) == (dim.evaluate(sizes).denominator == 1)


@given(DIMS, DIMS, SIZES)
@FEW
def test_substitution_commutes_with_evaluation(dim: Dim, new: Dim, sizes: dict[str, int]) -> None:
    value = new.evaluate(sizes)
    assume(value.denominator == 1 and value >= 1)
    replaced = dim.substitute({"a": new})
    assert replaced.evaluate(sizes) == dim.evaluate({**sizes, "a": int(value)})
    assert replaced.symbols() <= (dim.symbols() - {"a"}) | new.symbols()


@given(DIMS, SIZES)
@FEW
def test_texts_read_back(dim: Dim, sizes: dict[str, int]) -> None:
    # The text is arithmetic in Python's grammar: over fractions it has the dim's value.
    exact = re.sub(r"\b(\d+)\b", r"Fraction(\1)", str(dim))
    scope = {name: Fraction(size) for name, size in sizes.items()}
    assert eval(exact, {"__builtins__": {}, **TEXT_FUNCTIONS}, scope) == dim.evaluate(sizes)


TEXT_FUNCTIONS: dict[str, object] = {
    "Fraction": Fraction,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "min": min,
    "max": max,
    "ceil_to": lambda x, m: -(-x // m) * m,
}

LC = apply("floordiv", L, C)


@pytest.mark.parametrize(
    ("dim", "text", "python"),
    [
        (H * K, "H*K", "H * K"),
        (D / H, "D/H", "D // H"),
        (D / (2 * H * K), "D/(2*H*K)", "D // (2 * H * K)"),
        (3 * D / 2 + 1, "3*D/2 + 1", "3 * D // 2 + 1"),
        (1 - L, "1 - L", "1 - L"),
        (K**2 - 1, "K**2 - 1", "K ** 2 - 1"),
        (D / (H + K), "D/(H + K)", "D // (H + K)"),
        ((H * H - K * K) / (H - K), "H + K", "H + K"),
        (2 * LC, "2*(L // C)", "2 * (L // C)"),
        (L - LC * C, "L - C*(L // C)", "L - C * (L // C)"),
        (apply("mod", L, C) + 1, "L % C + 1", "L % C + 1"),
        (apply("ceil", L / C), "ceil(L/C)", "-(-L // C)"),
        (apply("floor", 8 * D / 3), "8*D // 3", "8 * D // 3"),
        (apply("ceil_to", 8 * D / 3, const(128)), "ceil_to(8*D/3, 128)", "-(-D // 48) * 128"),
        (apply("min", D / H, const(4)), "min(D/H, 4)", "min(4 * H, D) // H"),
        (apply("min", L, L + 1), "L", "L"),
        (apply("floordiv", 2 * H * K, H), "2*K", "2 * K"),
        (apply("mod", 6 * H, 3 * H), "0", "0"),
        (apply("floor", L / C + 2), "L // C + 2", "L // C + 2"),
        (const(Fraction(1, 2)), "1/2", "1 // 2"),
    ],
)
def test_texts(dim: Dim, text: str, python: str) -> None:
    assert str(dim) == text
    assert dim.python() == python


def test_inspection() -> None:
    assert const(7).as_int() == 7
    assert const(Fraction(1, 2)).as_int() is None
    assert D.as_int() is None
    assert (D / D).is_one
    assert not D.is_one
    assert apply("floordiv", L, C + H).symbols() == {"L", "C", "H"}
    assert (3 * D / 2 + D / 2).denominators() == []
    assert (3 * D / 2 + 1).denominators() == [(D, const(2))]
    assert apply("min", D / H, const(4)).denominators() == [(D, H)]
    assert apply("ceil_to", D / 3, const(8)).denominators() == []
    with pytest.raises(KeyError):
        (D * H).evaluate({"D": 1})


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown dim function 'sqrt'.*ceil_to"):
        apply("sqrt", D)
    with pytest.raises(ValueError, match="mod takes 2"):
        apply("mod", D)
    with pytest.raises(ZeroDivisionError):
        D / const(0)


# -- facts ----------------------------------------------------------------------


def heads() -> Facts:
    """D = H*K with H = G*N: the facts of grouped attention."""
    facts = Facts()
    facts.assume_equal(K, D / H)
    facts.assume_divides(G, H)
    return facts


def assert_refuted(verdict: Verdict, a: Dim, b: Dim) -> None:
    assert verdict.refuted
    assert verdict.counterexample is not None
    assert a.evaluate(verdict.counterexample) != b.evaluate(verdict.counterexample)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (D / H, K),
        (H * K, D),
        (3 * H * K, 3 * D),
        (D / G, H / G * K),
        (D * D, H * K * D),
        (H * K + D, 2 * D),
        (apply("floordiv", D, H), K),
        (apply("mod", D, G), const(0)),
        (apply("mod", L, C), L - C * LC),
        (apply("ceil", L / C), apply("floordiv", L + C - 1, C)),
        (apply("ceil_to", L, C), C * apply("ceil", L / C)),
        (D / (L + 1) * (L + 1), H * K),
        (apply("min", D, L), apply("min", L, H * K)),
    ],
)
def test_proved(a: Dim, b: Dim) -> None:
    assert heads().equal(a, b).proved


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (H, K),
        (H, G),
        (D, const(512)),
        (2 * H * K, D + 1),
        (apply("min", D, const(128)), D),
        (apply("ceil_to", D, const(8)), D),
        (LC * C, L),
        (D / H, H),
        (D, const(0)),
    ],
)
def test_refuted(a: Dim, b: Dim) -> None:
    verdict = heads().equal(a, b)
    assert_refuted(verdict, a, b)
    sizes = {"D": 1, "H": 1, "G": 1, "K": 1, **(verdict.counterexample or {})}
    if {"D", "H", "K"} <= (verdict.counterexample or {}).keys():
        assert sizes["D"] == sizes["H"] * sizes["K"]
        assert sizes["H"] % sizes["G"] == 0


def test_unrelated_symbols_are_nominal() -> None:
    assert Facts().equal(H, K).counterexample == {"H": 2, "K": 3}
    assert heads().equal(H, K).counterexample == {"D": 30, "G": 2, "H": 10, "K": 3}


def test_divisibility() -> None:
    facts = heads()
    assert facts.divides(H, D).proved
    assert facts.divides(G, D).proved
    assert facts.divides(G * K, D).proved
    assert facts.divides(const(128), apply("ceil_to", 8 * D / 3, const(128))).proved
    assert facts.divides(const(2), D).refuted
    assert facts.divides(K * K, D).refuted
    facts.assume_divides(const(2), K)
    assert facts.divides(const(2), D).proved
    assert facts.divides(2 * G, D).proved
    assert facts.normal(D / (2 * H)) == K / 2
    odd = facts.divides(const(4), K)
    assert odd.counterexample is not None
    assert odd.counterexample["K"] % 4 == 2


def test_divisibility_follows_from_integrality() -> None:
    facts = Facts()
    facts.assume_equal(3 * H, 2 * K)
    assert facts.divides(const(3), K).proved
    assert facts.divides(const(2), H).proved
    facts.assume_divides(const(4), D * D)
    assert facts.divides(const(4), 3 * D * D).proved
    assert not facts.divides(const(4), D).proved


def test_quotients_may_be_zero_or_negative() -> None:
    facts = Facts()
    facts.assume_divides(const(2), L - 1)
    assert facts.divides(const(2), L + 1).proved
    facts.assume_divides(C, H - K)
    assert facts.divides(C, 3 * K - 3 * H).proved
    facts.assume_equal(L, const(1))
    facts.assume_equal(H, K)
    facts.assume_equal(G, H * K - 1)
    facts.assume_divides(H, G * N)
    assert facts.divides(H, N).proved


def test_a_remainder_of_zero_is_divisibility() -> None:
    facts = Facts()
    facts.assume_equal(apply("mod", H, G), const(0))
    assert facts.divides(G, H).proved
    assert facts.equal(apply("floordiv", H, G) * G, H).proved


def test_numerals_enter_by_their_primes() -> None:
    facts = Facts()
    facts.assume_equal(6 * K, 2 * H)
    assert facts.equal(3 * K, H).proved
    facts.assume_equal(H, const(24))
    assert facts.equal(K, const(8)).proved


def test_positive_roots_are_unique() -> None:
    facts = Facts()
    facts.assume_equal(4 * H**2, K**2)
    assert facts.equal(2 * H, K).proved
    facts.assume_equal(C**2, G**3)
    assert facts.equal(C**4, G**6).proved
    assert facts.equal(C**3, C * G**3).proved
    assert not facts.equal(C, G).proved
    facts.assume_equal(C, const(8))
    assert facts.equal(G, const(4)).proved


def test_additive_facts_substitute_into_products() -> None:
    facts = Facts()
    facts.assume_equal(L, N * C)
    facts.assume_equal(L, B + 1)
    assert facts.equal(N * C - 1, B).proved
    facts.assume_equal(H * K + G * H, D * N + D)
    assert facts.equal(H * (K + G) / (N + 1), D).proved


def test_factors_that_may_be_zero_are_not_cancelled() -> None:
    facts = Facts()
    rest = apply("mod", D, H)
    facts.assume_equal(rest * K, rest * G)
    assert facts.equal(rest * K, rest * G).proved
    verdict = facts.equal(K, G)
    assert_refuted(verdict, K, G)


def test_an_unsolvable_equation_still_proves_itself() -> None:
    facts = Facts()
    facts.assume_equal(H**2 + K**2, G**2)
    assert facts.equal(3 * G**2, 3 * H**2 + 3 * K**2).proved
    assert not facts.equal(H + K, G).proved


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (H, const(9)),
        (2 * K, const(9)),
        (H, -K),
        (D, const(0)),
        (D / H, D / 7),
        (const(2), const(3)),
    ],
)
def test_contradictions_change_nothing(a: Dim, b: Dim) -> None:
    facts = Facts()
    facts.assume_equal(H, const(8))
    with pytest.raises(ContradictionError, match="contradicts what is known"):
        facts.assume_equal(a, b)
    assert facts.normal(H) == const(8)
    assert facts.normal(K * D) == K * D


def test_contradictory_division() -> None:
    facts = Facts()
    facts.assume_equal(D, const(100))
    with pytest.raises(ContradictionError, match=r"8 divides D .* the quotient would be 25/2"):
        facts.assume_divides(const(8), D)


def test_copies_are_independent() -> None:
    facts = heads()
    other = facts.copy()
    other.assume_equal(H, const(8))
    assert other.equal(D, 8 * K).proved
    assert facts.equal(D, 8 * K).refuted


def test_verdicts_are_not_booleans() -> None:
    with pytest.raises(TypeError, match="three values"):
        bool(heads().equal(H, K))


def test_the_same_under_every_hash_seed() -> None:
    program = """if True:
        from gabc.dims import Dim, Facts
        B, C, D, G, H, K, L = map(Dim.symbol, "BCDGHKL")
        facts = Facts()
        for a, b in [(D, H * K), (H, G * C), (L, C * B + K), (G * 3, 2 * B)]:
            facts.assume_equal(a, b)
        facts.assume_divides(Dim.const(2), K)
        x = Dim.apply("min", D / C, L + K, B * 3)
        print(x, x.python(), facts.normal(x), facts.equal(x, L), facts.divides(G, L))
    """
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
