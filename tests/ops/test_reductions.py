"""Reductions, softmax and norms, with masks and without."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from gabc.graph.types import ONE, TensorType
from gabc.ops import PRIMITIVES

from .harness import Given, T, bind, check, dims, lowered, refusal, result_types
from .lowering import HELPERS

X = T("B L D")
INTS = T("B L", kind="int", lo=-4, hi=9)
BOOLS = T("B L", kind="bool")
MASK = T("B L D", kind="bool")
ROW_MASK = T("L D", kind="bool")
# Row 0 keeps nothing.
EMPTY_ROW = T("L D", "bool", values=torch.rand(5, 6, generator=torch.manual_seed(3)) > 0.5)
assert EMPTY_ROW.values is not None
EMPTY_ROW.values[0] = False
Args = Mapping[str, Given]


def _axes(x: T) -> list[Args]:
    return [{"x": x, "axis": 1}, {"x": x, "axis": -1, "keep": True}, {"x": x, "axis": 0}]


def _masked(*names: str) -> dict[str, list[Args]]:
    masks = [{"mask": MASK}, {"mask": ROW_MASK}, {"mask": EMPTY_ROW}, {"mask": T("B 1 1", "bool")}]
    cases = [{"x": X, "axis": axis, "keep": axis == 1, **m} for m in masks for axis in (-1, 1)]
    return {name: [dict(case) for case in cases] for name in names}


MASKED = _masked("mean", "var", "max", "min", "logsumexp")
EXAMPLES: dict[str, list[Args]] = {
    "sum": [*_axes(X), {"x": INTS, "axis": 0}, {"x": BOOLS, "axis": -1, "keep": True}],
    "mean": [*_axes(X), *MASKED["mean"]],
    "var": [*_axes(X), *MASKED["var"]],
    "max": [*_axes(X), *MASKED["max"], {"x": INTS, "axis": 1}],
    "min": [*_axes(X), *MASKED["min"], {"x": INTS, "axis": 1}],
    "prod": [*_axes(X), {"x": INTS, "axis": 1}],
    "logsumexp": [*_axes(X), *MASKED["logsumexp"]],
    "argmax": [*_axes(X), {"x": INTS, "axis": -1}],
    "any": [{"x": BOOLS, "axis": 1}, {"x": BOOLS, "axis": 0, "keep": True}],
    "all": [{"x": BOOLS, "axis": 1}, {"x": BOOLS, "axis": 0, "keep": True}],
    "softmax": [
        {"x": X},
        {"x": X, "axis": 1},
        *({"x": X, "axis": axis, "mask": m} for axis in (-1, 1) for m in (MASK, EMPTY_ROW)),
    ],
    "log_softmax": [{"x": X}, {"x": X, "axis": 1}],
    "rms_norm": [{"x": X}, {"x": X, "weight": T("D")}, {"x": X, "weight": T("D"), "eps": 0.1}],
    "layer_norm": [
        {"x": X},
        {"x": X, "weight": T("D")},
        {"x": X, "bias": T("D")},
        {"x": T("B L H K"), "weight": T("K"), "bias": T("K"), "eps": 0.1},
    ],
}

CASES = [(name, args) for name, cases in EXAMPLES.items() for args in cases]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_rules_agree(name: str, args: Args) -> None:
    check(name, args)


def test_keep_leaves_a_unit_axis() -> None:
    (type_,) = result_types(bind("sum", {"x": X, "axis": -1, "keep": True}))
    assert type_ == TensorType("float", (*dims("B L"), ONE))
    (type_,) = result_types(bind("sum", {"x": X, "axis": 1}))
    assert type_ == TensorType("float", dims("B D"))


def test_known_values() -> None:
    x = T("N", values=torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    wanted = {"sum": 9.0, "mean": 3.0, "var": 14.0 / 3.0, "max": 6.0, "min": 1.0, "prod": 12.0}
    wanted["logsumexp"] = math.log(math.exp(1.0) + math.exp(2.0) + math.exp(6.0))
    for name, value in wanted.items():
        assert check(name, {"x": x, "axis": 0})[0].item() == pytest.approx(value, rel=1e-14), name


def test_logsumexp_neither_overflows_nor_fails_at_infinity() -> None:
    rows = [[1000.0, 1000.0, -math.inf], [-math.inf] * 3, [math.inf, 0.0, 0.0]]
    x = torch.tensor(rows, dtype=torch.float64)
    reference = PRIMITIVES["logsumexp"].reference({"x": x, "axis": 1, "keep": False, "mask": None})
    assert isinstance(reference, Tensor)
    assert reference.tolist() == [1000.0 + math.log(2.0), -math.inf, math.inf]


_BY_LOOP = {
    "mean": lambda kept: kept.mean(),
    "var": lambda kept: kept.var(correction=0),
    "max": lambda kept: kept.max(),
    "min": lambda kept: kept.min(),
    "logsumexp": lambda kept: kept.exp().sum().log(),
}


@pytest.mark.parametrize("name", _BY_LOOP)
def test_masked_reductions_see_only_what_the_mask_keeps(name: str) -> None:
    x, mask = X.draw(torch.manual_seed(1)), EMPTY_ROW.values
    assert mask is not None
    bad = torch.where(mask, x, torch.tensor([math.nan, math.inf, -math.inf] * 2)).requires_grad_()
    found = HELPERS[f"masked_{name}"](bad, mask, -1)
    reference = PRIMITIVES[name].reference({"x": bad, "axis": -1, "keep": False, "mask": mask})
    assert isinstance(found, Tensor)
    assert isinstance(reference, Tensor)
    for batch in range(x.shape[0]):
        for row in range(x.shape[1]):
            kept = x[batch, row][mask[row]]
            wanted = _BY_LOOP[name](kept) if len(kept) else torch.zeros((), dtype=x.dtype)
            torch.testing.assert_close(found[batch, row], wanted)
            torch.testing.assert_close(reference[batch, row], wanted)
    for result in (found, reference):
        (gradient,) = torch.autograd.grad(result.sum(), bad)
        assert torch.isfinite(gradient).all()
        assert not gradient[:, ~mask].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_masked_softmax_of_an_empty_row_is_zero(dtype: torch.dtype) -> None:
    mask = EMPTY_ROW.values
    assert mask is not None
    x = X.draw(torch.manual_seed(1)).to(dtype)
    bad = torch.where(mask, x, math.nan).requires_grad_()
    reference = PRIMITIVES["softmax"].reference({"x": bad, "axis": -1, "mask": mask})
    for result in (HELPERS["masked_softmax"](bad, mask, -1), reference):
        assert isinstance(result, Tensor)
        assert not result[:, 0].any()
        assert not result[:, ~mask].any()
        sums = result[:, mask.any(-1)].sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        (gradient,) = torch.autograd.grad((result * x).sum(), bad)
        assert torch.isfinite(gradient).all()
        assert not gradient[:, 0].any()


def test_masked_extrema_of_ints() -> None:
    mask = T("B L", "bool", values=torch.tensor([[False] * 5, [True, False, True, True, False]]))
    check("max", {"x": INTS, "axis": -1, "mask": mask})
    check("min", {"x": INTS, "axis": -1, "mask": mask})


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
def test_norms_keep_the_dtype_and_compute_wide(name: str) -> None:
    x = 300.0 + torch.randn(4, 512, generator=torch.manual_seed(0))
    x = x.bfloat16()
    text = lowered(bound := bind(name, {"x": T("N M")}), result_types(bound))
    scope = {**HELPERS, "F": torch.nn.functional, "x_0": x, "M": 512}
    found = eval(text, scope)
    assert found.dtype == torch.bfloat16
    wanted = PRIMITIVES[name].reference(
        {"x": x.double(), "weight": None, "bias": None, "eps": 1e-5}
    )
    assert isinstance(wanted, Tensor)
    # bfloat16 has 8 bits: rounded once, the relative error is below 2^-8.
    torch.testing.assert_close(found.double(), wanted, rtol=2.0**-8, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("sum", {"x": X, "axis": -1}, "x_0.sum(-1)"),
        ("mean", {"x": X, "axis": 1, "keep": True}, "x_0.mean(1, keepdim=True)"),
        ("var", {"x": X, "axis": -1}, "x_0.var(-1, correction=0)"),
        ("max", {"x": X, "axis": -1}, "x_0.amax(-1)"),
        ("mean", {"x": X, "axis": -1, "mask": MASK}, "masked_mean(x_0, x_1, -1)"),
        ("softmax", {"x": X}, "torch.softmax(x_0, -1)"),
        ("softmax", {"x": X, "mask": MASK}, "masked_softmax(x_0, x_1, -1)"),
        ("rms_norm", {"x": X, "weight": T("D")}, "rms_norm(x_0, x_1, 1e-05)"),
        ("layer_norm", {"x": X}, "F.layer_norm(x_0, (D,), None, None, 1e-05)"),
    ],
)
def test_lowered_text(name: str, args: Args, text: str) -> None:
    bound = bind(name, args)
    assert lowered(bound, result_types(bound)) == text


@pytest.mark.parametrize(
    ("name", "args", "code", "help"),
    [
        ("sum", {"x": X, "axis": 3}, "GAB0204", "-3 to 2"),
        ("mean", {"x": INTS, "axis": 0}, "GAB0109", "float(x)"),
        ("max", {"x": BOOLS, "axis": 0}, "GAB0109", "any and all"),
        ("any", {"x": X, "axis": 0}, "GAB0109", "x > 0.0"),
        ("softmax", {"x": T("")}, "GAB0204", ""),
        ("layer_norm", {"x": X, "weight": T("H")}, "GAB0201", ""),
        ("rms_norm", {"x": X, "weight": T("L D")}, "GAB0202", "rms_norm(x) * weight"),
        ("layer_norm", {"x": X, "bias": T("L D")}, "GAB0202", "layer_norm(x) + bias"),
        ("rms_norm", {"x": T("")}, "GAB0202", ""),
    ],
)
def test_refusals(name: str, args: Args, code: str, help: str) -> None:
    diagnostic = refusal(name, args)
    assert diagnostic.code == code
    assert help in diagnostic.help
