"""The operators."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from gabc.graph.static import Apply, Literal, Ref
from gabc.graph.types import TensorType

from .harness import Given, T, bind, check, dims, lowered, refusal, result_types

X = T("B L D")
POSITIVE = T("B L D", lo=0.3, hi=3.0)
ROW = T("D")
COLUMN = T("B L 1")
INTS = T("B L", kind="int", lo=1, hi=9)
MORE_INTS = T("L", kind="int", lo=1, hi=5)
MASK = T("B L D", kind="bool")
Args = Mapping[str, Given]

EXAMPLES: dict[str, list[Args]] = {
    "add": [
        {"a": X, "b": ROW},
        {"a": X, "b": 1.5},
        {"a": 2, "b": INTS},
        {"a": INTS, "b": T("B 1")},
    ],
    "sub": [{"a": X, "b": COLUMN}, {"a": 1.0, "b": X}, {"a": INTS, "b": MORE_INTS}],
    "mul": [{"a": X, "b": ROW}, {"a": X, "b": -0.5}, {"a": X, "b": MASK}, {"a": MASK, "b": X}],
    "div": [{"a": X, "b": POSITIVE}, {"a": 1, "b": POSITIVE}, {"a": INTS, "b": INTS}],
    "pow": [
        {"a": POSITIVE, "b": X},
        {"a": 10000.0, "b": X},
        {"a": X, "b": 2},
        {"a": X, "b": -3},
        {"a": INTS, "b": 2},
    ],
    "mod": [{"a": X, "b": 0.7}, {"a": X, "b": POSITIVE}, {"a": INTS, "b": MORE_INTS}],
    "floordiv": [
        {"a": X, "b": 0.7},
        {"a": 2.0, "b": POSITIVE},
        {"a": INTS, "b": 3},
        {"a": 9, "b": INTS},
    ],
    "eq": [{"a": INTS, "b": MORE_INTS}, {"a": MASK, "b": MASK}, {"a": INTS, "b": 3}],
    "ne": [{"a": INTS, "b": MORE_INTS}, {"a": MASK, "b": MASK}],
    "lt": [{"a": X, "b": ROW}, {"a": 0.5, "b": X}, {"a": INTS, "b": 4}],
    "le": [{"a": X, "b": ROW}, {"a": INTS, "b": MORE_INTS}],
    "gt": [{"a": X, "b": ROW}, {"a": X, "b": 0.0}],
    "ge": [{"a": X, "b": ROW}, {"a": INTS, "b": MORE_INTS}],
    "logical_and": [{"a": MASK, "b": T("D", kind="bool")}, {"a": MASK, "b": Literal(True)}],
    "logical_or": [{"a": MASK, "b": T("D", kind="bool")}],
    "neg": [{"a": X}, {"a": INTS}],
    "logical_not": [{"a": MASK}],
}

CASES = [(name, args) for name, cases in EXAMPLES.items() for args in cases]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_rules_agree(name: str, args: Args) -> None:
    check(name, args)


def test_mod_has_the_sign_of_the_divisor() -> None:
    values = T("N", kind="int", values=torch.tensor([-7, 0, 7]))
    assert check("mod", {"a": values, "b": 3})[0].tolist() == [2, 0, 1]
    assert check("mod", {"a": values, "b": -3})[0].tolist() == [-1, 0, -2]
    assert check("floordiv", {"a": values, "b": 3})[0].tolist() == [-3, 0, 2]


def _text(name: str, args: Args) -> str:
    bound = bind(name, args)
    return lowered(bound, result_types(bound), loose=True)


def test_brackets_stand_only_where_needed() -> None:
    scale = Apply("+", (Ref("K"), Literal(1)))
    assert _text("mul", {"a": X, "b": scale}) == "(a_0 + b_0) * (K + 1)"
    assert _text("add", {"a": X, "b": X}) == "a_0 + b_0 + (a_1 + b_1)"
    assert _text("pow", {"a": 2.0, "b": X}) == "2.0 ** (a_0 + b_0)"
    assert _text("lt", {"a": X, "b": 0.5}) == "a_0 + b_0 < 0.5"
    assert _text("logical_not", {"a": MASK}) == "~(a_0 == b_0)"
    assert _text("logical_and", {"a": MASK, "b": MASK}) == "(a_0 == b_0) & (a_1 == b_1)"


def _kind(name: str, args: Args, **options: object) -> str:
    kinds = {"slope": "float"} if options else None
    (type_,) = result_types(bind(name, args, kinds=kinds))  # type: ignore[arg-type]
    return type_.kind


def test_statics_promote_by_their_own_kind() -> None:
    assert _kind("add", {"a": INTS, "b": 1}) == "int"
    assert _kind("add", {"a": INTS, "b": 1.0}) == "float"
    assert _kind("mul", {"a": INTS, "b": Ref("K")}) == "int"
    assert _kind("mul", {"a": INTS, "b": Ref("slope")}, kinds=True) == "float"
    assert _kind("mul", {"a": INTS, "b": Apply("/", (Ref("K"), Literal(2)))}) == "float"


def test_only_a_unit_axis_stretches() -> None:
    (type_,) = result_types(bind("add", {"a": T("B 1 D"), "b": T("L 1")}))
    assert type_ == TensorType("float", dims("B L D"))
    diagnostic = refusal("add", {"a": T("B L D"), "b": T("B L H")})
    assert diagnostic.code == "GAB0201"
    assert "[B, L, D] and [B, L, H]" in diagnostic.message


@pytest.mark.parametrize(
    ("name", "args", "help"),
    [
        ("add", {"a": MASK, "b": X}, "float(mask)"),
        ("sub", {"a": 1, "b": MASK}, "float(mask)"),
        ("mul", {"a": MASK, "b": MASK}, "a and b"),
        ("mul", {"a": MASK, "b": 2.0}, "float(mask)"),
        ("neg", {"a": MASK}, "not mask"),
        ("pow", {"a": INTS, "b": -1}, "float(...)"),
        ("pow", {"a": 2, "b": INTS}, "2.0"),
        ("lt", {"a": MASK, "b": X}, "float(mask)"),
        ("eq", {"a": MASK, "b": X}, "float(mask)"),
        ("logical_and", {"a": X, "b": MASK}, "x > 0.0"),
        ("logical_not", {"a": X}, "x > 0.0"),
    ],
)
def test_wrong_kinds_are_refused(name: str, args: Args, help: str) -> None:
    diagnostic = refusal(name, args)
    assert diagnostic.code == "GAB0109"
    assert help in diagnostic.help
