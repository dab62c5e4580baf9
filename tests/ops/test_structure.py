"""Taking apart, putting together, subscripts, choice by data, matrix products."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch

from gabc.dims import Dim

from .harness import SIZES, Given, T, bind, check, lowered, reference, refusal, result_types, run

X = T("B L D")
INT = Dim.const
FIRST, LAST = INT(0), INT(-1)
Args = Mapping[str, Given]


def code_of(primitive: str, args: Args) -> str:
    bound = bind(primitive, args)
    return lowered(bound, result_types(bound))


def tensors_of(primitive: str, args: Args) -> list[torch.Tensor]:
    return list(bind(primitive, args).tensors.values())


# ---------------------------------------------------------------- split, concat, stack


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"x": X, "parts": 2}, "x_0.chunk(2, dim=-1)"),
        ({"x": X, "parts": 1}, "x_0.chunk(1, dim=-1)"),
        ({"x": T("B K*H L"), "parts": 3, "axis": 1}, "x_0.chunk(3, dim=1)"),
        ({"x": X, "sizes": ("H", "V")}, "x_0.split([H, V], dim=-1)"),
        ({"x": T("B D 1", "int"), "sizes": ("V", "K", 1), "axis": -2}, None),
    ],
)
def test_split(args: Args, code: str | None) -> None:
    parts = check("split", args)
    (x,) = tensors_of("split", args)
    axis = args.get("axis", -1)
    assert isinstance(axis, int)
    assert torch.equal(torch.cat(parts, axis), x)
    if code is not None:
        assert code_of("split", args) == code


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ({"x": X}, "GAB0107", "either `parts` or `sizes`"),
        ({"x": X, "parts": 2, "sizes": ("H", "V")}, "GAB0107", "either"),
        ({"x": X, "parts": 0}, "GAB0203", "0 parts"),
        ({"x": X, "parts": 4}, "GAB0203", "does not split into 4 equal parts"),
        ({"x": X, "sizes": ("H", "K")}, "GAB0201", "H + K are `H + K`, and the axis"),
        ({"x": X, "parts": 5, "axis": 1}, "GAB0204", "cannot cut the time axis"),
        ({"x": X, "parts": 2, "axis": 0}, "GAB0204", "cannot cut the batch axis"),
        ({"x": X, "parts": 2, "axis": 3}, "GAB0204", "no axis 3"),
    ],
)
def test_split_refuses(args: Args, code: str, message: str) -> None:
    found = refusal("split", args)
    assert found.code == code
    assert message in found.message


@pytest.mark.parametrize(
    "args",
    [
        {"xs": (X, T("B L K"), X)},
        {"xs": (T("B N D"), T("B 1 D")), "axis": 1},
        {"xs": (X, T("B L K", "int"))},
        {"xs": (T("B L D", "bool"), T("B L K", "int"))},
        {"xs": (X,)},
        {"xs": (T("B H L L"), T("B H L 1"))},
    ],
)
def test_concat(args: Args) -> None:
    (found,) = check("concat", args)
    axis = args.get("axis", -1)
    assert isinstance(axis, int)
    assert torch.equal(found, torch.cat(tensors_of("concat", args), axis))


def test_concat_refuses() -> None:
    assert refusal("concat", {"xs": (X, T("B L"))}).code == "GAB0202"
    found = refusal("concat", {"xs": (T("B N D"), T("B M K")), "axis": 1})
    assert (found.code, "differ at axis 2" in found.message) == ("GAB0201", True)
    assert refusal("concat", {"xs": (X, X), "axis": 0}).code == "GAB0204"
    assert refusal("concat", {"xs": ()}).code == "GAB0107"


@pytest.mark.parametrize("axis", [0, 1, -1, -4])
def test_stack(axis: int) -> None:
    args: Args = {"xs": (X, X), "axis": axis}
    (found,) = check("stack", args)
    assert torch.equal(found, torch.stack(tensors_of("stack", args), axis))


def test_stack_of_kinds_and_refusals() -> None:
    check("stack", {"xs": (X, T("B L D", "int"))})
    assert refusal("stack", {"xs": (X, X), "axis": 4}).code == "GAB0204"
    assert refusal("stack", {"xs": (X, T("B L K"))}).code == "GAB0201"


# ---------------------------------------------------------------- matrices


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("B L D", "D K"),
        ("B H L K", "B H K L"),
        ("B 1 L K", "H K V"),
        ("H K V", "B 1 V N"),
        ("B L D", "D"),
        ("D", "D K"),
        ("D", "D"),
        ("D", "B D K"),
        ("B N D", "B D 1"),
    ],
)
def test_matmul(a: str, b: str) -> None:
    args: Args = {"a": T(a), "b": T(b)}
    (found,) = check("matmul", args)
    x, y = tensors_of("matmul", args)
    torch.testing.assert_close(found, torch.matmul(x, y))
    assert code_of("matmul", args) == "x_0 @ x_1"


def test_matmul_refuses() -> None:
    found = refusal("matmul", {"a": X, "b": T("K D")})
    assert found.code == "GAB0201"
    assert "the last axis of [B, L, D] with the second last axis of [K, D]" in found.message
    assert refusal("matmul", {"a": T("B L D"), "b": T("N D K")}).code == "GAB0201"
    assert refusal("matmul", {"a": T(""), "b": T("D")}).code == "GAB0202"
    assert refusal("matmul", {"a": T("D", "int"), "b": T("D")}).code == "GAB0109"
    assert refusal("matmul", {"a": T("D", "complex"), "b": T("D")}).code == "GAB0109"


@pytest.mark.parametrize(("a", "b"), [("B C C", "B C K"), ("K K", "B H K V"), ("B 1 K K", "H K 1")])
def test_solve_lower(a: str, b: str) -> None:
    args: Args = {"a": T(a, lo=0.5, hi=2.0), "b": T(b)}
    (found,) = check("solve_lower", args)
    matrix, side = tensors_of("solve_lower", args)
    torch.testing.assert_close(matrix.tril() @ found, side.expand(found.shape))


def test_solve_lower_refuses() -> None:
    assert refusal("solve_lower", {"a": T("C K"), "b": T("K V")}).code == "GAB0201"
    assert refusal("solve_lower", {"a": T("K K"), "b": T("C V")}).code == "GAB0201"
    assert refusal("solve_lower", {"a": T("K K"), "b": T("K")}).code == "GAB0202"


# ---------------------------------------------------------------- subscripts


@pytest.mark.parametrize(
    ("shape", "items", "code"),
    [
        ("B L D", (":", ":", FIRST), "x_0[:, :, 0]"),
        ("B L D", (":", ":", LAST), "x_0[:, :, -1]"),
        ("B L D", (":", ":", None, ":"), "x_0[:, :, None]"),
        ("B L H K", (":", ":", ":", FIRST), "x_0[..., 0]"),
        ("B L H K", (":", ":", ":", ":", None), "x_0[..., None]"),
        ("B L D", (":", ":", ("K", None, None)), "x_0[:, :, K:]"),
        ("B L D", (":", ":", (None, INT(-2), None)), "x_0[:, :, :-2]"),
        ("B L D", (":", ":", (INT(1), "K", None)), "x_0[:, :, 1:K]"),
        ("B L D", (":", ":", (None, None, INT(2))), "x_0[:, :, ::2]"),
        ("B L D", (":", ":", (INT(1), None, INT(2))), "x_0[:, :, 1::2]"),
        ("B L D", (":", ":", (INT(-3), INT(-1), INT(4))), "x_0[:, :, -3:-1:4]"),
        ("B L H K", (":", ":", "G", (None, "V", None)), "x_0[:, :, G, :V]"),
        ("L", (None, ":", None), "x_0[None, :, None]"),
        ("B L D", (":", ":", ":"), "x_0[:]"),
    ],
)
def test_index(shape: str, items: tuple[Given, ...], code: str) -> None:
    args: Args = {"x": T(shape), "items": items}
    check("index", args)
    assert code_of("index", args) == code


@pytest.mark.parametrize(
    ("items", "code", "message", "help"),
    [
        (
            (":", FIRST, ":"),
            "GAB0210",
            "time axis `L` of [B, L, D] can only be kept whole",
            "shift(",
        ),
        ((":", (None, LAST, None), ":"), "GAB0210", "time axis", "blocks"),
        ((FIRST, ":", ":"), "GAB0210", "batch axis", "never mix"),
        ((":", ":"), "GAB0202", "2 items and the value [B, L, D] has 3 axes", "`None`"),
        ((":", ":", INT(6)), "GAB0201", "no position `6`", ""),
        ((":", ":", "D"), "GAB0210", "no position `D`", ""),
        ((":", ":", INT(-7)), "GAB0201", "no position -7", ""),
        ((":", ":", (None, INT(7), None)), "GAB0201", "the slice ends at `7`", ""),
        ((":", ":", ("K", "V", None)), "GAB0201", "the slice from `K` to `V` is empty", ""),
        ((":", ":", (None, None, FIRST)), "GAB0210", "step is a number above 0", ""),
    ],
)
def test_index_refuses(items: tuple[Given, ...], code: str, message: str, help: str) -> None:
    found = refusal("index", {"x": X, "items": items})
    assert found.code == code
    assert message in found.message
    assert help in found.help


def test_index_of_constant_sizes_is_decided() -> None:
    found = refusal("index", {"x": T("B 4"), "items": (":", INT(4))})
    assert (found.code, found.message) == (
        "GAB0210",
        "there is no position `4`: the axis has size 4",
    )
    assert refusal("index", {"x": T("B 4"), "items": (":", INT(-5))}).code == "GAB0210"
    check("index", {"x": T("B 4"), "items": (":", INT(-4))})


@pytest.mark.parametrize(
    ("items", "value", "code"),
    [
        ((":", ":", FIRST), T("B H"), "set_index(x_0, (slice(None), slice(None), 0), x_1)"),
        ((":", FIRST, ":"), T("K"), "set_index(x_0, (slice(None), 0), x_1)"),
        ((":", (INT(1), None, None), ":"), T("B 1 K"), None),
        ((":", ":", (None, None, INT(2))), 0.5, None),
        ((":", ":", (None, "V", None)), T("1 V"), None),
        ((":", LAST, FIRST), T("B", "int"), None),
        ((":", ":", ":"), T("B H K"), "set_index(x_0, (), x_1)"),
    ],
)
def test_set_index(items: tuple[Given, ...], value: Given, code: str | None) -> None:
    args: Args = {"x": T("B H K"), "items": items, "value": value}
    check("set_index", args)
    if code is not None:
        assert code_of("set_index", args) == code


def test_set_index_refuses() -> None:
    state = T("B H K")
    items = (":", ":", FIRST)
    assert refusal("set_index", {"x": state, "items": items, "value": T("B K")}).code == "GAB0201"
    assert refusal("set_index", {"x": state, "items": items, "value": state}).code == "GAB0202"
    wrong: Args = {"x": T("B H", "int"), "items": (":", FIRST), "value": T("B")}
    assert refusal("set_index", wrong).code == "GAB0109"
    axis: Args = {"x": state, "items": (":", ":", None, FIRST), "value": T("B H")}
    assert refusal("set_index", axis).code == "GAB0210"


# ---------------------------------------------------------------- choice by data


def wide(shape: str) -> T:
    """Indices on both sides of every axis."""
    return T(shape, "int", lo=-3.0, hi=9.0)


@pytest.mark.parametrize(
    ("x", "indices"),
    [
        ("H", ("1 H 1 1",)),
        ("B N H", ("B 1 1 1", "1 1 N 1", "1 H 1 1")),
        ("H K", ("L",)),
        ("H K V", ("L 1", "N")),
        ("H", ("",)),
    ],
)
def test_lookup(x: str, indices: tuple[str, ...]) -> None:
    args: Args = {"x": T(x), "indices": tuple(wide(shape) for shape in indices)}
    (found,) = check("lookup", args)
    table, *places = tensors_of("lookup", args)
    for element in itertools.product(*(range(n) for n in found.shape)):
        grid = [place.expand(found.shape[: max(p.dim() for p in places)]) for place in places]
        index = [int(place[element[: place.dim()]]) for place in grid]
        inside = all(0 <= i < size for i, size in zip(index, table.shape, strict=False))
        expected = table[(*index, *element[grid[0].dim() :])] if inside else 0.0
        assert found[element] == expected


def test_lookup_refuses() -> None:
    floats: Args = {"x": T("H"), "indices": (T("L"),)}
    assert refusal("lookup", floats).code == "GAB0109"
    many: Args = {"x": T("H"), "indices": (T("L", "int"), T("L", "int"))}
    assert refusal("lookup", many).code == "GAB0202"
    apart: Args = {"x": T("H K"), "indices": (T("L", "int"), T("N", "int"))}
    assert refusal("lookup", apart).code == "GAB0201"


def test_take() -> None:
    check("take", {"table": T("M D"), "index": wide("B L")})
    check("take", {"table": T("M"), "index": wide("B L")})
    check("take", {"table": T("M H K"), "index": wide("")})
    check("take", {"table": T("M D", "bool"), "index": wide("B L")})
    assert refusal("take", {"table": T("L D"), "index": T("B L", "int")}).code == "GAB0204"
    assert refusal("take", {"table": T("M D"), "index": T("B L")}).code == "GAB0109"


@pytest.mark.parametrize(
    ("x", "index", "axis"),
    [("B L D", "B L K", -1), ("B H L", "B C L", 1), ("K", "N", 0)],
)
def test_gather(x: str, index: str, axis: int) -> None:
    check("gather", {"x": T(x), "index": wide(index), "axis": axis})
    check("gather", {"x": T(x, "bool"), "index": wide(index), "axis": axis})
    inside: Args = {"x": T(x), "index": T(index, "int", lo=0, hi=3), "axis": axis}
    (found,) = check("gather", inside)
    source, places = tensors_of("gather", inside)
    assert torch.equal(found, source.gather(axis, places))


def test_gather_refuses() -> None:
    found = refusal("gather", {"x": X, "index": T("B K D", "int"), "axis": 1})
    assert (found.code, "attend" in found.help) == ("GAB0204", True)
    assert refusal("gather", {"x": X, "index": T("B L", "int")}).code == "GAB0202"
    assert refusal("gather", {"x": X, "index": T("B N K", "int")}).code == "GAB0201"


def test_one_hot() -> None:
    args: Args = {"x": wide("B L"), "n": "H"}
    (found,) = check("one_hot", args)
    (index,) = tensors_of("one_hot", args)
    assert torch.equal(found.sum(-1) == 1, (index >= 0) & (index < SIZES["H"]))
    assert refusal("one_hot", {"x": X, "n": "H"}).code == "GAB0109"


TIES = torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0, -1.0]], dtype=torch.float64)
"""One row of size D = 6."""


@pytest.mark.parametrize("axis", [-1, 1])
def test_topk(axis: int) -> None:
    args: Args = {"x": T("B H L"), "k": "C", "axis": axis}
    if axis == 1:
        values, _ = check("topk", args)
        (x,) = tensors_of("topk", args)
        torch.testing.assert_close(values, x.topk(SIZES["C"], axis).values)
    else:
        check("topk", {**args, "x": T("B L H")})
    check("topk", {"x": T("1 D", values=TIES), "k": 6}, smooth=False)
    values, places = check("topk", {"x": T("1 D", values=TIES), "k": 4}, smooth=False)
    assert places.tolist() == [[1, 2, 4, 0]]
    assert values.tolist() == [[2.0, 2.0, 2.0, 1.0]]
    check("topk", {"x": T("B D", "int", lo=0, hi=3), "k": "K"})


def test_topk_refuses_more_than_there_are() -> None:
    assert refusal("topk", {"x": T("B 4"), "k": 5}).code == "GAB0209"
    assert refusal("topk", {"x": T("B H"), "k": "D"}).code == "GAB0201"


def test_topk_mask() -> None:
    (found,) = check("topk_mask", {"x": T("1 D", values=TIES), "k": 2}, smooth=False)
    assert found.tolist() == [[False, True, True, False, False, False]]
    (found,) = check("topk_mask", {"x": T("B L D"), "k": "K", "axis": 1})
    assert (found.sum(1) == SIZES["K"]).all()
    (found,) = check("topk_mask", {"x": T("B H"), "k": "M"})
    assert found.all()
    check("topk_mask", {"x": T("B D", "int", lo=0, hi=3), "k": "K"})


def test_topk_mask_never_chooses_what_a_mask_left_out() -> None:
    row = TIES.masked_fill(TIES > 0, -torch.inf)
    bound = bind("topk_mask", {"x": T("1 D", values=row), "k": 3})
    types = result_types(bound)
    for found in (reference(bound), run(lowered(bound, types), bound)):
        assert found[0].tolist() == [[False, False, False, True, False, True]]
