"""Proof and gates: it scores the trained weights, and refuses what cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gabc.data.corpus import Corpus
from gabc.evaluate.errors import GateError
from gabc.evaluate.gates import check_proof, check_scores
from gabc.evaluate.result import RunResult
from gabc.evaluate.run import evaluate
from gabc.train.run import train
from gabc.train.settings import TrainingSettings

from .tiny import (
    BYTE,
    IDENTITY,
    Tiny,
    build,
    check_result,
)


def test_the_trained_weights_are_scored(result: RunResult) -> None:
    trainer_loss, our_loss = result.proof_loss
    assert our_loss == pytest.approx(trainer_loss, abs=1e-6)
    assert result.heldout.loss < math.log(BYTE.vocab_size) - 1
    assert len(result.training.history) == 120


def test_untrained_weights_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    settings = TrainingSettings(
        steps=1, learning_rate=1e-6, batch_tokens=64, context=64, micro_batch=1
    )
    train(build(IDENTITY), IDENTITY, corpus, settings, tmp_path / "run")
    with pytest.raises(GateError, match="Gate 2: the held-out loss is"):
        evaluate(tmp_path / "run", build, BYTE, corpus, device="cpu")


def test_a_model_that_computes_something_else_is_refused(run: Path, corpus: Corpus) -> None:
    class Changed(Tiny):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return super().forward(tokens) * 1.05

    with pytest.raises(GateError, match=r"Gate 1: .* was \d\.\d+ when the checkpoint was written"):
        evaluate(run, lambda _: Changed(), BYTE, corpus, device="cpu")


def test_weights_that_change_while_scoring_are_refused(run: Path, corpus: Corpus) -> None:
    class Restless(Tiny):
        calls = 0

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            logits = super().forward(tokens)
            if self.calls > 1:
                self.mix.bias.data += 1e-3
            return logits

    with pytest.raises(GateError, match="Gate 5"):
        evaluate(run, lambda _: Restless(), BYTE, corpus, device="cpu")


def test_a_seen_future_is_refused(result: RunResult) -> None:
    with pytest.raises(GateError, match=r"Gate 3: .* sees the future"):
        check_result(result, heldout=replace(result.heldout, loss=0.1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_refused(value: float, result: RunResult) -> None:
    with pytest.raises(GateError, match="Gate 4"):
        check_result(result, heldout=replace(result.heldout, loss=value, non_finite=3))
    with pytest.raises(GateError, match=r"Gate 4: 3 of \d+ losses on other are not finite"):
        check_result(
            result, extra=[replace(result.heldout, name="other", loss=value, non_finite=3)]
        )
    with pytest.raises(GateError, match="Gate 1"):
        check_proof(1.0, value)


def test_an_incomplete_key_is_refused(result: RunResult) -> None:
    with pytest.raises(GateError, match="Gate 7: the result's key has no design_hash"):
        check_scores(
            replace(result.key, design_hash=""), BYTE.vocab_size, result.heldout, (), (), "a", "a"
        )
