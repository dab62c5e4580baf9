"""Log-probabilities of token sequences under a module, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from gabc.data.corpus import Tokens
from gabc.train.loss import token_losses

# Bounds of a batch on a CPU and on a GPU: tokens, and logits (256 MiB and 4 GiB of float32).
_TOKENS_CPU, _LOGITS_CPU = 1 << 12, 1 << 26
_TOKENS_GPU, _LOGITS_GPU = 1 << 17, 1 << 30


@dataclass(frozen=True, slots=True)
class Request:
    """Score `continuation` given `context`, which is never empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The summed natural log-probability, and whether each token was the most probable one."""

    log_probability: float
    is_greedy: bool


def answer(module: nn.Module, requests: Sequence[Request], vocab_size: int) -> list[Answer]:
    """Score each request, in the order given. Equal requests are scored once.

    Rows are padded on the right, which a causal module cannot see. No length normalisation.
    """
    unique = sorted(set(requests), key=_length)
    found: dict[Request, Answer] = {}
    for batch in _batches(unique, _tokens_at_once(module, vocab_size)):
        found.update(zip(batch, _answer_batch(module, batch), strict=True))
    return [found[request] for request in requests]


def stream_losses(module: nn.Module, tokens: Tokens, context: int, vocab_size: int) -> torch.Tensor:
    """Losses [n - 1] in nats of each of `tokens` [n] after the first, in windows of `context`.

    Windows do not overlap: a token sees what precedes it in its own window and the token before
    it, as in training.
    """
    device = next(module.parameters()).device
    targets = len(tokens) - 1
    windows = -(-targets // context)
    stream = torch.zeros(windows * context + 1, dtype=torch.long)
    stream[: len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
    rows = stream.unfold(0, context + 1, context)
    per_batch = max(1, _tokens_at_once(module, vocab_size) // context)
    module.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, windows, per_batch):
            batch = rows[start : start + per_batch].to(device)
            losses.append(token_losses(module(batch[:, :-1]), batch[:, 1:]).flatten().cpu())
    return torch.cat(losses)[:targets]


def _tokens_at_once(module: nn.Module, vocab_size: int) -> int:
    if next(module.parameters()).device.type == "cpu":
        return min(_TOKENS_CPU, _LOGITS_CPU // vocab_size)
    return min(_TOKENS_GPU, _LOGITS_GPU // vocab_size)


def _length(request: Request) -> int:
    return len(request.context) + len(request.continuation)


def _batches(ordered: list[Request], tokens: int) -> Iterator[list[Request]]:
    """Runs of requests whose padded size stays within `tokens`; at least one request each."""
    batch: list[Request] = []
    for request in ordered:  # lengths ascend, so the newest is the longest of its batch
        if batch and (len(batch) + 1) * _length(request) > tokens:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def _answer_batch(module: nn.Module, batch: list[Request]) -> list[Answer]:
    device = next(module.parameters()).device
    rows = torch.zeros(len(batch), _length(batch[-1]), dtype=torch.long)
    wanted = torch.zeros(len(batch), _length(batch[-1]) - 1, dtype=torch.bool)
    for row, request in enumerate(batch):
        ids = request.context + request.continuation
        rows[row, : len(ids)] = torch.tensor(ids)
        wanted[row, len(request.context) - 1 : len(ids) - 1] = True
    rows, wanted = rows.to(device), wanted.to(device)
    module.eval()
    with torch.no_grad():
        logits = module(rows[:, :-1])
        losses = token_losses(logits, rows[:, 1:])
        chosen = logits.gather(-1, rows[:, 1:, None]).squeeze(-1)
        greedy = (chosen == logits.amax(-1)) | ~wanted
        # float64 sums, so that the order of adding cannot make or break a tie
        summed = -losses.double().masked_fill(~wanted, 0.0).sum(1)
    answers = zip(summed.tolist(), greedy.all(1).tolist(), strict=True)
    return [Answer(log_probability, is_greedy) for log_probability, is_greedy in answers]
