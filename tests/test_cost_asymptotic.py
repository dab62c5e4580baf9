"""Classes of growth: which polynomial is in which, and which is the smaller."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import log2
from pathlib import Path

import pytest
from designs import EXAMPLES, example, stack_of

from gabc.check.cost import Asymptotic, cost, per_token, value_at
from gabc.dims import Dim
from gabc.graph.types import L
from gabc.ops.cost import LOG_LENGTH
from gabc.passes import optimise

K = Dim.symbol("K")
CLASSES = ["O(1)", "O(log L)", "O(L)", "O(L log L)", "O(L^2)", "O(L^2 log L)", "O(L^3)"]


def test_the_order_is_that_of_growth() -> None:
    classes = [Asymptotic.parse(text) for text in CLASSES]
    assert all(slow < fast for slow, fast in pairwise(classes))
    assert [str(asymptotic) for asymptotic in classes] == CLASSES


@pytest.mark.parametrize(
    ("written", "meant"),
    [("O(L*log(L))", "O(L log L)"), ("O( 1 )", "O(1)"), ("O(L**2)", "O(L^2)")],
)
def test_other_spellings(written: str, meant: str) -> None:
    assert str(Asymptotic.parse(written)) == meant


@pytest.mark.parametrize("text", ["O()", "O(n)", "L", "O(2)", "O(L) ", "O(L^-1)", ""])
def test_what_is_no_class_is_refused(text: str) -> None:
    if text.strip() == "O(L)":
        assert str(Asymptotic.parse(text)) == "O(L)"
    else:
        with pytest.raises(ValueError, match="class of growth"):
            Asymptotic.parse(text)


def applied(fn: str, *args: Dim | int) -> Dim:
    return Dim.apply(fn, *(Dim.const(arg) if isinstance(arg, int) else arg for arg in args))


DIMS = {
    "zero": (Dim.const(0), "O(1)"),
    "other sizes are constants": (K * K * 1000 + 5, "O(1)"),
    "the largest term decides": (3 * L * L + 1000 * L * K, "O(L^2)"),
    "shares of a token": (5 + K / L, "O(1)"),
    "logarithm": (L * LOG_LENGTH * K + L, "O(L log L)"),
    "minimum": (L * applied("min", K, L), "O(L)"),
    "maximum": (applied("max", K, L), "O(L)"),
    "blocks": (applied("ceil", L / 64), "O(L)"),
    "blocks of bounded size": (applied("ceil", L / applied("min", L, 64)) * K, "O(L)"),
    "floor of a share": (applied("floordiv", K, L), "O(1)"),
    "remainder": (applied("mod", L, 64), "O(1)"),
}


@pytest.mark.parametrize("name", DIMS)
def test_the_class_of_a_polynomial(name: str) -> None:
    dim, text = DIMS[name]
    assert str(Asymptotic.of(dim)) == text


@pytest.mark.parametrize("name", DIMS)
def test_the_class_is_how_the_values_grow(name: str) -> None:
    """Doubling a large L multiplies the value by 2 to the power, and a little for logarithms."""
    dim, _ = DIMS[name]
    found = Asymptotic.of(dim)
    sizes = {"K": K.evaluate({"K": 7})}
    small, large = (value_at(dim, length, sizes=sizes) for length in (1 << 40, 1 << 41))
    if small:
        expected = 2.0 ** float(found.power) * (41 / 40) ** found.logs
        assert large / small == pytest.approx(expected, rel=1e-3)


START = 10_000
"""The logarithm of a length beside which the constants of a logarithm are small."""


def growth(dim: Dim, factor: int) -> float:
    """How many times as large the value is at a length that is `factor` times as large."""
    small, large = (
        dim.evaluate({"L": Fraction(length), "B": Fraction(1), "log2(L)": Fraction(log2(length))})
        for length in (1 << START, factor << START)
    )
    return float(large / small)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.gab")), ids=lambda path: path.stem)
def test_the_class_of_a_design_is_how_its_cost_grows(path: Path) -> None:
    """From L to 2L and to 4L: of the time of a token, and of the state of a decoder."""
    total = cost(optimise(example(path.stem, "64x2")), vocab_size=8).total
    for dim in (per_token(total.needed), total.state):
        found = Asymptotic.of(dim)
        for factor in (2, 4):
            logs = (START + log2(factor)) / START
            expected = factor ** float(found.power) * logs**found.logs
            assert growth(dim, factor) == pytest.approx(expected, rel=3e-6)


SINKS = """
gab Sinks

unit Sinks() {{
    param sinks: [2] = zeros()
    forward(X) {{
        q = rearrange(X, "b l (h k) -> b l h k", h=2)
        return rearrange(attend(q, q, q, sinks=sinks{options}), "b l h k -> b l (h k)")
    }}
}}
"""


@pytest.mark.parametrize(("options", "text"), [("", "O(L)"), (", window=64", "O(1)")])
def test_sinks_cost_a_position_and_no_class(options: str, text: str) -> None:
    """In a window a query has its keys and the sink."""
    stack = stack_of(SINKS.format(options=options), "64x1")
    total = cost(optimise(stack), vocab_size=8).total
    assert str(Asymptotic.of(per_token(total.needed))) == text
    skipped = 0 if not options else 2 * 1001 * (1000 - 64) * (4 * 40 + 5)  # 32 + 2 features, to 40
    assert value_at(total.skipped, 1000) == skipped
