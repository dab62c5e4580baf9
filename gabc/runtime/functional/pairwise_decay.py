"""Decays in a chunk that differ by channel: blocks of one step are joined in pairs, log C times.

Gated linear attention (arXiv 2312.06635, section 4.3) has two levels of chunks. Here every border
between two blocks is a reference point: what is read after it carries the decay since it, what was
written before it the decay up to it. So no decay is divided by another and no logarithms are
subtracted. The gradients are written by hand: autograd of the joins moves three times as much
memory. Where they are differentiated again, autograd goes through the definitions instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gabc.runtime.functional.derivatives import differentiable_gradients


class DecayedScores(NamedTuple):
    """Of streams of queries and of keys in a chunk of C steps.

    scores[p][r] [..., C, C]: q_t k_s of stream p of queries and r of keys, with the decay from s to
    t, zero where s is not seen at t. read[p] [..., C, K]: queries with the decay since the chunk's
    start. written[r] [..., C, K]: keys with the decay to its end. total [..., K or 1]: the decay of
    the whole chunk.
    """

    scores: tuple[tuple[Tensor, ...], ...]
    read: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    total: Tensor


class SumsByValue(NamedTuple):
    """inside, since and values [N, C, V], total [N, V]."""

    inside: Tensor
    since: Tensor
    values: Tensor
    total: Tensor


def scores_by_key(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    decay: Tensor,
    reads_before: Sequence[bool],
) -> DecayedScores:
    """Scores q_t k_s with the decay of each key from s to t, and both decayed to the borders.

    Queries, keys and decay [N, C, K], decay not negative, C a power of two. Stream p of the queries
    reads before the decay and key of its own step where `reads_before[p]`, else after. `read` are
    queries with the decay since the chunk's start, `written` keys with the decay to its end,
    `total` is the decay of the whole chunk.
    """
    parts = _ScoresByKey.apply(decay, tuple(reads_before), *queries, *keys)  # type: ignore[no-untyped-call]
    return _by_stream(parts, len(queries), len(keys))


def _by_stream(parts: tuple[Tensor, ...], queries: int, keys: int) -> DecayedScores:
    scores, borders = parts[: queries * keys], parts[queries * keys : -1]
    rows = tuple(scores[p * keys : (p + 1) * keys] for p in range(queries))
    return DecayedScores(rows, borders[:queries], borders[queries:], parts[-1])


def sums_by_value(scores: Tensor, v: Tensor, decay: Tensor, read_before: bool) -> SumsByValue:
    """inside_t = the sum over s of scores_ts v_s with the decay of each value from s to t.

    scores [N, C, C], v [N, C, V], decay [N, C, V] not negative, C a power of two. `since` is the
    decay since the chunk's start that a read at t sees, `values` are v with the decay to the
    chunk's end, `total` is the decay of the whole chunk.
    """
    return SumsByValue(*_SumsByValue.apply(scores, v, decay, read_before))  # type: ignore[no-untyped-call]


def defined_scores_by_key(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    decay: Tensor,
    reads_before: Sequence[bool],
) -> DecayedScores:
    """`scores_by_key` as it is defined, at the cost of all decays between steps [N, C, C, K]."""
    seen = [_decays(decay, before) for before in reads_before]
    between, since = _decays(decay, False)
    return DecayedScores(
        tuple(
            tuple(torch.einsum("ntk,nsk,ntsk->nts", q, k, between_p) for k in keys)
            for q, (between_p, _) in zip(queries, seen, strict=True)
        ),
        tuple(q * since_p for q, (_, since_p) in zip(queries, seen, strict=True)),
        tuple(k * between[:, -1] for k in keys),
        since[:, -1],
    )


def defined_sums_by_value(
    scores: Tensor, v: Tensor, decay: Tensor, read_before: bool
) -> SumsByValue:
    """`sums_by_value` as it is defined, at the cost of all decays between steps [N, C, C, V]."""
    between, since = _decays(decay, read_before)
    to_end, to_here = _decays(decay, False)
    inside = torch.einsum("ncs,nsv,ncsv->ncv", scores, v, between)
    return SumsByValue(inside, since, v * to_end[:, -1], to_here[:, -1])


def _decays(decay: Tensor, read_before: bool) -> tuple[Tensor, Tensor]:
    """The decay from step s to a read at t, [N, t, s, D], zero where t does not see s; and that
    since the start, [N, t, D]."""
    steps = torch.arange(decay.shape[1], device=decay.device)
    later = (steps[:, None] > steps)[..., None]  # [r, s, 1]
    seen = (steps[:, None] >= steps)[..., None]
    between = torch.where(later, decay[:, :, None], 1.0).cumprod(1) * seen
    since = decay.cumprod(1)
    if not read_before:
        return between, since
    none, one = torch.zeros_like(between[:, :1]), torch.ones_like(since[:, :1])
    return torch.cat([none, between[:, :-1]], 1), torch.cat([one, since[:, :-1]], 1)


# The context of an autograd node has no type of its own in torch.
class _ScoresByKey(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, decay: Tensor, reads_before: tuple[bool, ...], *streams: Tensor
    ) -> tuple[Tensor, ...]:
        queries, keys = streams[: len(reads_before)], streams[len(reads_before) :]
        size, steps, width = decay.shape
        read, written, total = torch.stack(queries, 1), torch.stack(keys, 1), decay
        scores = decay.new_zeros(size, len(queries), len(keys), steps, steps)
        own = scores.diagonal(dim1=3, dim2=4)  # [N, P, R, C]
        for p in _after(reads_before):
            read[:, p].mul_(decay)
            for r, k in enumerate(keys):
                own[:, p, r] = (queries[p] * k).sum(-1)
        saved = []
        for m in _block_sizes(steps):
            read1, written0 = _copy(_later(read, m)), _copy(_earlier(written, m))
            total0, total1 = total.view(size, -1, 2, width).unbind(2)
            _below(scores, m).copy_(_scores(read1, written0))
            _later(read, m).mul_(_to_rows(total0))
            _earlier(written, m).mul_(_to_rows(total1))
            saved += [read1, written0, total0, total1]
            total = total0 * total1
        ctx.reads_before = reads_before
        ctx.save_for_backward(decay, *streams, *saved)
        rows = (score for row in scores.unbind(1) for score in row.unbind(1))
        return *rows, *read.unbind(1), *written.unbind(1), total.squeeze(1).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        reads_before, (decay, *saved) = ctx.reads_before, ctx.saved_tensors
        steps = decay.shape[1]
        count = len(saved) - 4 * len(_block_sizes(steps))
        streams, saved = saved[:count], saved[count:]
        queries, keys = streams[: len(reads_before)], streams[len(reads_before) :]
        if torch.is_grad_enabled():

            def definition(decay: Tensor, *streams: Tensor) -> list[Tensor]:
                split = streams[: len(queries)], streams[len(queries) :]
                parts = defined_scores_by_key(*split, decay, reads_before)
                scores = (score for row in parts.scores for score in row)
                return [*scores, *parts.read, *parts.written, parts.total]

            of_decay, *of_streams = differentiable_gradients(
                definition, [decay, *streams], gradients
            )
            return of_decay, None, *of_streams
        with torch.autocast(decay.device.type, enabled=False):
            borders = len(queries) * len(keys)
            grid = (len(queries), len(keys))
            dscores = torch.unflatten(torch.stack(gradients[:borders], 1), 1, grid)
            dread = torch.stack(gradients[borders : borders + len(queries)], 1)
            dkeys = torch.stack(gradients[borders + len(queries) : -1], 1)
            dtotal = gradients[-1].unsqueeze(1).clone()
            for m in reversed(_block_sizes(steps)):
                *saved, read1, written0, total0, total1 = saved
                slopes = _copy(_below(dscores, m)).flatten(4, 5).flatten(2, 3)
                dread1, dwritten0 = _later(dread, m), _earlier(dkeys, m)
                dtotal0 = _sum_of_products(dread1, read1).addcmul_(dtotal, total1)
                dtotal1 = _sum_of_products(dwritten0, written0).addcmul_(dtotal, total0)
                of_read = _product(slopes, written0.flatten(2, 3))
                of_written = _product(slopes.transpose(-1, -2), read1.flatten(2, 3))
                dread1.mul_(_to_rows(total0)).add_(of_read.view(dread1.shape))
                dwritten0.mul_(_to_rows(total1)).add_(of_written.view(dwritten0.shape))
                dtotal = torch.stack((dtotal0, dtotal1), 2).flatten(1, 2)
            own = dscores.diagonal(dim1=3, dim2=4).unsqueeze(-1)  # [N, P, R, C, 1]
            for p in _after(reads_before):
                dtotal.addcmul_(dread[:, p], queries[p])
                dread[:, p].mul_(decay)
                for r, k in enumerate(keys):
                    dread[:, p].add_(own[:, p, r] * k)
                    dkeys[:, r].add_(own[:, p, r] * queries[p])
        return dtotal, None, *dread.unbind(1), *dkeys.unbind(1)


class _SumsByValue(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, v: Tensor, decay: Tensor, read_before: bool
    ) -> tuple[Tensor, ...]:
        size, steps, width = v.shape
        own = scores.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        inside = torch.zeros_like(v) if read_before else own * v
        since = torch.ones_like(v) if read_before else decay.clone()
        values, total = v.clone(), decay
        saved = []
        for m in _block_sizes(steps):
            since1, values0 = _copy(_later(since, m)), _copy(_earlier(values, m))
            total0, total1 = total.view(size, -1, 2, width).unbind(2)
            below = _copy(_below(scores[:, None, None], m))
            seen = _product(below[:, :, 0, :, 0], values0)
            _later(inside, m).addcmul_(since1, seen)
            torch.mul(since1, total0.unsqueeze(2), out=_later(since, m))
            torch.mul(values0, total1.unsqueeze(2), out=_earlier(values, m))
            total = total0 * total1
            saved += [since1, values0, seen, total0, total1]
        ctx.read_before = read_before
        ctx.save_for_backward(scores, v, decay, *saved)
        return inside, since, values, total.squeeze(1).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scores, v, decay, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            definition = partial(defined_sums_by_value, read_before=ctx.read_before)
            return *differentiable_gradients(definition, (scores, v, decay), gradients), None
        with torch.autocast(v.device.type, enabled=False):
            dinside, dsince, dvalues, dtotal = gradients
            dsince, dvalues = (x.contiguous().clone() for x in (dsince, dvalues))
            dtotal, dscores = dtotal.unsqueeze(1).clone(), torch.zeros_like(scores)
            for m in reversed(_block_sizes(v.shape[1])):
                *saved, since1, values0, seen, total0, total1 = saved
                below = _copy(_below(scores[:, None, None], m))[:, :, 0, :, 0]
                dinside1, dsince1, dvalues0 = (
                    _later(dinside, m),
                    _later(dsince, m),
                    _earlier(dvalues, m),
                )
                dseen = dinside1 * since1
                dtotal0 = _sum_of_products(dsince1, since1).addcmul_(dtotal, total1)
                dtotal1 = _sum_of_products(dvalues0, values0).addcmul_(dtotal, total0)
                of_scores = _below(dscores[:, None, None], m)
                of_scores.copy_((dseen @ values0.transpose(-1, -2))[:, :, None, :, None])
                dsince1.mul_(total0.unsqueeze(2)).addcmul_(dinside1, seen)
                dvalues0.mul_(total1.unsqueeze(2)).add_(_product(below.transpose(-1, -2), dseen))
                dtotal = torch.stack((dtotal0, dtotal1), 2).flatten(1, 2)
            if not ctx.read_before:
                own = scores.diagonal(dim1=1, dim2=2).unsqueeze(-1)
                dvalues.addcmul_(own, dinside)
                torch.sum(dinside * v, -1, out=dscores.diagonal(dim1=1, dim2=2))
                dtotal.add_(dsince)
        return dscores, dvalues, dtotal, None


def _after(reads_before: tuple[bool, ...]) -> list[int]:
    return [p for p, before in enumerate(reads_before) if not before]


def _block_sizes(steps: int) -> list[int]:
    """1, 2, 4, ... below a power of two."""
    return [1 << level for level in range(steps.bit_length() - 1)]


def _earlier(x: Tensor, m: int) -> Tensor:
    """The earlier block of m steps in each pair: [N, .., C, D] to a view [N, n, .., m, D]."""
    return torch.unflatten(x, -2, (-1, 2, m)).select(-3, 0).movedim(-3, 1)


def _later(x: Tensor, m: int) -> Tensor:
    """The later block of m steps in each pair: [N, .., C, D] to a view [N, n, .., m, D]."""
    return torch.unflatten(x, -2, (-1, 2, m)).select(-3, 1).movedim(-3, 1)


def _below(scores: Tensor, m: int) -> Tensor:
    """Scores of the later block of each pair with the earlier one: [N, P, R, C, C] to a view
    [N, n, P, m, R, m]."""
    grid = torch.unflatten(torch.unflatten(scores, 4, (-1, 2, m)), 3, (-1, 2, m))
    # [N, P, R, n, m, n, m], of which the pairs are the diagonal.
    pairs = grid.select(7, 0).select(4, 1).diagonal(dim1=3, dim2=5)
    return pairs.permute(0, 5, 1, 3, 2, 4)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _scores(x: Tensor, y: Tensor) -> Tensor:
    """[N, n, P, m, K] and [N, n, R, m, K] to [N, n, P, m, R, m]."""
    streams, others = x.shape[2:4], y.shape[2:4]
    x, y = x.flatten(2, 3), y.flatten(2, 3)
    is_one = y.shape[2] == 1
    product = (x * y).sum(-1) if is_one else x @ y.transpose(-1, -2)
    return product.view(*x.shape[:2], *streams, *others)


def _sum_of_products(x: Tensor, y: Tensor) -> Tensor:
    """The sum over steps, and streams, of x y, both [N, n, .., m, D]: [N, n, D]."""
    if torch.compiler.is_compiling():
        return (x * y).sum(tuple(range(2, x.dim() - 1)))
    # Otherwise the product would be laid out as x is, and its sum take five times as long.
    product = torch.mul(x, y, out=torch.empty_like(y))
    return product.flatten(2, -2).sum(2)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x @ y: [N, n, i, j] and [N, n, j, D] to [N, n, i, D]."""
    return x * y if y.shape[2] == 1 else x @ y


def _to_rows(total: Tensor) -> Tensor:
    """[N, n, K] beside [N, n, P, m, K]."""
    return total[:, :, None, None]
