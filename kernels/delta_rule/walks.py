"""The walk over chunks with the state in registers, and the outputs.

A walk holds a state as up to four parts of STATE_K keys each: products as deep as all keys would
need more registers for their operands than there are.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from .tiles import load_steps, load_tile, product, store_steps, store_tile, weighted


@triton.jit
def whole_decay(
    since_ptr: tl.tensor | None, chunk: tl.tensor, key: tl.tensor, C: tl.constexpr, K: tl.constexpr,
    DECAY: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Of a chunk, in the shape of `key`."""
    if DECAY == 2:
        return tl.exp2(load_tile(since_ptr, chunk, key * 0 + C - 1, key, C, K))
    return tl.exp2(load_tile(since_ptr, chunk, key * 0 + C - 1, key * 0, C, 1))


@triton.jit
def state_at(
    part: tl.constexpr, value: tl.tensor, K: tl.constexpr, V: tl.constexpr, STATE_K: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Offsets (STATE_K, STATE_V) of a part in a state [K, V], and which are inside."""
    key = part * STATE_K + tl.arange(0, STATE_K)[:, None]
    return key * V + value, (key < K) & (value < V)


@triton.jit
def load_state(
    ptr: tl.tensor | None, row: tl.tensor, part: tl.constexpr, value: tl.tensor, K: tl.constexpr,
    V: tl.constexpr, STATE_K: tl.constexpr, STATE_V: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """A part of the state `row`; zero if there is none."""
    state = tl.zeros((STATE_K, STATE_V), dtype=tl.float32)
    if ptr is not None:
        at, mask = state_at(part, value, K, V, STATE_K)
        state += tl.load(ptr + row * K * V + at, mask=mask, other=0.0).to(tl.float32)
    return state


@triton.jit
def store_state(
    ptr: tl.tensor, state: tl.tensor, row: tl.tensor, part: tl.constexpr, value: tl.tensor,
    K: tl.constexpr, V: tl.constexpr, STATE_K: tl.constexpr,
) -> None:  # fmt: skip
    at, mask = state_at(part, value, K, V, STATE_K)
    tl.store(ptr + row * K * V + at, state.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def corrected(
    u: tl.tensor, state: tl.tensor, w_ptr: tl.tensor, states_ptr: tl.tensor, chunk: tl.tensor,
    part: tl.constexpr, at: tl.tensor, value: tl.tensor, K: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, STATE_K: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """u + W S by one part of the keys; writes that part of the state before the chunk."""
    store_state(states_ptr, state, chunk, part, value, K, V, STATE_K)
    key = part * STATE_K + tl.arange(0, STATE_K)[None, :]
    return u + product(load_tile(w_ptr, chunk, at[:, None], key, C, K), state)


@triton.jit
def stepped(
    state: tl.tensor, u: tl.tensor, v: tl.tensor, r_ptr: tl.tensor, k_ptr: tl.tensor,
    since_ptr: tl.tensor | None, to_end_ptr: tl.tensor | None, chunk: tl.tensor, bh: tl.tensor,
    first: tl.tensor, part: tl.constexpr, at: tl.tensor, length: tl.tensor, heads: tl.tensor,
    K: tl.constexpr, C: tl.constexpr, STATE_K: tl.constexpr, DECAY: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """kept S + r^T u + k^T v by one part of the keys."""
    key = part * STATE_K + tl.arange(0, STATE_K)[:, None]
    if DECAY != 0:
        state *= whole_decay(since_ptr, chunk, key, C, K, DECAY)
    r = load_steps(r_ptr, bh, first, at[None, :], key, length, heads, K)
    r = weighted(r, to_end_ptr, chunk, at[None, :], key, C, K, DECAY)
    state += product(r, u)
    k = load_steps(k_ptr, bh, first, at[None, :], key, length, heads, K)
    k = weighted(k, to_end_ptr, chunk, at[None, :], key, C, K, DECAY)
    return state + product(k, v)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def walk_kernel(
    r_ptr: tl.tensor,
    k_ptr: tl.tensor,
    v_ptr: tl.tensor,
    since_ptr: tl.tensor | None,
    to_end_ptr: tl.tensor | None,
    w_ptr: tl.tensor,
    z_ptr: tl.tensor,
    initial_ptr: tl.tensor | None,
    states_ptr: tl.tensor,
    u_ptr: tl.tensor,
    final_ptr: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    STATE_K: tl.constexpr,
    STATE_V: tl.constexpr,
    DECAY: tl.constexpr,
) -> None:
    """All keys and a tile of values of one head: u = W S + Z, then S <- kept S + r^T u + k^T v."""
    tiles = tl.cdiv(V, STATE_V)
    bh = tl.program_id(0).to(tl.int64) // tiles
    value = (tl.program_id(0) % tiles * STATE_V + tl.arange(0, STATE_V))[None, :]
    at = tl.arange(0, C)
    state0 = load_state(initial_ptr, bh, 0, value, K, V, STATE_K, STATE_V)
    if K > 1 * STATE_K:
        state1 = load_state(initial_ptr, bh, 1, value, K, V, STATE_K, STATE_V)
    if K > 2 * STATE_K:
        state2 = load_state(initial_ptr, bh, 2, value, K, V, STATE_K, STATE_V)
    if K > 3 * STATE_K:
        state3 = load_state(initial_ptr, bh, 3, value, K, V, STATE_K, STATE_V)
    for n in range(chunks):
        chunk = bh * chunks + n
        u = tl.zeros((C, STATE_V), dtype=tl.float32)
        u = corrected(u, state0, w_ptr, states_ptr, chunk, 0, at, value, K, V, C, STATE_K)
        if K > 1 * STATE_K:
            u = corrected(u, state1, w_ptr, states_ptr, chunk, 1, at, value, K, V, C, STATE_K)
        if K > 2 * STATE_K:
            u = corrected(u, state2, w_ptr, states_ptr, chunk, 2, at, value, K, V, C, STATE_K)
        if K > 3 * STATE_K:
            u = corrected(u, state3, w_ptr, states_ptr, chunk, 3, at, value, K, V, C, STATE_K)
        u += load_tile(z_ptr, chunk, at[:, None], value, C, V)
        store_tile(u_ptr, u, chunk, at[:, None], value, C, V)
        first = n * C
        v = load_steps(v_ptr, bh, first, at[:, None], value, length, heads, V)
        state0 = stepped(
            state0, u, v, r_ptr, k_ptr, since_ptr, to_end_ptr, chunk, bh, first, 0, at, length,
            heads, K, C, STATE_K, DECAY,
        )  # fmt: skip
        if K > 1 * STATE_K:
            state1 = stepped(
                state1, u, v, r_ptr, k_ptr, since_ptr, to_end_ptr, chunk, bh, first, 1, at, length,
                heads, K, C, STATE_K, DECAY,
            )  # fmt: skip
        if K > 2 * STATE_K:
            state2 = stepped(
                state2, u, v, r_ptr, k_ptr, since_ptr, to_end_ptr, chunk, bh, first, 2, at, length,
                heads, K, C, STATE_K, DECAY,
            )  # fmt: skip
        if K > 3 * STATE_K:
            state3 = stepped(
                state3, u, v, r_ptr, k_ptr, since_ptr, to_end_ptr, chunk, bh, first, 3, at, length,
                heads, K, C, STATE_K, DECAY,
            )  # fmt: skip
    store_state(final_ptr, state0, bh, 0, value, K, V, STATE_K)
    if K > 1 * STATE_K:
        store_state(final_ptr, state1, bh, 1, value, K, V, STATE_K)
    if K > 2 * STATE_K:
        store_state(final_ptr, state2, bh, 2, value, K, V, STATE_K)
    if K > 3 * STATE_K:
        store_state(final_ptr, state3, bh, 3, value, K, V, STATE_K)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def outputs_kernel(
    q_ptr: tl.tensor,
    v_ptr: tl.tensor,
    since_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    states_ptr: tl.tensor,
    u_ptr: tl.tensor,
    o_ptr: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
    DECAY: tl.constexpr,
    READ_BEFORE: tl.constexpr,
) -> None:
    """One chunk and a tile of values of one head: o = read_q S + qr u + qk v."""
    tiles = tl.cdiv(V, BLOCK_V)
    chunk = tl.program_id(0).to(tl.int64) // tiles
    value = (tl.program_id(0) % tiles * BLOCK_V + tl.arange(0, BLOCK_V))[None, :]
    bh = chunk // chunks
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    first = chunk % chunks * C
    u = load_tile(u_ptr, chunk, row, value, C, V)
    o = product(load_tile(scores_ptr, chunk * 5 + 2, row, column, C, C), u)
    v = load_steps(v_ptr, bh, first, row, value, length, heads, V)
    o += product(load_tile(scores_ptr, chunk * 5 + 3, row, column, C, C), v)
    for start in range(0, K, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)
        q = load_steps(q_ptr, bh, first, row, key[None, :], length, heads, K)
        read_at = row - 1 if READ_BEFORE else row
        q = weighted(q, since_ptr, chunk, read_at, key[None, :], C, K, DECAY)
        state = load_tile(states_ptr, chunk, key[:, None], value, K, V)
        o += product(q, state)
    store_steps(o_ptr, o, bh, first, row, value, length, heads, V)
