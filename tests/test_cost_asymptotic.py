"""Classes of growth: which polynomial is in which, and which is the smaller."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gabc.check.cost import Asymptotic, value_at
from gabc.dims import Dim
from gabc.graph.types import L
from gabc.ops.cost import LOG_LENGTH

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
