"""`attend`: every option against the reference, and what the helpers promise by themselves."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from gabc.runtime.functional import attention, attention_edited

from .harness import SIZES, Given, T, bind, check, lowered, refusal, result_types

Args = Mapping[str, Given]
Q, K, V = T("B L H K"), T("B L G K"), T("B L G V")
PLAIN: Args = {"q": Q, "k": K, "v": V}
SINKS, BIAS = T("H"), T("H L L")
SEGMENTS = T("B L", "int", lo=0, hi=2)

OPTIONS: list[Args] = [
    {},
    {"scale": 0.3},
    {"window": "C"},
    {"window": "M"},
    {"window": 1, "scale": 1.0},
    {"sinks": SINKS},
    {"softcap": 1.5},
    {"bias": BIAS},
    {"bias": T("B 1 L L")},
    {"bias": T("H 1 L")},
    {"bias": T("L")},
    {"segments": SEGMENTS},
    {"sinks": SINKS, "softcap": 2.0, "bias": BIAS, "segments": SEGMENTS, "window": "K"},
]


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_rules_agree(options: Args, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "L", length)
    check("attend", {**PLAIN, **options}, smooth=length == 5)


@pytest.mark.parametrize("shapes", [("B L H K",) * 3, ("B L H K", "B L 1 K", "B L 1 K")])
def test_any_number_of_key_heads(shapes: tuple[str, str, str]) -> None:
    args: Args = dict(zip("qkv", map(T, shapes), strict=True))
    check("attend", args)
    check("attend", {**args, "sinks": SINKS})


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "attend(x_0, x_1, x_2)"),
        ({"scale": 0.3, "window": "M"}, "attend(x_0, x_1, x_2, scale=0.3, window=M)"),
        ({"softcap": 30.0}, "attend_edited(x_0, x_1, x_2, softcap=30.0)"),
        (
            {"window": "M", "sinks": SINKS},
            "attend_with_sinks(x_0, x_1, x_2, window=M, sinks=x_3)",
        ),
    ],
)
def test_the_fused_form_where_it_can(options: Args, code: str) -> None:
    bound = bind("attend", {**PLAIN, **options})
    assert lowered(bound, result_types(bound)) == code


def test_against_loops() -> None:
    """One query, one key at a time, in Python numbers."""
    bound = bind("attend", {**PLAIN, "window": 3, "sinks": SINKS, "softcap": 2.0})
    q, k, v, sinks = bound.tensors.values()
    found = attention_edited.attend_explicit(q, k, v, window=3, sinks=sinks, softcap=2.0)
    heads, groups, length = SIZES["H"], SIZES["G"], SIZES["L"]
    for b, h, i in itertools.product(range(SIZES["B"]), range(heads), range(length)):
        g = h // (heads // groups)
        total, result = torch.exp(sinks[h]), torch.zeros(SIZES["V"], dtype=torch.float64)
        for j in range(max(0, i - 2), i + 1):
            score = torch.dot(q[b, i, h], k[b, j, g]) / SIZES["K"] ** 0.5
            weight = torch.exp(2.0 * torch.tanh(score / 2.0))
            total, result = total + weight, result + weight * v[b, j, g]
        torch.testing.assert_close(found[b, i, h], result / total)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ({**PLAIN, "q": T("B L D")}, "GAB0202", "needs `q` as [B, L, H, K]"),
        ({**PLAIN, "k": T("B L G V")}, "GAB0201", "`K` and `V` differ"),
        ({**PLAIN, "v": T("B L H V")}, "GAB0201", "`G` and `H` differ"),
        ({**PLAIN, "v": T("B M G V")}, "GAB0201", "`L` and `M` differ"),
        ({"q": Q, "k": T("B L K K"), "v": T("B L K V")}, "GAB0203", "4 query heads"),
        ({**PLAIN, "window": "L"}, "GAB0207", "depends on B or L"),
        ({**PLAIN, "sinks": T("K")}, "GAB0201", "`sinks` of this `attend` is [H], not [K]"),
        ({**PLAIN, "sinks": T("1 H")}, "GAB0202", "`sinks`"),
        ({**PLAIN, "segments": T("B L")}, "GAB0109", "`attend` needs ints"),
        (
            {**PLAIN, "bias": T("H L K")},
            "GAB0201",
            "does not broadcast to the scores, [B, H, L, L]",
        ),
        ({**PLAIN, "bias": T("1 B H L L")}, "GAB0202", "does not broadcast"),
        ({**PLAIN, "q": T("B L H K", "int")}, "GAB0109", "floats"),
    ],
)
def test_refusals(args: Args, code: str, message: str) -> None:
    found = refusal("attend", args)
    assert found.code == code
    assert message.replace("4 query", "H query") in found.message


# ---------------------------------------------------------------- the helpers by themselves


def drawn(length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, length, 4, 3), (2, length, 2, 3), (2, length, 2, 5))
    q, k, v = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return q, k, v


def test_a_block_that_changes_nothing_is_plain_attention() -> None:
    q, k, v = drawn()
    y = attention.attend_scores(attention.attend_logits(q, k), None, v)
    torch.testing.assert_close(y, attention.attend(q, k, v))


def test_the_indices_of_a_block() -> None:
    """ALiBi with a window of 3 plus the first key, written with b, h, i, j."""
    q, k, v = drawn()
    score = attention.attend_logits(q, k)
    _, h, i, j = attention.attend_indices(score)
    slope = torch.tensor([0.5, 0.25, 0.125, 0.0625], dtype=torch.float64)
    found = attention.attend_scores(score - slope[h] * (i - j), (i - j < 3) | (j < 1), v)
    for at, head in itertools.product(range(6), range(4)):
        kept = [key for key in range(at + 1) if at - key < 3 or key < 1]
        scores = torch.stack([score[0, head, at, key] - slope[head] * (at - key) for key in kept])
        values = torch.stack([v[0, key, head // 2] for key in kept])
        torch.testing.assert_close(found[0, at, head], scores.softmax(0) @ values)


def test_the_future_is_masked_whatever_is_kept() -> None:
    q, k, v = drawn()
    score = attention.attend_logits(q, k)
    everything = torch.ones(6, 6, dtype=torch.bool)
    y = attention.attend_scores(score, everything, v)
    torch.testing.assert_close(y, attention.attend(q, k, v))


def test_a_row_with_no_key_gives_zeros_and_no_gradient() -> None:
    q, k, v = (tensor.requires_grad_() for tensor in drawn())
    keep = torch.ones(6, 6, dtype=torch.bool)
    keep[3] = False
    y = attention.attend_scores(attention.attend_logits(q, k), keep, v)
    assert (y[:, 3] == 0).all()
    gradients = torch.autograd.grad(y.sum(), (q, k, v))
    assert (gradients[0][:, 3] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_softmax_is_in_float32(dtype: torch.dtype) -> None:
    """Over many equal scores the mean is that of the values, but for the result's rounding."""
    length = 512
    q = torch.zeros(1, length, 1, 8, dtype=dtype)
    v = torch.ones(1, length, 1, 4, dtype=dtype)
    y = attention_edited.attend_explicit(q, q, v, softcap=5.0)
    assert y.dtype == dtype
    torch.testing.assert_close(y, torch.ones_like(y), rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_under_autocast() -> None:
    q, k, v = (tensor.float() for tensor in drawn())
    exact = attention_edited.attend_explicit(q, k, v, softcap=5.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention_edited.attend_explicit(q, k, v, softcap=5.0)
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05)


def test_helpers_can_be_pasted() -> None:
    """Executed from their sources alone, with torch and F in scope, they do the same."""
    q, k, v = drawn()
    scope: dict[str, object] = {"torch": torch, "F": torch.nn.functional, "Tensor": Tensor}
    for name, function in inspect.getmembers(attention, inspect.isfunction):
        if function.__module__ == attention.__name__:
            exec(f"from __future__ import annotations\n{inspect.getsource(function)}", scope)
            assert name in scope
    found = eval("attend(q, k, v, window=3)", {**scope, "q": q, "k": k, "v": v})
    torch.testing.assert_close(found, attention.attend(q, k, v, window=3))
