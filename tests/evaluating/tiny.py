"""A tiny model to train and to score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from torch import nn

from gabc.data.tokenizer import load_tokenizer
from gabc.evaluate.gates import check_scores
from gabc.evaluate.result import HeldOutScore, RunResult, TaskScore
from gabc.train.identity import ModelIdentity

DATA_DIR = Path(__file__).parents[3] / "shared" / "data" / "babylm2024_evaluation_data"
needs_data = pytest.mark.skipif(not DATA_DIR.is_dir(), reason="../shared/data is not there")

BYTE = load_tokenizer("byte")
IDENTITY = ModelIdentity(
    "Tiny <&>", "hash-of-tiny", (("tiny.gab", "source"),), "14M", BYTE.vocab_size, 0, "0.1.0"
)
SUPPLEMENT = (
    "hypernym",
    "qa_congruence_easy",
    "qa_congruence_tricky",
    "subject_aux_inversion",
    "turn_taking",
)
RANDOM_PAIRS = 300
FOUR_SIGMA = 4 * 0.5 / math.sqrt(RANDOM_PAIRS)


class Tiny(nn.Module):
    """Predicts from the last two tokens."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTE.vocab_size, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.mix = nn.Linear(2 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        before = nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        y: torch.Tensor = x + torch.relu(self.mix(torch.cat([x, before], -1)))
        return y @ self.embed.weight.T


def build(identity: ModelIdentity) -> nn.Module:
    torch.manual_seed(identity.seed)
    return Tiny()


def instance(context: str, continuation: str) -> Instance:
    return Instance("loglikelihood", {}, (context, continuation), 0)


def check_result(
    result: RunResult,
    heldout: HeldOutScore | None = None,
    extra: Sequence[HeldOutScore] = (),
    tasks: Sequence[TaskScore] = (),
) -> None:
    check_scores(
        result.key, BYTE.vocab_size, heldout or result.heldout, extra, tasks, "same", "same"
    )
