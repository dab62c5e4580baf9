"""Gradients of q, l, r, k and of the gates, from those of the scores and of the chunk's borders."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from .tiles import load_gates, load_steps, load_tile, product, store_steps, store_tile, sums
from .walks import whole_decay


@triton.jit
def score(
    dscores_ptr: tl.tensor, chunk: tl.tensor, which: tl.constexpr, at: tl.tensor, other: tl.tensor,
    C: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """(C, C) of dscores: at and other (C, 1) and (1, C), or the other way round, transposed."""
    return load_tile(dscores_ptr, chunk * 4 + which, at, other, C, C)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def operand_gradients_kernel(
    q_ptr: tl.tensor,
    l_ptr: tl.tensor,
    r_ptr: tl.tensor,
    k_ptr: tl.tensor,
    since_ptr: tl.tensor | None,
    to_end_ptr: tl.tensor | None,
    dscores_ptr: tl.tensor,
    borders_ptr: tl.tensor,
    dkept_ptr: tl.tensor | None,
    dq_ptr: tl.tensor,
    dl_ptr: tl.tensor,
    dr_ptr: tl.tensor,
    dk_ptr: tl.tensor,
    dg_ptr: tl.tensor | None,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DECAY: tl.constexpr,
    READ_BEFORE: tl.constexpr,
) -> None:
    """One chunk and a tile of keys, with no decay or one of heads, of which dg [tiles, chunks, C]
    has what passes the chunk's borders."""
    tiles = tl.cdiv(K, BLOCK_K)
    chunk = tl.program_id(0).to(tl.int64) // tiles
    tile = tl.program_id(0) % tiles
    key = (tile * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    q = load_steps(q_ptr, bh, first, row, key, length, heads, K)
    l = load_steps(l_ptr, bh, first, row, key, length, heads, K)  # noqa: E741
    r = load_steps(r_ptr, bh, first, row, key, length, heads, K)
    k = load_steps(k_ptr, bh, first, row, key, length, heads, K)
    dl = load_tile(borders_ptr, chunk * 4, row, key, C, K)
    dq = load_tile(borders_ptr, chunk * 4 + 1, row, key, C, K)
    dr = load_tile(borders_ptr, chunk * 4 + 2, row, key, C, K)
    dk = load_tile(borders_ptr, chunk * 4 + 3, row, key, C, K)
    if DECAY == 1:
        before = tl.exp2(load_tile(since_ptr, chunk, row - 1, row * 0, C, 1))
        since = before
        if not READ_BEFORE:
            since = tl.exp2(load_tile(since_ptr, chunk, row, row * 0, C, 1))
        to_end = tl.exp2(load_tile(to_end_ptr, chunk, row, row * 0, C, 1))
        dl, dq, dr, dk = dl * before, dq * since, dr * to_end, dk * to_end
        of_l = tl.sum(l * dl, axis=1, keep_dims=True)
        of_q = tl.sum(q * dq, axis=1, keep_dims=True)
        of_written = tl.sum(r * dr + k * dk, axis=1, keep_dims=True)
        is_read = row > column if READ_BEFORE else row >= column
        dg = tl.where(row > column, of_l, 0.0) + tl.where(is_read, of_q, 0.0)
        dg += tl.where(row < column, of_written, 0.0)
        dg = tl.sum(dg, axis=0, keep_dims=True)
        dkept = load_tile(dkept_ptr, chunk, key * 0, key, 1, K)
        dkept *= whole_decay(since_ptr, chunk, key, C, K, DECAY)
        dg += tl.sum(dkept, axis=1, keep_dims=True)
        programs = tl.num_programs(0).to(tl.int64) // tiles
        store_tile(dg_ptr, dg, tile * programs + chunk, column, column * 0, C, 1)
    dl += product(score(dscores_ptr, chunk, 0, row, column, C), r)
    dl += product(score(dscores_ptr, chunk, 1, row, column, C), k)
    store_steps(dl_ptr, dl, bh, first, row, key, length, heads, K)
    dq += product(score(dscores_ptr, chunk, 2, row, column, C), r)
    dq += product(score(dscores_ptr, chunk, 3, row, column, C), k)
    store_steps(dq_ptr, dq, bh, first, row, key, length, heads, K)
    dr += product(score(dscores_ptr, chunk, 0, column, row, C), l)
    dr += product(score(dscores_ptr, chunk, 2, column, row, C), q)
    store_steps(dr_ptr, dr, bh, first, row, key, length, heads, K)
    dk += product(score(dscores_ptr, chunk, 1, column, row, C), l)
    dk += product(score(dscores_ptr, chunk, 3, column, row, C), q)
    store_steps(dk_ptr, dk, bh, first, row, key, length, heads, K)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def operand_gradients_by_key_kernel(
    x_ptr: tl.tensor,
    r_ptr: tl.tensor,
    k_ptr: tl.tensor,
    g_ptr: tl.tensor,
    since_ptr: tl.tensor,
    to_end_ptr: tl.tensor,
    dscores_ptr: tl.tensor,
    borders_ptr: tl.tensor,
    dkept_ptr: tl.tensor,
    partial_ptr: tl.tensor,
    dx_ptr: tl.tensor,
    dr_ptr: tl.tensor | None,
    dk_ptr: tl.tensor | None,
    dg_ptr: tl.tensor | None,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    C: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    READ_BEFORE: tl.constexpr,
    SLOT: tl.constexpr,
) -> None:
    """One chunk and a tile of keys whose decays differ, by the reads of x: l (SLOT 0) or q (2).

    Level by level as `scores_by_key`. What l's reads give r, k and g is kept in partial
    [chunks, 3, C, K], to which those of q are added.
    """
    tiles = tl.cdiv(K, BLOCK_K)
    chunk = tl.program_id(0).to(tl.int64) // tiles
    key = (tl.program_id(0) % tiles * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    x = load_steps(x_ptr, bh, first, row, key, length, heads, K)
    r = load_steps(r_ptr, bh, first, row, key, length, heads, K)
    k = load_steps(k_ptr, bh, first, row, key, length, heads, K)
    g = load_gates(g_ptr, bh, first, row, key, length, heads, K)
    is_future = column > row if READ_BEFORE else column >= row
    is_past = column < row if READ_BEFORE else column <= row
    dx = load_tile(borders_ptr, chunk * 4 + SLOT // 2, row, key, C, K)
    dx *= tl.exp2(load_tile(since_ptr, chunk, row - 1 if READ_BEFORE else row, key, C, K))
    if SLOT == 0:
        to_end = tl.exp2(load_tile(to_end_ptr, chunk, row, key, C, K))
        dr = load_tile(borders_ptr, chunk * 4 + 2, row, key, C, K) * to_end
        dk = load_tile(borders_ptr, chunk * 4 + 3, row, key, C, K) * to_end
        dg = sums(column < row, r * dr + k * dk)
        whole = tl.exp2(load_tile(since_ptr, chunk, key * 0 + C - 1, key, C, K))
        dg += load_tile(dkept_ptr, chunk, key * 0, key, 1, K) * whole
    else:
        dr = load_tile(partial_ptr, chunk * 3, row, key, C, K)
        dk = load_tile(partial_ptr, chunk * 3 + 1, row, key, C, K)
        dg = load_tile(partial_ptr, chunk * 3 + 2, row, key, C, K)
    dg += sums(is_future, x * dx)
    if not READ_BEFORE:
        own = load_tile(dscores_ptr, chunk * 4 + SLOT, row, row, C, C)
        dx += own * r
        dr += own * x
        own = load_tile(dscores_ptr, chunk * 4 + SLOT + 1, row, row, C, C)
        dx += own * k
        dk += own * x
    for level in range(LEVELS):
        is_block = (row >> level) == (column >> level)
        is_seen = ((row >> level) == (column >> level) + 1) & ((row >> level) % 2 == 1)
        is_seen_t = ((column >> level) == (row >> level) + 1) & ((column >> level) % 2 == 1)
        to_border = tl.exp2(sums(is_block & (column > row), g))
        since = tl.exp2(sums(is_block & is_past, g))
        dxr = tl.where(is_seen, load_tile(dscores_ptr, chunk * 4 + SLOT, row, column, C, C), 0.0)
        of_read = product(dxr, r * to_border)
        dxk = load_tile(dscores_ptr, chunk * 4 + SLOT + 1, row, column, C, C)
        of_read += product(tl.where(is_seen, dxk, 0.0), k * to_border)
        of_read *= since
        dx += of_read
        dg += sums(is_block & is_future, x * of_read)
        read = x * since
        dxr = load_tile(dscores_ptr, chunk * 4 + SLOT, column, row, C, C)
        of_r = product(tl.where(is_seen_t, dxr, 0.0), read) * to_border
        dxk = load_tile(dscores_ptr, chunk * 4 + SLOT + 1, column, row, C, C)
        of_k = product(tl.where(is_seen_t, dxk, 0.0), read) * to_border
        dr += of_r
        dk += of_k
        dg += sums(is_block & (column < row), r * of_r + k * of_k)
    store_steps(dx_ptr, dx, bh, first, row, key, length, heads, K)
    if SLOT == 0:
        store_tile(partial_ptr, dr, chunk * 3, row, key, C, K)
        store_tile(partial_ptr, dk, chunk * 3 + 1, row, key, C, K)
        store_tile(partial_ptr, dg, chunk * 3 + 2, row, key, C, K)
    else:
        store_steps(dr_ptr, dr, bh, first, row, key, length, heads, K)
        store_steps(dk_ptr, dk, bh, first, row, key, length, heads, K)
        store_steps(dg_ptr, dg, bh, first, row, key, length, heads, K)
