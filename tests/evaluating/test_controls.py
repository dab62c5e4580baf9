"""Negative and positive controls: what knows nothing scores nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gabc.data.corpus import Corpus, load_corpus
from gabc.data.ngram import NgramModel
from gabc.data.tokenizer import load_tokenizer
from gabc.evaluate.control_record import run_controls
from gabc.evaluate.controls import nan_model, ngram_lm, uniform_model
from gabc.evaluate.errors import GateError
from gabc.evaluate.harness import run_tasks
from gabc.evaluate.heldout import score_heldout
from gabc.evaluate.lm import ScoringLM, module_lm
from gabc.evaluate.result import EVALUATOR_VERSION, RunResult
from gabc.evaluate.run import evaluate
from gabc.evaluate.scoring import Answer, Request, stream_losses

from .tiny import (
    BYTE,
    DATA_DIR,
    FOUR_SIGMA,
    IDENTITY,
    build,
    check_result,
    instance,
    needs_data,
)


def test_uniform_control_lives_on_ties_and_is_refused(result: RunResult, random_dir: Path) -> None:
    lm = module_lm(uniform_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], random_dir)
    assert (task.acc, task.acc_strict, task.tie_rate) == (1.0, 0.0, 1.0)
    with pytest.raises(GateError, match=r"Gate 4: 100.0% of the pairs of blimp_supplement are tie"):
        check_result(result, tasks=[task])


def test_nan_control_is_perfect_upstream_and_refused_here(
    result: RunResult, random_dir: Path
) -> None:
    lm = module_lm(nan_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], random_dir, limit=4)
    assert (task.acc, task.acc_strict, task.non_finite) == (1.0, 0.0, 20)
    with pytest.raises(GateError, match="Gate 4: 20 of 20 pairs"):
        check_result(result, tasks=[task])


def test_random_weights_are_at_chance_and_pass_no_gate_for_text(
    result: RunResult, random_dir: Path, corpus: Corpus
) -> None:
    module = build(IDENTITY)
    (task,) = run_tasks(module_lm(module, BYTE), ["blimp_supplement"], random_dir)
    assert task.acc_strict == pytest.approx(0.5, abs=FOUR_SIGMA)
    heldout = score_heldout(module, corpus.heldout, 64, BYTE.vocab_size)
    with pytest.raises(GateError, match="Gate 2"):
        check_result(result, heldout=heldout, tasks=[task])


def test_ngram_control_knows_python_and_nothing_else(
    corpus: Corpus, pairs_dir: Path, random_dir: Path
) -> None:
    lm = ngram_lm(NgramModel(corpus.train, 3, BYTE.size), BYTE)
    (known,) = run_tasks(lm, ["blimp_supplement"], pairs_dir)
    (unknown,) = run_tasks(lm, ["blimp_supplement"], random_dir)
    assert known.acc_strict == 1.0
    assert unknown.acc_strict == pytest.approx(0.5, abs=FOUR_SIGMA)


def test_controls_are_recorded(result: RunResult, corpus: Corpus, random_dir: Path) -> None:
    record = run_controls(
        result,
        build(IDENTITY),
        BYTE,
        corpus,
        tasks=["blimp_supplement"],
        data_dir=random_dir,
    )
    refused = {control.name: bool(control.refusal) for control in record.negative}
    assert refused == {"uniform": True, "NaN": True, "random init": True, "trigram": False}
    assert record.positive.loss == result.heldout.loss
    assert json.loads(record.to_json())["evaluator_version"] == EVALUATOR_VERSION


def test_controls_that_know_something_are_no_controls(
    result: RunResult, run: Path, corpus: Corpus, pairs_dir: Path
) -> None:
    with pytest.raises(GateError, match=r"trigram control has 100\.0% on blimp_supplement"):
        run_controls(
            result,
            build(IDENTITY),
            BYTE,
            corpus,
            tasks=["blimp_supplement"],
            data_dir=pairs_dir,
        )
    trained = build(IDENTITY)
    trained.load_state_dict(load_file(run / "checkpoint-120" / "model.safetensors"))
    with pytest.raises(GateError, match="`random init` passed every gate"):
        run_controls(result, trained, BYTE, corpus)


def test_a_version_without_controls_stores_no_score(
    run: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gabc.evaluate.control_record.EVALUATOR_VERSION", "next")
    with pytest.raises(GateError, match="Gate 6: this is version next"):
        evaluate(run, build, BYTE, corpus)


@needs_data
def test_uniform_control_on_real_pairs(result: RunResult) -> None:
    lm = module_lm(uniform_model(BYTE.vocab_size), BYTE)
    (task,) = run_tasks(lm, ["blimp_supplement"], DATA_DIR, limit=20)
    for score in task.subtasks:
        assert score.acc == pytest.approx(score.acc_strict + score.tie_rate)
    assert task.tie_rate > 0.2
    with pytest.raises(GateError, match=r"Gate 4: .* of the pairs of blimp_supplement are ties"):
        check_result(result, tasks=[task])


@pytest.mark.slow
@needs_data
def test_uniform_control_scores_96_per_cent_upstream_on_all_of_blimp() -> None:
    """The known trap, with GPT-2's tokenizer on all 59,875 pairs."""
    gpt2 = load_tokenizer("gpt2", DATA_DIR)

    def uniform(requests: Sequence[Request]) -> list[Answer]:
        return [Answer(-len(r.continuation) * math.log(gpt2.size), False) for r in requests]

    (task,) = run_tasks(ScoringLM(gpt2, uniform), ["blimp_filtered"], DATA_DIR)
    assert (task.pairs, len(task.subtasks)) == (59_875, 67)
    assert task.acc == pytest.approx(0.961, abs=0.001)
    assert task.acc_strict < 0.1


def test_uniform_model_has_the_loss_of_a_uniform_model(corpus: Corpus) -> None:
    module = uniform_model(BYTE.vocab_size)
    losses = stream_losses(module, corpus.heldout.tokens[:1000], 64, BYTE.vocab_size)
    assert losses.numpy() == pytest.approx(math.log(BYTE.vocab_size), abs=1e-5)


@pytest.mark.slow
@needs_data
def test_trigram_stays_near_chance_on_blimp() -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    corpus = load_corpus(gpt2, data_dir=DATA_DIR)
    lm = ngram_lm(NgramModel(corpus.train, 3, gpt2.size), gpt2)
    (task,) = run_tasks(lm, ["blimp_filtered"], DATA_DIR, limit=100)
    assert 0.48 < task.acc_strict < 0.56


def test_ngram_lm_scores_as_the_model_does(corpus: Corpus) -> None:
    model = NgramModel(corpus.train, 3, BYTE.size)
    lm = ngram_lm(model, BYTE)
    found = lm.loglikelihood([instance("", "import os"), instance("impo", "rt")])
    expected = []
    for context, text in (([256], "import os"), (list(b"impo"), "rt")):
        ids = torch.tensor([*context, *text.encode()]).int().numpy()
        expected.append(float(model.log_probabilities(ids)[len(context) - 1 :].sum()))
    assert [value for value, _ in found] == pytest.approx(expected)
