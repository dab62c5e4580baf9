"""Scores against plain loops: held-out text, pairs, the requests of lm-eval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gabc.data.corpus import Corpus
from gabc.evaluate.harness import run_tasks
from gabc.evaluate.lm import ScoringLM, module_lm
from gabc.evaluate.minimal_pairs import compare, read_pairs
from gabc.evaluate.result import RunResult
from gabc.evaluate.scoring import Answer, Request, answer

from .tiny import (
    BYTE,
    DATA_DIR,
    IDENTITY,
    SUPPLEMENT,
    build,
    instance,
    needs_data,
)


def log_probability(module: nn.Module, ids: Sequence[int], start: int) -> float:
    """One sequence by itself in float64, as a check on batching and padding."""
    logits = module(torch.tensor([ids]))[0].double()
    table = logits.log_softmax(-1)
    return sum(float(table[i - 1, ids[i]]) for i in range(start, len(ids)))


def test_heldout_loss_against_a_plain_loop(result: RunResult, run: Path, corpus: Corpus) -> None:
    module = build(IDENTITY)
    module.load_state_dict(load_file(run / "checkpoint-120" / "model.safetensors"))
    tokens = [int(t) for t in corpus.heldout.tokens]
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 64):
            window = tokens[start : start + 65]
            total -= log_probability(module, window, 1)
    assert result.heldout.tokens == len(tokens) - 1
    assert result.heldout.loss == pytest.approx(total / (len(tokens) - 1), rel=1e-6)
    assert result.heldout.bits_per_byte == pytest.approx(
        total / math.log(2) / corpus.heldout.bytes, rel=1e-6
    )


def test_answers_do_not_depend_on_the_batch(corpus: Corpus) -> None:
    module = build(IDENTITY)
    texts = [corpus.heldout.tokens[i * 37 : i * 37 + 2 + i].tolist() for i in range(60)]
    requests = [Request(tuple(text[:1]), tuple(text[1:])) for text in texts]
    with torch.no_grad():
        expected = [log_probability(module, text, 1) for text in texts]
    found = answer(module, requests + requests[:3], BYTE.vocab_size)
    assert [a.log_probability for a in found[:60]] == pytest.approx(expected, rel=1e-5)
    assert found[60:] == found[:3]


def test_greedy_is_the_most_probable_continuation() -> None:
    module = build(IDENTITY)
    best = int(module(torch.tensor([[256, 97]]))[0, -1].argmax())
    requests = [Request((256, 97), (token,)) for token in (best, (best + 1) % 256)]
    assert [a.is_greedy for a in answer(module, requests, BYTE.vocab_size)] == [True, False]


def test_request_form() -> None:
    """An empty context is the document mark; a sentence has its space; nothing is cut off."""
    seen: list[Request] = []

    def record(requests: Sequence[Request]) -> list[Answer]:
        seen.extend(requests)
        return [Answer(0.0, False)] * len(requests)

    lm = ScoringLM(BYTE, record)
    lm.loglikelihood([instance("", " Hi.\nYo."), instance("a b ", "c"), instance("a", " b")])
    assert [(r.context, bytes(r.continuation)) for r in seen] == [
        ((256,), b" Hi.\nYo."),
        (tuple(b"a b"), b" c"),
        (tuple(b"a"), b" b"),
    ]
    with pytest.raises(NotImplementedError, match="scores text"):
        lm.generate_until([])


def test_tasks_through_lm_eval(result: RunResult) -> None:
    (task,) = result.tasks
    assert [(s.name, s.pairs) for s in task.subtasks] == [
        (name, 4 + index) for index, name in enumerate(SUPPLEMENT)
    ]
    # trained on Python, even this model prefers `import`
    assert task.acc_strict == task.acc == 1.0
    assert (task.tie_rate, task.non_finite, task.pairs) == (0.0, 0, 30)


@needs_data
def test_strict_accuracy_against_a_plain_loop() -> None:
    """Real pairs, each sentence scored by itself with its leading space after the mark."""
    module = build(IDENTITY)
    (task,) = run_tasks(module_lm(module, BYTE), ["blimp_supplement"], DATA_DIR, limit=8)
    assert [score.pairs for score in task.subtasks] == [8] * 5
    for score in task.subtasks:
        pairs = read_pairs(DATA_DIR / "supplement_filtered" / f"{score.name}.jsonl")[:8]
        with torch.no_grad():
            good, bad = (
                [log_probability(module, [256, *BYTE.encode(f" {p[field]}")], 1) for p in pairs]
                for field in ("sentence_good", "sentence_bad")
            )
        assert score.acc_strict == pytest.approx(
            sum(g > b for g, b in zip(good, bad, strict=True)) / 8
        )


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (-1.0, -2.0, (1, 1, 0, 0)),
        (-2.0, -1.0, (0, 0, 0, 0)),
        (-1.0, -1.0, (0, 1, 1, 0)),
        (math.nan, -1.0, (0, 1, 0, 1)),
        (-1.0, math.nan, (0, 0, 0, 1)),
        (math.nan, math.nan, (0, 1, 0, 1)),
        (-1.0, -math.inf, (1, 1, 0, 1)),
    ],
)
def test_strict_comparison(good: float, bad: float, expected: tuple[int, ...]) -> None:
    found = compare({}, [(good, False), (bad, False)])
    assert tuple(found[m] for m in ("acc_strict", "acc", "tie", "non_finite")) == expected
