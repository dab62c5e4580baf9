"""Negative controls: models that know nothing, which a sound evaluation must not reward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from gabc.data.ngram import NgramModel
from gabc.data.tokenizer import Tokenizer
from gabc.evaluate.lm import ScoringLM
from gabc.evaluate.scoring import Answer, Request


class ConstantModel(nn.Module):
    """Gives the same logit to every token: 0 for a uniform model, NaN for a broken one."""

    def __init__(self, vocab_size: int, logit: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((vocab_size,), logit))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens [B, L] -> logits [B, L, V]."""
        return self.logits.expand(*tokens.shape, -1)


def uniform_model(vocab_size: int) -> nn.Module:
    """Every token is equally probable everywhere: upstream's accuracy gives it 96% on BLiMP."""
    return ConstantModel(vocab_size, 0.0)


def nan_model(vocab_size: int) -> nn.Module:
    """Every logit is NaN: upstream's accuracy gives it 100%."""
    return ConstantModel(vocab_size, float("nan"))


def ngram_lm(model: NgramModel, tokenizer: Tokenizer) -> ScoringLM:
    """The n-gram baseline under the same tasks; `is_greedy` is not computed and is always False."""

    def score(requests: Sequence[Request]) -> list[Answer]:
        # One stream for all; losses of the tokens at the joints are not used.
        stream = np.array([i for r in requests for i in r.context + r.continuation], np.int32)
        losses = np.concatenate([[0.0], model.log_probabilities(stream)])
        ends = np.cumsum([len(r.context) + len(r.continuation) for r in requests])
        sums = np.concatenate([[0.0], np.cumsum(losses)])
        starts = [end - len(r.continuation) for end, r in zip(ends, requests, strict=True)]
        return [Answer(float(sums[e] - sums[s]), False) for s, e in zip(starts, ends, strict=True)]

    return ScoringLM(tokenizer, score)
