"""Choosing tokens one after another: greedily or by chance, with transformers' rules for scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gabc.runtime.decode.decoder import Decoder
from gabc.runtime.decode.state import State


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen; names and meaning are those of transformers' `generate`.

    `top_k` 0 and `top_p` 1.0 leave all tokens in; without `do_sample` the most probable is taken.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def processors(self, forbidden: Sequence[int] = (), device: str = "cpu") -> LogitsProcessorList:
        """The rules in transformers' order; `forbidden` tokens are never chosen.

        Raises:
            ValueError: a value is out of its range.
        """
        found = LogitsProcessorList()
        if self.repetition_penalty != 1.0:
            found.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if forbidden:
            found.append(SuppressTokensLogitsProcessor(list(forbidden), device=device))
        if not self.do_sample:
            return found
        if self.temperature != 1.0:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p != 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            found.append(MinPLogitsWarper(self.min_p))
        return found


@dataclass(slots=True)
class _Row:
    """A sequence being written. Its random numbers are its own: they depend on no other row."""

    number: int
    tokens: list[int]
    generator: torch.Generator = field(repr=False)


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    *,
    eos: int | None = None,
    forbidden: Sequence[int] = (),
    copies: int = 1,
) -> Iterator[tuple[int, int]]:
    """Pairs (sequence, token) as they come; sequences of one step come in order.

    Sequence `copies * p + c` is copy c of the continuation of prompt p. One ends with `eos`, which
    is given too, or after `max_new_tokens`; the others go on without it.

    Raises:
        ValueError: a prompt is empty, or a value of `sampling` is out of its range.
    """
    processors = sampling.processors(forbidden, str(decoder.embedding.device))
    logits, state = decoder.prefill(prompts)
    order = [place for place in range(len(prompts)) for _ in range(copies)]
    rows = [
        _Row(number, list(prompts[place]), torch.Generator().manual_seed(sampling.seed + number))
        for number, place in enumerate(order)
    ]
    logits, state = logits[order], state.select(order)
    for step in range(max_new_tokens):
        scores = processors(_seen(rows, logits.device), logits)
        going: list[int] = []
        for place, row in enumerate(rows):
            token = _chosen(scores[place], row, sampling.do_sample)
            row.tokens.append(token)
            yield row.number, token
            if token != eos:
                going.append(place)
        if not going or step + 1 == max_new_tokens:
            return
        logits, state = _advanced(decoder, rows, going, state)
        rows = [rows[place] for place in going]


def _advanced(
    decoder: Decoder, rows: Sequence[_Row], going: Sequence[int], state: State
) -> tuple[Tensor, State]:
    if len(going) < len(rows):
        state = state.select(going)
    last = [[rows[place].tokens[-1]] for place in going]
    logits, state = decoder(torch.tensor(last, device=decoder.embedding.device), state)
    return logits[:, -1], state


def _seen(rows: Sequence[_Row], device: torch.device) -> torch.LongTensor:
    """The tokens of each row [B, N], the shorter ones filled up with one of their own, which rules
    about what has been seen cannot tell."""
    longest = max(len(row.tokens) for row in rows)
    filled = [[row.tokens[0]] * (longest - len(row.tokens)) + row.tokens for row in rows]
    return cast(torch.LongTensor, torch.tensor(filled, device=device))


def _chosen(scores: Tensor, row: _Row, do_sample: bool) -> int:
    if not do_sample:
        return int(scores.argmax())
    probabilities = scores.float().softmax(-1).cpu()
    return int(torch.multinomial(probabilities, 1, generator=row.generator))
