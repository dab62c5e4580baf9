"""Scores of queries and keys that decay from one to the other, inside the chunks of a sequence.

No decay is ever divided by another and no sums of logarithms are subtracted, so that nothing
overflows or cancels at any gate up to 1, of log -inf too. Growth (a positive log) is exact as long
as its product over a chunk's steps is finite; a loop needs that only of growing states.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class DecayedScores(NamedTuple):
    """Of P streams of queries and R of keys in a chunk of C steps.

    scores [..., P, C, R, C]: q_t k_s with the decay from s to t, zero where s is not seen at t.
    read [..., P, C, K]: queries with the decay since the chunk's start. written [..., R, C, K]:
    keys with the decay to its end. total [..., K or 1]: the decay of the whole chunk.
    """

    scores: Tensor
    read: Tensor
    written: Tensor
    total: Tensor


def decayed_scores(
    q: Tensor, k: Tensor, log_decay: Tensor | None, reads_before: tuple[bool, ...]
) -> DecayedScores:
    """q [..., P, C, K], k [..., R, C, K], log_decay [..., C, K] or [..., C, 1] or None (no decay).

    C is a power of two. Stream p of queries reads the state before its own step's decay and key
    where `reads_before[p]`, else after them.
    """
    if log_decay is None:
        return _without_decay(q, k, reads_before)
    if log_decay.shape[-1] == 1:
        return _with_head_decay(q, k, log_decay.squeeze(-1), reads_before)
    return _with_key_decay(q, k, log_decay.exp(), reads_before)


def _products(q: Tensor, k: Tensor) -> Tensor:
    """q [..., P, m, K] and k [..., R, m, K] to [..., P, m, R, m], as one matrix product."""
    flat = q.flatten(-3, -2) @ k.flatten(-3, -2).transpose(-1, -2)
    return flat.reshape(*flat.shape[:-2], *q.shape[-3:-1], *k.shape[-3:-1])


def _without_decay(q: Tensor, k: Tensor, reads_before: tuple[bool, ...]) -> DecayedScores:
    ones = q.new_ones(q.shape[-2], q.shape[-2])
    seen = torch.stack([ones.tril(-1 if before else 0) for before in reads_before])
    return DecayedScores(_products(q, k) * seen.unsqueeze(-2), q, k, q.new_ones(*q.shape[:-3], 1))


def _with_head_decay(
    q: Tensor, k: Tensor, g: Tensor, reads_before: tuple[bool, ...]
) -> DecayedScores:
    """One decay for all keys, g [..., C]: the decay from s to t multiplies the plain score."""
    between, since = segment_sums(g).exp(), g.cumsum(-1).exp()
    after = (between, since)
    # One step less: what has happened up to t - 1.
    before = (F.pad(between[..., :-1, :], (0, 0, 1, 0)), F.pad(since[..., :-1], (1, 0), value=1.0))
    betweens, sinces = zip(*(before if b else after for b in reads_before), strict=True)
    return DecayedScores(
        _products(q, k) * torch.stack(betweens, -3).unsqueeze(-2),
        q * torch.stack(sinces, -2).unsqueeze(-1),
        k * between[..., -1, :, None].unsqueeze(-3),
        since[..., -1:],
    )


def segment_sums(g: Tensor) -> Tensor:
    """g [..., C] to [..., C, C]: at (t, s) the sum of g over s < r <= t, -inf where s > t.

    Summed directly and not as a difference of cumulative sums, which would cancel.
    """
    steps = torch.arange(g.shape[-1], device=g.device)
    after = steps[:, None] > steps  # [r, s]
    sums = torch.where(after, g[..., :, None], 0.0).cumsum(-2)
    reached = steps[:, None] >= steps  # [t, s]
    return torch.where(reached, sums, -torch.inf)


def _with_key_decay(
    q: Tensor, k: Tensor, decay: Tensor, reads_before: tuple[bool, ...]
) -> DecayedScores:
    """A decay for each key, [..., C, K]: blocks of one step are joined in pairs, log C times.

    Gated linear attention (arXiv 2312.06635, section 4.3) has two levels of chunks. Here every
    border between two blocks is a reference point: queries of the later one carry the decay since
    it, keys of the earlier one the decay up to it, and their product is the score.
    """
    own, read = [], []
    for before, q_p in zip(reads_before, q.unbind(-3), strict=True):
        own.append(k.new_zeros(k.shape[:-1]) if before else (q_p.unsqueeze(-3) * k).sum(-1))
        read.append(q_p if before else q_p * decay)
    block = DecayedScores(
        torch.stack(own, -3).movedim(-1, -3)[..., :, None, :, None],
        torch.stack(read, -2).unsqueeze(-2),
        k.transpose(-2, -3).unsqueeze(-2),
        decay,
    )
    while block.total.shape[-2] > 1:
        block = _joined(block)
    return DecayedScores(
        block.scores.squeeze(-5),
        block.read.squeeze(-4),
        block.written.squeeze(-4),
        block.total.squeeze(-2),
    )


def _joined(blocks: DecayedScores) -> DecayedScores:
    """Each pair of neighbouring blocks as one, scores [..., n, P, m, R, m] with half the n."""
    scores0, scores1 = pairs(blocks.scores, -5)
    read0, read1 = pairs(blocks.read, -4)
    written0, written1 = pairs(blocks.written, -4)
    total0, total1 = pairs(blocks.total, -2)
    earlier = torch.cat([scores0, torch.zeros_like(scores0)], -1)
    later = torch.cat([_products(read1, written0), scores1], -1)
    return DecayedScores(
        torch.cat([earlier, later], -3),
        torch.cat([read0, read1 * total0[..., None, None, :]], -2),
        torch.cat([written0 * total1[..., None, None, :], written1], -2),
        total0 * total1,
    )


def pairs(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The even and the odd entries of an axis."""
    first, second = torch.unflatten(x, axis, (-1, 2)).unbind(axis)
    return first, second
