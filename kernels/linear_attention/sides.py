"""Outputs and gradients of one chunk, of the axis that does not decay and of the axis that does."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from ..launch import dot
from .chunks import (
    decay_of_chunk,
    decay_since_start,
    decay_to_end,
    is_inside,
    is_later,
    is_pair,
    of_siblings,
    single_steps,
    time_tile,
)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def plain_side_kernel(
    x_ptr: tl.tensor,
    w_ptr: tl.tensor,
    g_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    states_ptr: tl.tensor,
    out_ptr: tl.tensor,
    x_batch: tl.tensor,
    x_step: tl.tensor,
    x_head: tl.tensor,
    w_batch: tl.tensor,
    w_step: tl.tensor,
    w_head: tl.tensor,
    g_batch: tl.tensor,
    g_step: tl.tensor,
    g_head: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    KIND: tl.constexpr,
    BEFORE: tl.constexpr,
    WRITES: tl.constexpr,
    X: tl.constexpr,
    W: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_W: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """out = scores w + (x since) S, [STEPS, BLOCK_W] of one row and head.

    WRITES takes the transpose of the scores and the decay to the end instead: with y for x, z for w
    and R for S the gradient of w.
    """
    tiles: tl.constexpr = (W + BLOCK_W - 1) // BLOCK_W
    tile = tl.program_id(0) % tiles
    n = (tl.program_id(0) // tiles % chunks).to(tl.int64)
    pair = (tl.program_id(0) // tiles // chunks).to(tl.int64)
    batch, head = pair // heads, pair % heads
    x_ptr += batch * x_batch + head * x_head
    w_ptr += batch * w_batch + head * w_head
    if KIND != 0:
        g_ptr += batch * g_batch + head * g_head
    states_ptr += (pair * chunks + n) * X * W
    first = n * STEPS
    gates: tl.constexpr = X if KIND == 2 else 1
    column = (tile * BLOCK_W + tl.arange(0, BLOCK_W)).to(tl.int64)
    i, j = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    place = (pair * chunks + n) * STEPS * STEPS + (j * STEPS + i if WRITES else i * STEPS + j)
    w = time_tile(w_ptr, w_step, first, length, column, 0, STEPS, W, 0).to(tl.float32)
    out = dot(tl.load(scores_ptr + place), w, PRECISION)
    for start in range(0, X, BLOCK_X):
        row = start + tl.arange(0, BLOCK_X).to(tl.int64)
        gate = row
        if KIND == 1:
            gate = tl.zeros((1,), tl.int64)
        x = time_tile(x_ptr, x_step, first, length, row, 0, STEPS, X, 0).to(tl.float32)
        if WRITES:
            decay = decay_to_end(g_ptr, g_step, first, length, gate, KIND, STEPS, gates, 0)
        else:
            decay = decay_since_start(
                g_ptr, g_step, first, length, gate, KIND, BEFORE, STEPS, gates, 0
            )
        mask = (row < X)[:, None] & (column < W)[None, :]
        state = tl.load(states_ptr + row[:, None] * W + column[None, :], mask=mask, other=0.0)
        out += dot(x * decay, state, PRECISION)
    position = first + tl.arange(0, STEPS).to(tl.int64)
    row = (batch * length + position) * heads + head
    mask = (position < length)[:, None] & (column < W)[None, :]
    value = out.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row[:, None] * W + column[None, :], value, mask=mask)


@triton.jit(do_not_specialize=["batches", "length", "heads", "chunks"])
def decayed_side_kernel(
    x_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    z_ptr: tl.tensor,
    w_ptr: tl.tensor | None,
    g_ptr: tl.tensor | None,
    bonus_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    states_ptr: tl.tensor,
    gradients_ptr: tl.tensor | None,
    dx_ptr: tl.tensor | None,
    dy_ptr: tl.tensor | None,
    dg_ptr: tl.tensor | None,
    dbonus_ptr: tl.tensor | None,
    x_batch: tl.tensor,
    x_step: tl.tensor,
    x_head: tl.tensor,
    y_batch: tl.tensor,
    y_step: tl.tensor,
    y_head: tl.tensor,
    z_batch: tl.tensor,
    z_step: tl.tensor,
    z_head: tl.tensor,
    w_batch: tl.tensor,
    w_step: tl.tensor,
    w_head: tl.tensor,
    g_batch: tl.tensor,
    g_step: tl.tensor,
    g_head: tl.tensor,
    batches: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    KIND: tl.constexpr,
    BEFORE: tl.constexpr,
    X: tl.constexpr,
    W: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_W: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """dx = sum over s of (z_t . w_s) D_ts y_s + since S z, and with R the gradients of y and g.

    `scores` are z_t . w_s with their own step, with the decay if it is a head's. dx, dy, dg are
    [B, L, H, X]; the dg of a head is one part [B, L, H] per tile, that of a bonus one line
    [B, chunks, H, X] per chunk. Without R (`gradients`) only dx is computed, and x is not read.
    """
    tiles: tl.constexpr = (X + BLOCK_X - 1) // BLOCK_X
    tile = tl.program_id(0) % tiles
    n = (tl.program_id(0) // tiles % chunks).to(tl.int64)
    pair = (tl.program_id(0) // tiles // chunks).to(tl.int64)
    batch, head = pair // heads, pair % heads
    first = n * STEPS
    column = (tile * BLOCK_X + tl.arange(0, BLOCK_X)).to(tl.int64)
    step = tl.arange(0, STEPS)
    t, s = step[:, None], step[None, :]

    y_ptr += batch * y_batch + head * y_head
    z_ptr += batch * z_batch + head * z_head
    y = time_tile(y_ptr, y_step, first, length, column, 0, STEPS, X, 0).to(tl.float32)
    if gradients_ptr is not None:
        x_ptr += batch * x_batch + head * x_head
        w_ptr += batch * w_batch + head * w_head
        x = time_tile(x_ptr, x_step, first, length, column, 0, STEPS, X, 0).to(tl.float32)
        gradients_ptr += (pair * chunks + n) * X * W
    gate = column
    gates: tl.constexpr = X if KIND == 2 else 1
    if KIND == 1:
        gate = tl.zeros((1,), tl.int64)
    if KIND != 0:
        g_ptr += batch * g_batch + head * g_head
    states_ptr += (pair * chunks + n) * X * W
    scores_ptr += (pair * chunks + n) * STEPS * STEPS

    # What the chunk exchanges with those before it, through S, and after it, through R.
    dx = tl.zeros((STEPS, BLOCK_X), tl.float32)
    dy = tl.zeros((STEPS, BLOCK_X), tl.float32)
    carried = tl.zeros((1, BLOCK_X), tl.float32)
    for start in range(0, W, BLOCK_W):
        row = start + tl.arange(0, BLOCK_W).to(tl.int64)
        place = column[None, :] * W + row[:, None]
        mask = (row < W)[:, None] & (column < X)[None, :]
        z = time_tile(z_ptr, z_step, first, length, row, 0, STEPS, W, 0).to(tl.float32)
        state = tl.load(states_ptr + place, mask=mask, other=0.0)
        dx += dot(z, state, PRECISION)
        if gradients_ptr is not None:
            w = time_tile(w_ptr, w_step, first, length, row, 0, STEPS, W, 0).to(tl.float32)
            gradient = tl.load(gradients_ptr + place, mask=mask, other=0.0)
            dy += dot(w, gradient, PRECISION)
            carried += tl.sum(state * gradient, axis=0, keep_dims=True)
    dx *= decay_since_start(g_ptr, g_step, first, length, gate, KIND, BEFORE, STEPS, gates, 0)
    if gradients_ptr is not None:
        dy *= decay_to_end(g_ptr, g_step, first, length, gate, KIND, STEPS, gates, 0)
        if KIND != 0:
            carried *= decay_of_chunk(g_ptr, g_step, first, length, gate, KIND, STEPS, gates, 0)

    own = tl.load(scores_ptr + step * STEPS + step)[:, None]
    weight = tl.full((1, BLOCK_X), 0.0 if BEFORE else 1.0, tl.float32)
    if bonus_ptr is not None:
        bonus = tl.load(bonus_ptr + head * X + column, mask=column < X, other=0.0)
        weight += bonus.to(tl.float32)[None, :]
    position = first + step.to(tl.int64)
    row = ((batch * length + position) * heads + head)[:, None] * X + column[None, :]
    mask = (position < length)[:, None] & (column < X)[None, :]
    if dbonus_ptr is not None:
        line = ((batch * chunks + n) * heads + head) * X + column
        tl.store(dbonus_ptr + line, tl.sum(own * x * y, axis=0), mask=column < X)

    if KIND == 2:
        decay = single_steps(g_ptr, g_step, first, length, column, STEPS, X, 0)
        if gradients_ptr is None:
            dx += _reads_by_channel(y, decay, scores_ptr, BEFORE, STEPS, PRECISION)
        else:
            dg = carried + dot(tl.where(s >= t + BEFORE, 1.0, 0.0), x * dx, PRECISION)
            dg += dot(tl.where(s < t, 1.0, 0.0), y * dy, PRECISION)
            dx, dy, dg = _gradients_by_channel(
                x, y, decay, dx, dy, dg, scores_ptr, BEFORE, STEPS, PRECISION
            )
            if dg_ptr is not None:
                tl.store(dg_ptr + row, dg.to(dg_ptr.dtype.element_ty), mask=mask)
    else:
        if KIND == 1 and gradients_ptr is not None:
            reads, writes = tl.sum(x * dx, axis=1)[None, :], tl.sum(y * dy, axis=1)[None, :]
            dg = tl.sum(tl.where(s >= t + BEFORE, reads, 0.0), axis=1)
            dg += tl.sum(tl.where(s < t, writes, 0.0), axis=1) + tl.sum(carried)
            part = ((tile * batches + batch) * length + position) * heads + head
            tl.store(dg_ptr + part, dg, mask=position < length)
        scores = tl.load(scores_ptr + t * STEPS + s)
        dx += dot(tl.where(t > s, scores, 0.0), y, PRECISION)
    if dx_ptr is not None:
        tl.store(dx_ptr + row, (dx + own * weight * y).to(dx_ptr.dtype.element_ty), mask=mask)
    if gradients_ptr is not None:
        # Loaded after dx is stored, so that it is not held at the same time as the scores.
        if KIND != 2:
            scores = tl.load(scores_ptr + s * STEPS + t)
            dy += dot(tl.where(s > t, scores, 0.0), x, PRECISION)
        if dy_ptr is not None:
            tl.store(dy_ptr + row, (dy + own * weight * x).to(dy_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _reads_by_channel(
    y: tl.tensor,
    total: tl.tensor,
    scores_ptr: tl.tensor,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """The sum over s < t of scores_ts D_ts y_s; `total` [STEPS, columns] is the decay of a step."""
    t, s = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    scores = tl.load(scores_ptr + t * STEPS + s)
    since = tl.full(total.shape, 1.0, tl.float32) if BEFORE else total
    dx = tl.zeros_like(y)
    size = 1
    while size < STEPS:
        dx += since * dot(tl.where(is_pair(size, STEPS, 0), scores, 0.0), y, PRECISION)
        other = of_siblings(total, size, STEPS, 0)
        since *= tl.where(is_later(size, STEPS, 0), other, 1.0)
        y *= tl.where(is_later(size, STEPS, 0), 1.0, other)
        total *= other
        size *= 2
    return dx


@triton.jit
def _gradients_by_channel(
    x: tl.tensor,
    y: tl.tensor,
    total: tl.tensor,
    dx: tl.tensor,
    dy: tl.tensor,
    dg: tl.tensor,
    scores_ptr: tl.tensor,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """dx, dy and dg with what s < t add. All terms of a pair of blocks cross its border: those of
    the reads beyond a step, or of the writes before it, are the ones with its decay in them."""
    t, s = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    since = tl.full(total.shape, 1.0, tl.float32) if BEFORE else total
    until = tl.full(total.shape, 1.0, tl.float32)
    size = 1
    while size < STEPS:
        later = is_later(size, STEPS, 0)
        scores = tl.load(scores_ptr + t * STEPS + s, mask=is_pair(size, STEPS, 0), other=0.0)
        seen = since * dot(scores, y * until, PRECISION)
        scores = tl.load(scores_ptr + s * STEPS + t, mask=is_pair(size, STEPS, 1), other=0.0)
        seen_by = until * dot(scores, x * since, PRECISION)
        terms = tl.where(later, x * seen, y * seen_by)
        dg += dot(tl.where(is_inside(size, BEFORE, STEPS), 1.0, 0.0), terms, PRECISION)
        dx += seen
        dy += seen_by
        other = of_siblings(total, size, STEPS, 0)
        since *= tl.where(later, other, 1.0)
        until *= tl.where(later, 1.0, other)
        total *= other
        size *= 2
    return dx, dy, dg
