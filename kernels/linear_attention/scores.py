"""Scores within a chunk, written once for all tiles of the outputs: `x_t . D_ts y_s`."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from ..launch import dot
from .chunks import decay_between, is_later, is_pair, of_siblings, single_steps, time_tile


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def scores_kernel(
    x_ptr: tl.tensor,
    y_ptr: tl.tensor,
    g_ptr: tl.tensor | None,
    bonus_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    other_ptr: tl.tensor | None,
    dg_ptr: tl.tensor | None,
    x_batch: tl.tensor,
    x_step: tl.tensor,
    x_head: tl.tensor,
    y_batch: tl.tensor,
    y_step: tl.tensor,
    y_head: tl.tensor,
    g_batch: tl.tensor,
    g_step: tl.tensor,
    g_head: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    KIND: tl.constexpr,
    BEFORE: tl.constexpr,
    OWN: tl.constexpr,
    X: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """[STEPS, STEPS] of one chunk, row and head: zero where s > t, and at s = t without OWN.

    A bonus u adds x_t . (u * y_t) at s = t. With `other`, the scores of the other pair of a head's
    decay, `dg` gets the sums of other * (x_t . y_s) over s < r <= t (s < r < t with BEFORE).
    """
    pair = (tl.program_id(0) // chunks).to(tl.int64)
    n = (tl.program_id(0) % chunks).to(tl.int64)
    batch, head = pair // heads, pair % heads
    x_ptr += batch * x_batch + head * x_head
    y_ptr += batch * y_batch + head * y_head
    if KIND != 0:
        g_ptr += batch * g_batch + head * g_head
    first = n * STEPS
    step = tl.arange(0, STEPS)
    t, s = step[:, None], step[None, :]
    scores = tl.zeros((STEPS, STEPS), tl.float32)
    own = tl.zeros((STEPS,), tl.float32)
    for start in range(0, X, BLOCK_X):
        column = start + tl.arange(0, BLOCK_X).to(tl.int64)
        x = time_tile(x_ptr, x_step, first, length, column, 0, STEPS, X, 0)
        y = time_tile(y_ptr, y_step, first, length, column, 0, STEPS, X, 1)
        if KIND == 2:
            x, y = x.to(tl.float32), y.to(tl.float32)
            total = single_steps(g_ptr, g_step, first, length, column, STEPS, X, 0)
            total_t = single_steps(g_ptr, g_step, first, length, column, STEPS, X, 1)
            scores += _scores_by_channel(x, y, total, total_t, BEFORE, STEPS, PRECISION)
        else:
            scores += dot(x, y, PRECISION)
        if KIND == 2 or bonus_ptr is not None:
            weight = tl.full((1, BLOCK_X), 1.0 if KIND == 2 and OWN else 0.0, tl.float32)
            if bonus_ptr is not None:
                bonus = tl.load(bonus_ptr + head * X + column, mask=column < X, other=0.0)
                weight += bonus.to(tl.float32)[None, :]
            same = time_tile(y_ptr, y_step, first, length, column, 0, STEPS, X, 0)
            own += tl.sum(x.to(tl.float32) * weight * same.to(tl.float32), axis=1)
    place = (pair * chunks + n) * STEPS * STEPS + t * STEPS + s
    if KIND != 2:
        if other_ptr is not None:
            other = tl.load(other_ptr + place)
            _store_gate_gradient(
                dg_ptr, other * scores, batch, first, length, heads, head, BEFORE, STEPS
            )
        if KIND == 1:
            scores *= decay_between(g_ptr, g_step, first, length, BEFORE, STEPS)
        scores = tl.where(t >= s if OWN else t > s, scores, 0.0)
    scores += tl.where(t == s, own[:, None], 0.0)
    tl.store(scores_ptr + place, scores)


@triton.jit
def _scores_by_channel(
    x: tl.tensor,
    y: tl.tensor,
    total: tl.tensor,
    total_t: tl.tensor,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Of s < t: x and `total`, the decay of each step, are [STEPS, columns], y and `total_t`
    [columns, STEPS]. Each pair meets at the border between the two blocks that t and s are in."""
    scores = tl.zeros((STEPS, STEPS), tl.float32)
    x = x if BEFORE else x * total
    size = 1
    while size < STEPS:
        scores += tl.where(is_pair(size, STEPS, 0), dot(x, y, PRECISION), 0.0)
        other = of_siblings(total, size, STEPS, 0)
        other_t = of_siblings(total_t, size, STEPS, 1)
        x *= tl.where(is_later(size, STEPS, 0), other, 1.0)
        y *= tl.where(is_later(size, STEPS, 1), 1.0, other_t)
        total *= other
        total_t *= other_t
        size *= 2
    return scores


@triton.jit
def _store_gate_gradient(
    dg_ptr: tl.tensor,
    terms: tl.tensor,
    batch: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    head: tl.tensor,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
) -> None:
    """dg [B, L, H] of one chunk. Row i of the sums over t >= i is of the step i - BEFORE; the last
    step has no read after it, and gets row 0, which sums nothing."""
    row, s = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    reads = tl.cumsum(tl.where(row > s, terms, 0.0), axis=0, reverse=True)
    dg = tl.sum(tl.where(s < row - BEFORE, reads, 0.0), axis=1)
    r = (tl.arange(0, STEPS) - BEFORE + STEPS) % STEPS
    position = first + r.to(tl.int64)
    tl.store(dg_ptr + (batch * length + position) * heads + head, dg, mask=position < length)
