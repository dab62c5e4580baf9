"""Scores of queries and keys that decay from one to the other, inside the chunks of a sequence.

No decay is ever divided by another and no sums of logarithms are subtracted, so that nothing
overflows or cancels at any gate up to 1, of log -inf too. Growth (a positive log) is exact as long
as its product over a chunk's steps is finite; a loop needs that only of growing states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.pairwise_decay import DecayedScores, scores_by_key


def decayed_scores(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    log_decay: Tensor | None,
    reads_before: Sequence[bool],
) -> DecayedScores:
    """Queries and keys [..., C, K], log_decay [..., C, K] or [..., C, 1] or None (no decay).

    C is a power of two. Stream p of queries reads the state before its own step's decay and key
    where `reads_before[p]`, else after them.
    """
    if log_decay is None:
        return _without_decay(queries, keys, reads_before)
    if log_decay.shape[-1] == 1:
        return _with_head_decay(queries, keys, log_decay.squeeze(-1), reads_before)
    return _with_key_decay(queries, keys, log_decay.exp(), reads_before)


def _without_decay(
    queries: Sequence[Tensor], keys: Sequence[Tensor], reads_before: Sequence[bool]
) -> DecayedScores:
    scores = tuple(
        tuple((q @ k.transpose(-1, -2)).tril(-1 if before else 0) for k in keys)
        for q, before in zip(queries, reads_before, strict=True)
    )
    total = keys[0].new_ones(*keys[0].shape[:-2], 1)
    return DecayedScores(scores, tuple(queries), tuple(keys), total)


def _with_head_decay(
    queries: Sequence[Tensor], keys: Sequence[Tensor], g: Tensor, reads_before: Sequence[bool]
) -> DecayedScores:
    """One decay for all keys, g [..., C]: the decay from s to t multiplies the plain score."""
    between, since = _segment_sums(g).exp(), g.cumsum(-1).exp()
    # One step less: what has happened up to t - 1.
    before = (F.pad(between[..., :-1, :], (0, 0, 1, 0)), F.pad(since[..., :-1], (1, 0), value=1.0))
    seen = [before if reads_first else (between, since) for reads_first in reads_before]
    return DecayedScores(
        tuple(
            tuple(q @ k.transpose(-1, -2) * between_p for k in keys)
            for q, (between_p, _) in zip(queries, seen, strict=True)
        ),
        tuple(q * since_p.unsqueeze(-1) for q, (_, since_p) in zip(queries, seen, strict=True)),
        tuple(k * between[..., -1, :, None] for k in keys),
        since[..., -1:],
    )


def _segment_sums(g: Tensor) -> Tensor:
    """g [..., C] to [..., C, C]: at (t, s) the sum of g over s < r <= t, -inf where s > t.

    Summed directly and not as a difference of cumulative sums, which would cancel.
    """
    steps = torch.arange(g.shape[-1], device=g.device)
    after = steps[:, None] > steps  # [r, s]
    sums = torch.where(after, g[..., :, None], 0.0).cumsum(-2)
    reached = steps[:, None] >= steps  # [t, s]
    return torch.where(reached, sums, -torch.inf)


def _with_key_decay(
    queries: Sequence[Tensor], keys: Sequence[Tensor], decay: Tensor, reads_before: Sequence[bool]
) -> DecayedScores:
    """A decay for each key, [..., C, K]."""
    lead = decay.shape[:-2]
    flat_queries, flat_keys = (
        [x.reshape(-1, *x.shape[-2:]) for x in streams] for streams in (queries, keys)
    )
    parts = scores_by_key(
        flat_queries, flat_keys, decay.reshape(-1, *decay.shape[-2:]), reads_before
    )

    def shaped(x: Tensor) -> Tensor:
        return x.view(*lead, *x.shape[1:])

    return DecayedScores(
        tuple(tuple(map(shaped, row)) for row in parts.scores),
        tuple(map(shaped, parts.read)),
        tuple(map(shaped, parts.written)),
        shaped(parts.total),
    )
