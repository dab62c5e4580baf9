"""`attend` with a block: fused where the block adds to the scores and masks, exact in any case."""

from __future__ import annotations

import pytest
from generator.compare import differences
from measured_cost import VOCAB, measure
from test_attention_pass import run, stack_of

from gabc.check.cost import cost, value_at
from gabc.codegen.emit import emit


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
    "with options": block(
        "score = score - slope[h] * (i - j)", options=", window=window, scale=0.3"
    ),
}

EXPLICIT = {
    "a cap": block("score = 5.0 * tanh(score / 5.0)"),
    "a factor": block("score = score * slope[h] - (i - j)"),
    "twice": block("score = score + score"),
    "subtracted from": block("score = slope[h] - score"),
    "a mask of scores": block("keep = score > 0.0 or i == j"),
    "an option that is not fused": block("score = score - (i - j)", options=", softcap=3.0"),
}


@pytest.mark.parametrize("name", FUSED | EXPLICIT)
def test_the_form(name: str) -> None:
    text = emit(stack_of((FUSED | EXPLICIT)[name]), standalone=False, vocab_size=8).text
    assert (" attend(" in text) is (name in FUSED)
    assert ("attend_scores(" in text) is (name in EXPLICIT)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("name", FUSED | EXPLICIT)
def test_the_function_is_the_reference(name: str, length: int) -> None:
    stack = stack_of((FUSED | EXPLICIT)[name])
    meant = run(stack, length, is_interpreted=True)
    assert not differences(meant, run(stack, length, is_interpreted=False))


@pytest.mark.parametrize("name", FUSED | EXPLICIT)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    """Fused, its backward computes the scores again; with a learned bias torch keeps them."""
    length, batch = 33, 2
    stack = stack_of((FUSED | EXPLICIT)[name])
    total, found = cost(stack, vocab_size=VOCAB).total, measure(stack, batch, length)
    assert batch * value_at(total.matmul, length) == found.forward
    assert batch * value_at(total.matmul + total.matmul_backward, length) == found.training
