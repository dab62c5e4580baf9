"""Operations along time, at lengths around the sizes of windows, kernels and blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gabc.dims import Dim
from gabc.graph.types import L
from gabc.runtime.functional import sequence

from .harness import SIZES, Given, T, bind, check, lowered, refusal, result_types

X = T("B L D")
CHUNK = Dim.symbol("C")
Args = Mapping[str, Given]

EXAMPLES: dict[str, list[Args]] = {
    "shift": [
        {"x": X},
        {"x": X, "k": 0},
        {"x": X, "k": 10**12},
        {"x": T("B H L K"), "k": 2},
        {"x": T("B L", "int")},
        {"x": T("L D", "bool")},
    ],
    "cumsum": [
        {"x": X},
        {"x": X, "axis": -1},
        {"x": T("B H L K")},
        {"x": T("B L", "bool")},
        {"x": T("B L", "int"), "axis": 1},
    ],
    "running_mean": [{"x": X}, {"x": T("B H L")}, {"x": T("L D")}],
    "window_mean": [
        {"x": X, "size": "K"},
        {"x": X, "size": 1},
        {"x": T("B H L"), "size": "M"},
    ],
    "blocks": [
        {"x": X, "size": "C"},
        {"x": X, "size": "M"},
        {"x": X, "size": 1},
        {"x": T("B H L K"), "size": "K"},
        {"x": T("B L", "int"), "size": "C"},
    ],
    "causal_conv": [
        {"x": X, "w": T("D K")},
        {"x": X, "w": T("D K"), "bias": T("D"), "dilation": 2},
        {"x": T("B L H K"), "w": T("H K M")},
        {"x": T("B L H K"), "w": T("H K 1"), "bias": T("H K")},
        {"x": T("B H L K"), "w": T("K C")},
        {"x": T("B L"), "w": T("C")},
    ],
    "long_conv": [
        {"x": X, "h": T("D L")},
        {"x": T("B L H K"), "h": T("H K L")},
        {"x": T("B H L D"), "h": T("D L")},
    ],
    "causal": [{"a": T("B H L L")}, {"a": T("C C", "int")}],
    "masked": [{"a": T("B H L L"), "keep": T("L L", "bool")}, {"a": X, "keep": T("L 1", "bool")}],
}


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("name", EXAMPLES)
def test_rules_agree(name: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "L", length)
    for args in EXAMPLES[name]:
        check(name, args, smooth=length == 5)


def code_of(primitive: str, args: Args, time: Dim | None = L) -> str:
    bound = bind(primitive, args, time=time)
    return lowered(bound, result_types(bound))


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("shift", {"x": X}, "shift(x_0, 1)"),
        ("shift", {"x": T("B H L")}, "shift(x_0, 1, axis=2)"),
        ("cumsum", {"x": X}, "x_0.cumsum(1)"),
        ("causal_conv", {"x": X, "w": T("D K")}, "causal_conv(x_0, x_1)"),
        (
            "causal_conv",
            {"x": X, "w": T("D K"), "bias": T("D"), "dilation": 2},
            "causal_conv(x_0, x_1, x_2, dilation=2)",
        ),
        ("blocks", {"x": X, "size": "C"}, "blocks(x_0, C)"),
        ("causal", {"a": T("L L")}, "causal_mask(x_0)"),
    ],
)
def test_lowered_code(name: str, args: Args, code: str) -> None:
    assert code_of(name, args) == code


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", ["B L D", "B H L K", "L", "B H K L"])
def test_unblocks_undoes_blocks(shape: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "L", length)
    cut: Args = {"x": T(shape), "size": "C"}
    (x,) = bind("blocks", cut).tensors.values()
    (blocks,) = check("blocks", cut)
    (joined,) = check("unblocks", {"x": T(shape.replace("L", "L/C C"), values=blocks)})
    assert torch.equal(joined, x)


def test_unblocks_is_a_merge_and_a_slice() -> None:
    assert code_of("unblocks", {"x": T("B L/C C D")}) == "x_0.flatten(1, 2)[:, :L]"
    assert code_of("unblocks", {"x": T("B H K L/C C")}) == "x_0.flatten(-2).narrow(3, 0, L)"


def test_time_in_a_chunk_is_the_chunk() -> None:
    check("cumsum", {"x": T("B C H")}, time=CHUNK)
    check("shift", {"x": T("B C H")}, time=CHUNK)
    for name in ("cumsum", "shift", "running_mean"):
        found = refusal(name, {"x": T("B H")}, time=None)
        assert found.code == "GAB0204"
        assert "one step has no time axis" in found.help


def test_shift_refuses_the_future() -> None:
    found = refusal("shift", {"x": X, "k": -1})
    assert found.code == "GAB0210"
    assert "read the future" in found.message


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("causal_conv", {"x": X, "w": T("K D")}, "GAB0201"),
        ("causal_conv", {"x": X, "w": T("D")}, "GAB0202"),
        ("causal_conv", {"x": X, "w": T("D K"), "bias": T("K")}, "GAB0201"),
        ("causal_conv", {"x": X, "w": T("D K"), "bias": T("D K")}, "GAB0202"),
        ("causal_conv", {"x": X, "w": T("D K"), "dilation": 0}, "GAB0209"),
        ("causal_conv", {"x": X, "w": T("D K"), "dilation": 10**9}, "GAB0701"),
        ("causal_conv", {"x": X, "w": T("D K", "int")}, "GAB0109"),
        ("long_conv", {"x": X, "h": T("D K")}, "GAB0201"),
        ("long_conv", {"x": X, "h": T("L")}, "GAB0202"),
        ("blocks", {"x": X, "size": "L"}, "GAB0207"),
        ("window_mean", {"x": X, "size": "L"}, "GAB0207"),
        ("running_mean", {"x": T("B L", "int")}, "GAB0109"),
        ("unblocks", {"x": X}, "GAB0204"),
        ("shift", {"x": T("B D")}, "GAB0204"),
        ("causal", {"a": T("L K")}, "GAB0201"),
        ("causal", {"a": T("L")}, "GAB0202"),
        ("masked", {"a": T("B L"), "keep": T("B L 1", "bool")}, "GAB0202"),
        ("masked", {"a": T("B L"), "keep": T("B K", "bool")}, "GAB0201"),
        ("masked", {"a": T("B L"), "keep": T("B L")}, "GAB0109"),
    ],
)
def test_refusals(name: str, args: Args, code: str) -> None:
    assert refusal(name, args).code == code


# ---------------------------------------------------------------- the helpers by themselves


def test_causal_conv_is_numpys_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(1, 20, 1, generator=generator), torch.randn(1, 4, generator=generator)
    expected = np.convolve(x.flatten().numpy(), w.flatten().numpy()[::-1])[:20]
    np.testing.assert_allclose(sequence.causal_conv(x, w).flatten().numpy(), expected, atol=1e-5)


def test_no_helper_reads_the_future() -> None:
    """In float64, a change after position t changes nothing at or before t."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    changed = x.clone()
    changed[:, 5:] = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    h = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    functions: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: sequence.shift(x, 2),
        lambda x: sequence.causal_conv(x, w),
        lambda x: sequence.long_conv(x, h),
        lambda x: sequence.running_mean(x),
        lambda x: sequence.window_mean(x, 4),
    ]
    for function in functions:
        before, after = function(x), function(changed)
        torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=1e-12)
        assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_long_conv_in_bfloat16_computes_in_float32() -> None:
    x, h = torch.ones(1, 64, 2), torch.full((2, 64), 1 / 64)
    y = sequence.long_conv(x.bfloat16(), h.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), sequence.long_conv(x, h), rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    "function", [sequence.running_mean, lambda x: sequence.window_mean(x, 700)]
)
def test_means_in_bfloat16_count_exactly(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """bfloat16 has no 257: neither the counts nor the sums may be kept in it."""
    x = torch.ones(1, 1000, 2, dtype=torch.bfloat16)
    assert torch.equal(function(x), x)


def test_causal_conv_agrees_with_torch_in_float32() -> None:
    x, w, bias = torch.randn(2, 50, 8), torch.randn(8, 4), torch.randn(8)
    padded = F.pad(x.mT, (3, 0))
    expected = F.conv1d(padded, w[:, None], bias, groups=8).mT
    torch.testing.assert_close(sequence.causal_conv(x, w, bias), expected)
