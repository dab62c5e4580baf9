"""`attend` with a block: functions of one score, which are exact in every form of attention."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from decode.compare import assert_equals_whole
from generator.blocks import compiled, interpreted, leaves_of
from generator.compare import differences, differentiate
from measured_cost import VOCAB, measure
from test_attention_pass import run, stack_of
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from gabc.check.cost import cost, value_at
from gabc.codegen.emit import emit
from gabc.passes import optimise
from gabc.runtime.functional import attention_edited


def block(*lines: str, options: str = "") -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"g = cumsum(logsigmoid(q[..., 0]), axis=1)\ny = attend(q, k, v{options}) {{\n{body}\n}}"


FUSED = {
    "alibi": block("score = score - slope[h] * (i - j)"),
    "added from the left": block("score = slope[h] * (j - i) + score"),
    "log gates": block("score = score + g[b, i, h] - g[b, j, h]"),
    "gates subtracted first": block("score = score - g[b, j, h] + g[b, i, h]"),
    "a mask only": block("keep = i - j < window or j < 2"),
    "a mask and a bias": block("score = score - slope[h] * (i - j)", "keep = i - j < 4"),
    "a mask of data": block("keep = g[b, j, h] < -1.0 or i == j"),
    "rows without a key": block("keep = i - j < window and i % 3 != 0"),
    "rows without a key and a bias": block(
        "score = score - slope[h] * (i - j)", "keep = i % 2 == 1 and j % 2 == 0"
    ),
    "sinks and a learned bias": block("score = score - slope[h] * j", options=", sinks=slope"),
    "sinks and a mask": block("keep = i - j < window", options=", sinks=slope"),
    "operands and options of one name": (
        "product = 2.0 * k\n"
        "y = attend(q, product, v, bias=slope[:, None, None] * positions()) {\n"
        "    keep = i - j < 4\n}"
    ),
    "with options": block(
        "score = score - slope[h] * (i - j)", options=", window=window, scale=0.3"
    ),
    "a logarithm of the distance": block("score = score - slope[h] * log1p(i - j)"),
    "a logarithm of positions": block("score = score - slope[h] * log(i - j + 1)"),
    "a root of the distance": block("score = score - slope[h] * (i - j) ** 0.5"),
    "an exponential of the distance": block("score = score - slope[h] * exp(200 * (j - i))"),
}

EXPLICIT = {
    "a cap": block("score = 5.0 * tanh(score / 5.0)"),
    "a factor": block("score = score * slope[h] - (i - j)"),
    "twice": block("score = score + score"),
    "subtracted from": block("score = slope[h] - score"),
    "a mask of scores": block("keep = score > 0.0 or i == j"),
    "an option that is not fused": block("score = score - (i - j)", options=", softcap=3.0"),
    "one tensor read often": block(
        "score = where(j % 2 == 0, score, score - 1.0) + g[b, j - 1, h // 2]",
        "score = score * exp(g[b, i, h]) - log1p(float(abs(i - j)))",
        "keep = i // 4 == j // 4 and slope[h] > 0.0",
    ),
    "a cap on a logarithm": block("score = 5.0 * tanh((score - slope[h] * log1p(i - j)) / 5.0)"),
    "a remainder by the distance": block(
        "score = 2.0 * score", "keep = i % (i - j + 1) == 0 or j == 0"
    ),
    "a captured number": block(
        "t = mean(slope, axis=-1)", "score = score * t + t * slope[h]", "keep = j > 2 * t"
    ),
    "what both functions need": block(
        "w = slope[h] * (i - j)", "d = w * w", "score = score * 2.0 - d", "keep = d < 2.0"
    ),
    "a mask of edited scores": block(
        "score = score * slope[h]", "keep = score + slope[h] > 0.0 or i == j"
    ),
    "what has no gradient": block(
        "score = score * where(slope[h] > 0.3, detach(g[b, i, h]), float(int(4.0 * g[b, j, h])))"
    ),
}

WHOLE = {
    "a tensor that is not indexed": block("score = score * slope[:, None, None]"),
    "a logarithm that is not indexed": block(
        "score = score * 2.0 - slope[:, None, None] * log1p(i - j)"
    ),
    "a sum over keys": block(
        "n = sum(where(j <= i, float(j), 0.0), axis=-1, keep=true)",
        "score = score * slope[h] + n / (i + 1)",
    ),
    "a vector for each score": block("score = score * mean(X[b, i] * X[b, j], axis=-1)"),
}
"""Blocks that are no functions of one score."""

BLOCKS = FUSED | EXPLICIT | WHOLE


@pytest.fixture
def in_flex(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention on a CPU, by torch's dense formulas of its forward and backward pass."""
    torch._dynamo.reset()
    monkeypatch.setattr(flex, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(attention_edited, "compiled_flex", lambda: attention_edited.attend_flex)
    monkeypatch.setattr(attention_edited, "edited_form", lambda *_: "flex")
    yield
    torch._dynamo.reset()


def text_of(name: str) -> str:
    return emit(stack_of(BLOCKS[name]), standalone=False, vocab_size=8).text


@pytest.mark.parametrize("name", BLOCKS)
def test_what_the_block_is_said_to_be(name: str) -> None:
    text = text_of(name)
    adds = name in FUSED or name == "an option that is not fused"  # whose cap is no part of it
    assert ("adds=True" in text) is (adds and "def edit(" in text)
    assert ("mixes=True" in text) is (name in WHOLE)


def test_the_text_of_a_block() -> None:
    text = text_of("one tensor read often")
    begin, end = text.index("        g_2 = "), text.index("        return X")
    assert re.sub(r"\n? +# .*", "", text[begin:end]) == TEXT


TEXT = """\
        g_2 = g.clone()
        g_3 = g.clone()

        def edit(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            j = torch.minimum(i, j)
            score = torch.where(j % 2 == 0, score, score - 1.0) + lookup(g_2, b, j - 1, h // 2)
            log1p = torch.log1p(torch.abs(i - j).to(wide_dtype(X)))
            return score * torch.exp(g_3[b, i, h]) - log1p

        slope = self.slope.detach()

        def keep(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (i // 4 == j // 4) & (slope[h] > 0.0)

        y = attend_edited(q, k, v, edit=edit, keep=keep)
"""


@pytest.mark.usefixtures("in_flex")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", FUSED | EXPLICIT)
def test_flex_is_the_reference(name: str) -> None:
    stack = stack_of(BLOCKS[name])
    meant = run(stack, 9, is_interpreted=True)
    assert not differences(meant, run(stack, 9, is_interpreted=False))


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_function_is_the_reference(name: str, length: int) -> None:
    stack = stack_of(BLOCKS[name])
    meant = run(stack, length, is_interpreted=True)
    assert not differences(meant, run(stack, length, is_interpreted=False))


PENALTIES: dict[str, Callable[[int], float]] = {
    "a logarithm of the distance": math.log1p,
    "a logarithm of positions": lambda distance: math.log(distance + 1),
    "a root of the distance": math.sqrt,
    "an exponential of the distance": lambda distance: math.exp(-200 * distance),
}
"""What `slope[h]` is multiplied by, and the score loses."""


def attended(leaves: Mapping[str, Tensor], penalty: Callable[[int], float]) -> Tensor:
    """The output of the block of `FRAME`, [B, L, D], each query with the keys up to it alone."""
    x, heads = leaves["X"], 2
    q, k, v = (
        torch.nn.functional.linear(x, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
        .unflatten(-1, (heads, -1))
        .unbind(2)
        for name in ("wq", "wk", "wv")
    )
    mixed = []
    for head in range(heads):
        for at in range(x.shape[1]):
            past = slice(at + 1)
            score = torch.einsum("bk,bjk->bj", q[head][:, at], k[head][:, past])
            lost = x.new_tensor([penalty(at - key) for key in range(at + 1)])
            score = score * q[head].shape[-1] ** -0.5 - leaves["slope"][head] * lost
            mixed.append(torch.einsum("bj,bjv->bv", score.softmax(-1), v[head][:, past]))
    y = torch.stack(mixed, 1).unflatten(1, (heads, -1)).transpose(1, 2)
    return x + y.flatten(2)


@pytest.mark.parametrize("form", ["reference", "fused", "explicit", "flex"])
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_block_knows_nothing_beyond_the_query(
    name: str, form: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a penalty has no value its gradient would be NaN, whatever masks the score."""
    stack = stack_of(BLOCKS[name])
    state = leaves_of(stack, 7, 1.0)
    meant = differentiate(lambda leaves: {"X": attended(leaves, PENALTIES[name])}, state)
    if form == "flex":
        request.getfixturevalue("in_flex")
    else:
        monkeypatch.setattr(attention_edited, "edited_form", lambda *_: form)
    way = interpreted if form == "reference" else compiled
    found = way(stack, state)
    assert all(gradient.isfinite().all() for gradient in found.gradients.values())
    assert not differences(meant, found)


@pytest.mark.parametrize(
    "name", ["a logarithm of the distance", "a remainder by the distance", "a sum over keys"]
)
def test_a_decoder_evaluates_the_same_keys(name: str) -> None:
    stack = stack_of(BLOCKS[name])
    assert_equals_whole(stack, optimise(stack))


@pytest.mark.parametrize("name", FUSED | EXPLICIT)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    """Fused, its backward computes the scores again; with a learned bias torch keeps them."""
    length, batch = 33, 2
    stack = stack_of(BLOCKS[name])
    total, found = cost(stack, vocab_size=VOCAB).total, measure(stack, batch, length)
    assert batch * value_at(total.matmul, length) == found.forward
    assert batch * value_at(total.matmul + total.matmul_backward, length) == found.training
