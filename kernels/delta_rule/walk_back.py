"""The walk over chunks from the last to the first, with the gradient of the state in registers."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from .tiles import load_steps, load_tile, product, store_tile, weighted
from .walks import load_state, store_state, whole_decay


@triton.jit
def corrected_back(
    du: tl.tensor, dstate: tl.tensor, r_ptr: tl.tensor, to_end_ptr: tl.tensor | None,
    dstates_ptr: tl.tensor, chunk: tl.tensor, bh: tl.tensor, first: tl.tensor, part: tl.constexpr,
    at: tl.tensor, value: tl.tensor, length: tl.tensor, heads: tl.tensor, K: tl.constexpr,
    V: tl.constexpr, C: tl.constexpr, STATE_K: tl.constexpr, DECAY: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """du + r D by one part of the keys; writes that part of D after the chunk."""
    store_state(dstates_ptr, dstate, chunk, part, value, K, V, STATE_K)
    key = part * STATE_K + tl.arange(0, STATE_K)[None, :]
    r = load_steps(r_ptr, bh, first, at[:, None], key, length, heads, K)
    r = weighted(r, to_end_ptr, chunk, at[:, None], key, C, K, DECAY)
    return du + product(r, dstate)


@triton.jit
def stepped_back(
    dstate: tl.tensor, du: tl.tensor, do: tl.tensor, q_ptr: tl.tensor, w_ptr: tl.tensor,
    since_ptr: tl.tensor | None, chunk: tl.tensor, bh: tl.tensor, first: tl.tensor,
    part: tl.constexpr, at: tl.tensor, length: tl.tensor, heads: tl.tensor, K: tl.constexpr,
    C: tl.constexpr, STATE_K: tl.constexpr, DECAY: tl.constexpr, READ_BEFORE: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """kept D + read_q^T do + W^T du by one part of the keys."""
    key = part * STATE_K + tl.arange(0, STATE_K)[:, None]
    if DECAY != 0:
        dstate *= whole_decay(since_ptr, chunk, key, C, K, DECAY)
    q = load_steps(q_ptr, bh, first, at[None, :], key, length, heads, K)
    read_at = at - 1 if READ_BEFORE else at
    q = weighted(q, since_ptr, chunk, read_at[None, :], key, C, K, DECAY)
    dstate += product(q, do)
    return dstate + product(load_tile(w_ptr, chunk, at[None, :], key, C, K), du)


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def walk_back_kernel(
    do_ptr: tl.tensor,
    dfinal_ptr: tl.tensor,
    q_ptr: tl.tensor,
    r_ptr: tl.tensor,
    since_ptr: tl.tensor | None,
    to_end_ptr: tl.tensor | None,
    scores_ptr: tl.tensor,
    w_ptr: tl.tensor,
    dstates_ptr: tl.tensor,
    du_ptr: tl.tensor,
    dinitial_ptr: tl.tensor | None,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    STATE_K: tl.constexpr,
    STATE_V: tl.constexpr,
    DECAY: tl.constexpr,
    READ_BEFORE: tl.constexpr,
) -> None:
    """The gradient D of the state, from the last chunk to the first: du = qr^T do + r D, then
    D <- kept D + read_q^T do + W^T du. dstates has D of the state after each chunk."""
    tiles = tl.cdiv(V, STATE_V)
    bh = tl.program_id(0).to(tl.int64) // tiles
    value = (tl.program_id(0) % tiles * STATE_V + tl.arange(0, STATE_V))[None, :]
    at = tl.arange(0, C)
    dstate0 = load_state(dfinal_ptr, bh, 0, value, K, V, STATE_K, STATE_V)
    if K > 1 * STATE_K:
        dstate1 = load_state(dfinal_ptr, bh, 1, value, K, V, STATE_K, STATE_V)
    if K > 2 * STATE_K:
        dstate2 = load_state(dfinal_ptr, bh, 2, value, K, V, STATE_K, STATE_V)
    if K > 3 * STATE_K:
        dstate3 = load_state(dfinal_ptr, bh, 3, value, K, V, STATE_K, STATE_V)
    for back in range(chunks):
        n = chunks - 1 - back
        chunk = bh * chunks + n
        first = n * C
        do = load_steps(do_ptr, bh, first, at[:, None], value, length, heads, V)
        du = product(load_tile(scores_ptr, chunk * 5 + 2, at[None, :], at[:, None], C, C), do)
        du = corrected_back(
            du, dstate0, r_ptr, to_end_ptr, dstates_ptr, chunk, bh, first, 0, at, value, length,
            heads, K, V, C, STATE_K, DECAY,
        )  # fmt: skip
        if K > 1 * STATE_K:
            du = corrected_back(
                du, dstate1, r_ptr, to_end_ptr, dstates_ptr, chunk, bh, first, 1, at, value,
                length, heads, K, V, C, STATE_K, DECAY,
            )  # fmt: skip
        if K > 2 * STATE_K:
            du = corrected_back(
                du, dstate2, r_ptr, to_end_ptr, dstates_ptr, chunk, bh, first, 2, at, value,
                length, heads, K, V, C, STATE_K, DECAY,
            )  # fmt: skip
        if K > 3 * STATE_K:
            du = corrected_back(
                du, dstate3, r_ptr, to_end_ptr, dstates_ptr, chunk, bh, first, 3, at, value,
                length, heads, K, V, C, STATE_K, DECAY,
            )  # fmt: skip
        # Loaded again: held over the products above it would spill other registers.
        do = load_steps(do_ptr, bh, first, at[:, None], value, length, heads, V)
        store_tile(du_ptr, du, chunk, at[:, None], value, C, V)
        dstate0 = stepped_back(
            dstate0, du, do, q_ptr, w_ptr, since_ptr, chunk, bh, first, 0, at, length, heads, K, C,
            STATE_K, DECAY, READ_BEFORE,
        )  # fmt: skip
        if K > 1 * STATE_K:
            dstate1 = stepped_back(
                dstate1, du, do, q_ptr, w_ptr, since_ptr, chunk, bh, first, 1, at, length, heads,
                K, C, STATE_K, DECAY, READ_BEFORE,
            )  # fmt: skip
        if K > 2 * STATE_K:
            dstate2 = stepped_back(
                dstate2, du, do, q_ptr, w_ptr, since_ptr, chunk, bh, first, 2, at, length, heads,
                K, C, STATE_K, DECAY, READ_BEFORE,
            )  # fmt: skip
        if K > 3 * STATE_K:
            dstate3 = stepped_back(
                dstate3, du, do, q_ptr, w_ptr, since_ptr, chunk, bh, first, 3, at, length, heads,
                K, C, STATE_K, DECAY, READ_BEFORE,
            )  # fmt: skip
    if dinitial_ptr is not None:
        store_state(dinitial_ptr, dstate0, bh, 0, value, K, V, STATE_K)
        if K > 1 * STATE_K:
            store_state(dinitial_ptr, dstate1, bh, 1, value, K, V, STATE_K)
        if K > 2 * STATE_K:
            store_state(dinitial_ptr, dstate2, bh, 2, value, K, V, STATE_K)
        if K > 3 * STATE_K:
            store_state(dinitial_ptr, dstate3, bh, 3, value, K, V, STATE_K)
