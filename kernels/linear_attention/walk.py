"""The states between chunks, and their gradients: one walk over the chunks, in either direction."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from ..launch import dot
from .chunks import decay_of_chunk, decay_since_start, decay_to_end, time_tile


@triton.jit(do_not_specialize=["length", "heads", "chunks"])
def walk_kernel(
    y_ptr: tl.tensor,
    w_ptr: tl.tensor,
    g_ptr: tl.tensor | None,
    initial_ptr: tl.tensor | None,
    states_ptr: tl.tensor,
    last_ptr: tl.tensor,
    y_batch: tl.tensor,
    y_step: tl.tensor,
    y_head: tl.tensor,
    w_batch: tl.tensor,
    w_step: tl.tensor,
    w_head: tl.tensor,
    g_batch: tl.tensor,
    g_step: tl.tensor,
    g_head: tl.tensor,
    initial_batch: tl.tensor,
    initial_head: tl.tensor,
    initial_row: tl.tensor,
    initial_column: tl.tensor,
    last_row: tl.tensor,
    last_column: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    KIND: tl.constexpr,
    BEFORE: tl.constexpr,
    REVERSE: tl.constexpr,
    X: tl.constexpr,
    W: tl.constexpr,
    STEPS: tl.constexpr,
    STRIDES: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_W: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """S after = total S before + (y to_end)^T w, from `initial`; writes S before each chunk.

    REVERSE walks back: R before = total R after + (y since)^T w; writes R after each chunk.
    A program holds a tile [BLOCK_X, BLOCK_W] of the state of one row and head, and crosses a chunk
    in STRIDES strides of STEPS steps: sums of fewer terms are more exact.
    """
    w_tiles: tl.constexpr = (W + BLOCK_W - 1) // BLOCK_W
    x_tiles: tl.constexpr = (X + BLOCK_X - 1) // BLOCK_X
    tile = tl.program_id(0) % (x_tiles * w_tiles)
    pair = (tl.program_id(0) // (x_tiles * w_tiles)).to(tl.int64)
    batch, head = pair // heads, pair % heads
    y_ptr += batch * y_batch + head * y_head
    w_ptr += batch * w_batch + head * w_head
    row = ((tile // w_tiles) * BLOCK_X + tl.arange(0, BLOCK_X)).to(tl.int64)
    column = ((tile % w_tiles) * BLOCK_W + tl.arange(0, BLOCK_W)).to(tl.int64)
    mask = (row < X)[:, None] & (column < W)[None, :]
    gate = row
    gates: tl.constexpr = X if KIND == 2 else 1
    if KIND == 1:
        gate = tl.zeros((1,), tl.int64)
    if KIND != 0:
        g_ptr += batch * g_batch + head * g_head
    state = tl.zeros((BLOCK_X, BLOCK_W), tl.float32)
    if initial_ptr is not None:
        initial_ptr += batch * initial_batch + head * initial_head
        place = row[:, None] * initial_row + column[None, :] * initial_column
        state = tl.load(initial_ptr + place, mask=mask, other=0.0).to(tl.float32)
    states_ptr += pair * chunks * X * W + row[:, None] * W + column[None, :]
    for i in range(chunks * STRIDES):
        n = tl.cast(chunks * STRIDES - 1 - i if REVERSE else i, tl.int64)
        if i % STRIDES == 0:
            tl.store(states_ptr + (n // STRIDES) * X * W, state, mask=mask)
        first = n * STEPS
        y = time_tile(y_ptr, y_step, first, length, row, 0, STEPS, X, 1).to(tl.float32)
        w = time_tile(w_ptr, w_step, first, length, column, 0, STEPS, W, 0).to(tl.float32)
        if REVERSE:
            decay = decay_since_start(
                g_ptr, g_step, first, length, gate, KIND, BEFORE, STEPS, gates, 1
            )
        else:
            decay = decay_to_end(g_ptr, g_step, first, length, gate, KIND, STEPS, gates, 1)
        total = decay_of_chunk(g_ptr, g_step, first, length, gate, KIND, STEPS, gates, 1)
        state = total * state + dot(y * decay, w, PRECISION)
    place = row[:, None] * last_row + column[None, :] * last_column
    tl.store(last_ptr + pair * X * W + place, state.to(last_ptr.dtype.element_ty), mask=mask)
