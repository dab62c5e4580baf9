"""What a chunk of C steps is before its first state is known: scores, inverse, W and Z.

With the decays inside the chunk in `lr` and its like (lr_ts = l_t r_s, strictly lower), the
u_t = l_t^T S_{t-1} solve (I - lr) u = read_l S + lk v, so u = W S + Z with W = (I - lr)^-1 read_l
and Z = (I - lr)^-1 lk v (arXiv 2406.06484, section 3).
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from ..launch import dot
from .tiles import (
    between,
    load_gates,
    load_steps,
    load_tile,
    product,
    store_tile,
    sums,
    weighted,
)


@triton.jit
def scores_by_key(
    x: tl.tensor, r: tl.tensor, k: tl.tensor, g: tl.tensor, row: tl.tensor, column: tl.tensor,
    xr: tl.tensor, xk: tl.tensor, READ_BEFORE: tl.constexpr, LEVELS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """xr, xk (C, C), and what a tile of keys (C, D) whose decays differ adds.

    Blocks of 1, 2, 4, .. steps are joined in pairs: the border in a pair is the reference point,
    up to which keys decay and from which queries do. The pairs (t, s) of a level lie in later and
    earlier blocks of a pair, so that every pair is of one level.
    """
    if not READ_BEFORE:
        xr += tl.where(row == column, tl.sum(x * r, axis=1, keep_dims=True), 0.0)
        xk += tl.where(row == column, tl.sum(x * k, axis=1, keep_dims=True), 0.0)
    for level in range(LEVELS):
        is_block = (row >> level) == (column >> level)
        is_seen = ((row >> level) == (column >> level) + 1) & ((row >> level) % 2 == 1)
        is_past = column < row if READ_BEFORE else column <= row
        read = x * tl.exp2(sums(is_block & is_past, g))
        to_border = tl.exp2(sums(is_block & (column > row), g))
        xr += tl.where(is_seen, product(read, tl.trans(r * to_border)), 0.0)
        xk += tl.where(is_seen, product(read, tl.trans(k * to_border)), 0.0)
    return xr, xk


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def scores_kernel(
    x_ptr: tl.tensor,
    r_ptr: tl.tensor,
    k_ptr: tl.tensor,
    g_ptr: tl.tensor | None,
    since_ptr: tl.tensor | None,
    to_end_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    C: tl.constexpr,
    LEVELS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DECAY: tl.constexpr,
    READ_BEFORE: tl.constexpr,
    SLOT: tl.constexpr,
) -> None:
    """One chunk of one head: scores of x, which is l or q, with r and k, to two of the slots of
    scores [chunks, 5, C, C]: lr, lk, qr, qk, and the inverse.

    since and to_end, if asked for: log2 of the decay since the chunk's start and to its end,
    [chunks, C, K or 1].
    """
    chunk = tl.program_id(0).to(tl.int64)
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    xr = tl.zeros((C, C), dtype=tl.float32)
    xk = tl.zeros((C, C), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)[None, :]
        x = load_steps(x_ptr, bh, first, row, key, length, heads, K)
        r = load_steps(r_ptr, bh, first, row, key, length, heads, K)
        k = load_steps(k_ptr, bh, first, row, key, length, heads, K)
        if DECAY == 2:
            g = load_gates(g_ptr, bh, first, row, key, length, heads, K)
            xr, xk = scores_by_key(x, r, k, g, row, column, xr, xk, READ_BEFORE, LEVELS)
            if since_ptr is not None:
                store_tile(since_ptr, sums(column <= row, g), chunk, row, key, C, K)
                store_tile(to_end_ptr, sums(column > row, g), chunk, row, key, C, K)
        else:
            xr += product(x, tl.trans(r))
            xk += product(x, tl.trans(k))
    if DECAY == 1:
        g = load_gates(g_ptr, bh, first, row, row * 0, length, heads, 1)
        decay = between(g, row, column, READ_BEFORE)
        xr, xk = xr * decay, xk * decay
        if since_ptr is not None:
            across = load_gates(g_ptr, bh, first, column, column * 0, length, heads, 1)
            since = tl.sum(tl.where(column <= row, across, 0.0), axis=1, keep_dims=True)
            to_end = tl.sum(tl.where(column > row, across, 0.0), axis=1, keep_dims=True)
            store_tile(since_ptr, since, chunk, row, row * 0, C, 1)
            store_tile(to_end_ptr, to_end, chunk, row, row * 0, C, 1)
    if DECAY == 0:
        is_seen = row > column if READ_BEFORE else row >= column
        xr, xk = tl.where(is_seen, xr, 0.0), tl.where(is_seen, xk, 0.0)
    store_tile(scores_ptr, xr, chunk * 5 + SLOT, row, column, C, C)
    store_tile(scores_ptr, xk, chunk * 5 + SLOT + 1, row, column, C, C)


@triton.jit
def inverse(lower: tl.tensor, row: tl.tensor, column: tl.tensor) -> tl.tensor:
    """(I - lower)^-1 of strictly lower (16, 16), row after row, by sums in float32."""
    found = (row == column).to(tl.float32)
    for i in range(1, 16):
        weights = tl.sum(tl.where(row == i, lower, 0.0), axis=0, keep_dims=True)
        line = tl.sum(tl.trans(weights) * found, axis=0, keep_dims=True)
        found += tl.where(row == i, line, 0.0)
    return found


@triton.jit
def solve_kernel(scores_ptr: tl.tensor, C: tl.constexpr) -> None:
    """One chunk: (I - lr)^-1, the last of scores [chunks, 5, C, C], in float32 without tf32.

    Of two blocks on the diagonal with the inverses A and B, and L below them, the block below is
    B L A.
    """
    lower = tl.program_id(0).to(tl.int64) * 5
    found = lower + 4
    row, column = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    early = inverse(load_tile(scores_ptr, lower, row, column, C, C), row, column)
    store_tile(scores_ptr, early, found, row, column, C, C)
    if C == 32:
        late = load_tile(scores_ptr, lower, row + 16, column + 16, C, C)
        late = inverse(late, row, column)
        store_tile(scores_ptr, late, found, row + 16, column + 16, C, C)
        below = load_tile(scores_ptr, lower, row + 16, column, C, C)
        below = dot(late, dot(below, early, "ieee"), "ieee")
        store_tile(scores_ptr, below, found, row + 16, column, C, C)
        store_tile(scores_ptr, below * 0.0, found, row, column + 16, C, C)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def project_kernel(
    l_ptr: tl.tensor,
    v_ptr: tl.tensor,
    since_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    w_ptr: tl.tensor,
    z_ptr: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
    DECAY: tl.constexpr,
) -> None:
    """One chunk of one head: W [chunks, C, K] and Z [chunks, C, V]."""
    chunk = tl.program_id(0).to(tl.int64)
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    lk = load_tile(scores_ptr, chunk * 5 + 1, row, column, C, C)
    solve = load_tile(scores_ptr, chunk * 5 + 4, row, column, C, C)
    for start in range(0, K, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)[None, :]
        l = load_steps(l_ptr, bh, first, row, key, length, heads, K)  # noqa: E741
        l = weighted(l, since_ptr, chunk, row - 1, key, C, K, DECAY)  # noqa: E741
        store_tile(w_ptr, product(solve, l), chunk, row, key, C, K)
    for start in range(0, V, BLOCK_V):
        value = start + tl.arange(0, BLOCK_V)[None, :]
        v = load_steps(v_ptr, bh, first, row, value, length, heads, V)
        store_tile(z_ptr, product(solve, product(lk, v)), chunk, row, value, C, V)
