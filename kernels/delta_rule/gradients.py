"""Gradients inside a chunk, once the states before it and their gradients after it are known.

With w = (I - lr)^-T du the four scores have the gradients w u^T, w v^T, do u^T and do v^T, so l
is to w, and r to u, what q is to do, and k to v. A gate's gradient is a sum over the reads after
it of what was written before it, sums of one sign as in the decays.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from .tiles import (
    between,
    load_gates,
    load_steps,
    load_tile,
    product,
    store_steps,
    store_tile,
    weighted,
)


@triton.jit
def of_gates(
    dscores: tl.tensor, row: tl.tensor, column: tl.tensor, READ_BEFORE: tl.constexpr
) -> tl.tensor:
    """(1, C): gate j's sum of dscores[t, s] over reads that it decays, s < j <= t (or < t)."""
    # Column j: what was written before j, for each read.
    written = product(dscores, (row < column).to(tl.float32))
    is_read = row > column if READ_BEFORE else row >= column
    return tl.sum(tl.where(is_read, written, 0.0), axis=0, keep_dims=True)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def score_gradients_kernel(
    do_ptr: tl.tensor,
    k_ptr: tl.tensor,
    v_ptr: tl.tensor,
    to_end_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    w_ptr: tl.tensor,
    z_ptr: tl.tensor,
    states_ptr: tl.tensor,
    dstates_ptr: tl.tensor,
    du_ptr: tl.tensor,
    u_ptr: tl.tensor,
    solved_ptr: tl.tensor,
    dscores_ptr: tl.tensor,
    dv_ptr: tl.tensor,
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
    """One chunk of one head: u again, w as `solved`, dv, and dscores [chunks, 4, C, C], of all
    pairs of steps."""
    chunk = tl.program_id(0).to(tl.int64)
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    lk_t = load_tile(scores_ptr, chunk * 5 + 1, column, row, C, C)
    qk_t = load_tile(scores_ptr, chunk * 5 + 3, column, row, C, C)
    solve_t = load_tile(scores_ptr, chunk * 5 + 4, column, row, C, C)
    dlr = tl.zeros((C, C), dtype=tl.float32)
    dlk, dqr, dqk = dlr, dlr, dlr
    for start in range(0, V, BLOCK_V):
        value = start + tl.arange(0, BLOCK_V)[None, :]
        u = load_tile(z_ptr, chunk, row, value, C, V)
        do = load_steps(do_ptr, bh, first, row, value, length, heads, V)
        v = load_steps(v_ptr, bh, first, row, value, length, heads, V)
        solved = product(solve_t, load_tile(du_ptr, chunk, row, value, C, V))
        dv = product(lk_t, solved) + product(qk_t, do)
        for from_key in range(0, K, BLOCK_K):
            key = from_key + tl.arange(0, BLOCK_K)
            w = load_tile(w_ptr, chunk, row, key[None, :], C, K)
            u += product(w, load_tile(states_ptr, chunk, key[:, None], value, K, V))
            k = load_steps(k_ptr, bh, first, row, key[None, :], length, heads, K)
            k = weighted(k, to_end_ptr, chunk, row, key[None, :], C, K, DECAY)
            dv += product(k, load_tile(dstates_ptr, chunk, key[:, None], value, K, V))
        store_tile(u_ptr, u, chunk, row, value, C, V)
        store_tile(solved_ptr, solved, chunk, row, value, C, V)
        store_steps(dv_ptr, dv, bh, first, row, value, length, heads, V)
        u, v = tl.trans(u), tl.trans(v)
        dlr += product(solved, u)
        dlk += product(solved, v)
        dqr += product(do, u)
        dqk += product(do, v)
    store_tile(dscores_ptr, dlr, chunk * 4, row, column, C, C)
    store_tile(dscores_ptr, dlk, chunk * 4 + 1, row, column, C, C)
    store_tile(dscores_ptr, dqr, chunk * 4 + 2, row, column, C, C)
    store_tile(dscores_ptr, dqk, chunk * 4 + 3, row, column, C, C)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def seen_gradients_kernel(
    g_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    dscores_ptr: tl.tensor,
    dg_ptr: tl.tensor | None,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    C: tl.constexpr,
    DECAY: tl.constexpr,
    READ_BEFORE: tl.constexpr,
    SLOT: tl.constexpr,
) -> None:
    """One chunk of one head: dscores of l (SLOT 0) or q (2) becomes that of the products without
    decay, of the pairs that see each other; dg [chunks, C] of a decay of heads, by these scores."""
    chunk = tl.program_id(0).to(tl.int64)
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    dxr = load_tile(dscores_ptr, chunk * 4 + SLOT, row, column, C, C)
    dxk = load_tile(dscores_ptr, chunk * 4 + SLOT + 1, row, column, C, C)
    is_seen = row > column if READ_BEFORE else row >= column
    dxr, dxk = tl.where(is_seen, dxr, 0.0), tl.where(is_seen, dxk, 0.0)
    if DECAY == 1:
        change = dxr * load_tile(scores_ptr, chunk * 5 + SLOT, row, column, C, C)
        change += dxk * load_tile(scores_ptr, chunk * 5 + SLOT + 1, row, column, C, C)
        dg = of_gates(change, row, column, READ_BEFORE)
        store_tile(dg_ptr, dg, chunk, column, column * 0, C, 1)
        g = load_gates(g_ptr, bh, chunk % chunks * C, row, row * 0, length, heads, 1)
        decay = between(g, row, column, READ_BEFORE)
        dxr, dxk = dxr * decay, dxk * decay
    store_tile(dscores_ptr, dxr, chunk * 4 + SLOT, row, column, C, C)
    store_tile(dscores_ptr, dxk, chunk * 4 + SLOT + 1, row, column, C, C)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def border_gradients_kernel(
    do_ptr: tl.tensor,
    v_ptr: tl.tensor,
    u_ptr: tl.tensor,
    solved_ptr: tl.tensor,
    states_ptr: tl.tensor,
    dstates_ptr: tl.tensor,
    borders_ptr: tl.tensor,
    dkept_ptr: tl.tensor | None,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
) -> None:
    """One chunk and a tile of keys: the gradients of l and q as they read the chunk's first state
    and of r and k as they write its last, [chunks, 4, C, K]; and of the decay of the whole chunk,
    dkept [chunks, K]."""
    tiles = tl.cdiv(K, BLOCK_K)
    chunk = tl.program_id(0).to(tl.int64) // tiles
    key = (tl.program_id(0) % tiles * BLOCK_K + tl.arange(0, BLOCK_K))[None, :]
    bh = chunk // chunks
    row = tl.arange(0, C)[:, None]
    first = chunk % chunks * C
    dl = tl.zeros((C, BLOCK_K), dtype=tl.float32)
    dq, dr, dk = dl, dl, dl
    dkept = tl.zeros((1, BLOCK_K), dtype=tl.float32)
    for start in range(0, V, BLOCK_V):
        value = start + tl.arange(0, BLOCK_V)
        state = load_tile(states_ptr, chunk, key, value[:, None], K, V)
        dl += product(load_tile(solved_ptr, chunk, row, value[None, :], C, V), state)
        dq += product(load_steps(do_ptr, bh, first, row, value[None, :], length, heads, V), state)
        dstate = load_tile(dstates_ptr, chunk, key, value[:, None], K, V)
        dkept += tl.sum(state * dstate, axis=0, keep_dims=True)
        dr += product(load_tile(u_ptr, chunk, row, value[None, :], C, V), dstate)
        dk += product(load_steps(v_ptr, bh, first, row, value[None, :], length, heads, V), dstate)
    store_tile(borders_ptr, dl, chunk * 4, row, key, C, K)
    store_tile(borders_ptr, dq, chunk * 4 + 1, row, key, C, K)
    store_tile(borders_ptr, dr, chunk * 4 + 2, row, key, C, K)
    store_tile(borders_ptr, dk, chunk * 4 + 3, row, key, C, K)
    if dkept_ptr is not None:
        store_tile(dkept_ptr, dkept, chunk, key * 0, key, 1, K)
