"""What the kernels of linear attention share: tiles of steps, and decays inside a chunk.

Logarithms of decays are to base 2. They are only added up, over steps that follow one another, so
-inf stays -inf until `exp2` makes it zero, and no sum of them cancels. Decays are only multiplied.
A read at t sees, of what s wrote, the decays of s < r <= t, or of s < r < t with BEFORE: then the
gates are read one step late. Steps past the end read zeros: they write nothing and decay by one.

Where each column decays by itself, blocks of 1, 2, 4, .. steps are joined in pairs, and the border
within each pair is a reference point: what the later block reads carries the decay since it, what
the earlier one wrote the decay up to it (as in gabc.runtime.functional.pairwise_decay).

KIND is 0 without decay, 1 with one for a head, 2 with one for each of the columns.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

NO_DECAY = 0
HEAD = 1
CHANNEL = 2

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def time_tile(
    ptr: tl.tensor,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    column: tl.tensor,
    SHIFT: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
    AXIS: tl.constexpr,
) -> tl.tensor:
    """Steps first + SHIFT on, with zeros past the chunk and the end: [STEPS, columns] if AXIS is 0,
    [columns, STEPS] if it is 1. `ptr` points at a row and head, `stride` is between steps."""
    step = tl.arange(0, STEPS) + SHIFT
    position = first + step.to(tl.int64)
    is_here = (step >= 0) & (step < STEPS) & (position < length)
    offset = tl.expand_dims(position * stride, 1 - AXIS) + tl.expand_dims(column, AXIS)
    mask = tl.expand_dims(is_here, 1 - AXIS) & tl.expand_dims(column < WIDTH, AXIS)
    return tl.load(ptr + offset, mask=mask, other=0.0)


@triton.jit
def decay_since_start(
    ptr: tl.tensor | None,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    column: tl.tensor,
    KIND: tl.constexpr,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
    AXIS: tl.constexpr,
) -> tl.tensor:
    """From the chunk's start to each read: [STEPS, columns], or one column for a head; AXIS 1
    transposes."""
    if KIND == 0:
        decay = tl.full((1, 1), 1.0, tl.float32)
    else:
        gates = time_tile(ptr, stride, first, length, column, -BEFORE, STEPS, WIDTH, AXIS)
        decay = tl.exp2(tl.cumsum(gates.to(tl.float32) * LOG2_E, axis=AXIS))
    return decay


@triton.jit
def decay_to_end(
    ptr: tl.tensor | None,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    column: tl.tensor,
    KIND: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
    AXIS: tl.constexpr,
) -> tl.tensor:
    """From each write to the chunk's end, shaped as `decay_since_start`."""
    if KIND == 0:
        decay = tl.full((1, 1), 1.0, tl.float32)
    else:
        gates = time_tile(ptr, stride, first, length, column, 1, STEPS, WIDTH, AXIS)
        decay = tl.exp2(tl.cumsum(gates.to(tl.float32) * LOG2_E, axis=AXIS, reverse=True))
    return decay


@triton.jit
def decay_of_chunk(
    ptr: tl.tensor | None,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    column: tl.tensor,
    KIND: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
    AXIS: tl.constexpr,
) -> tl.tensor:
    """Of the whole chunk: [1, columns], or one column for a head; AXIS 1 transposes."""
    if KIND == 0:
        decay = tl.full((1, 1), 1.0, tl.float32)
    else:
        gates = time_tile(ptr, stride, first, length, column, 0, STEPS, WIDTH, AXIS)
        decay = tl.exp2(tl.sum(gates.to(tl.float32) * LOG2_E, axis=AXIS, keep_dims=True))
    return decay


@triton.jit
def decay_between(
    ptr: tl.tensor,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    BEFORE: tl.constexpr,
    STEPS: tl.constexpr,
) -> tl.tensor:
    """Of a head, from a write at s to a read at t: [t, s], one where s >= t."""
    step = tl.arange(0, STEPS)
    column = tl.zeros((1,), tl.int64)
    gates = time_tile(ptr, stride, first, length, column, -BEFORE, STEPS, 1, 0).to(tl.float32)
    is_later = step[:, None] - BEFORE > step[None, :]
    return tl.exp2(tl.cumsum(tl.where(is_later, gates * LOG2_E, 0.0), axis=0))


@triton.jit
def single_steps(
    ptr: tl.tensor,
    stride: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    column: tl.tensor,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
    AXIS: tl.constexpr,
) -> tl.tensor:
    """The decay of each step and column."""
    gates = time_tile(ptr, stride, first, length, column, 0, STEPS, WIDTH, AXIS)
    return tl.exp2(gates.to(tl.float32) * LOG2_E)


@triton.jit
def of_siblings(
    x: tl.tensor, size: tl.tensor, STEPS: tl.constexpr, AXIS: tl.constexpr
) -> tl.tensor:
    """x, which is the same in all steps of a block of `size`, of the other block of each pair."""
    place = tl.expand_dims(tl.arange(0, STEPS) ^ size, 1 - AXIS)
    return tl.gather(x, tl.broadcast_to(place, x.shape), axis=AXIS)


@triton.jit
def is_later(size: tl.tensor, STEPS: tl.constexpr, AXIS: tl.constexpr) -> tl.tensor:
    """Whether a step is in the later block of its pair of blocks of `size`: [STEPS, 1]; AXIS 1
    transposes."""
    return tl.expand_dims((tl.arange(0, STEPS) & size) != 0, 1 - AXIS)


@triton.jit
def is_pair(size: tl.tensor, STEPS: tl.constexpr, AXIS: tl.constexpr) -> tl.tensor:
    """Whether t is in the later and s in the earlier block of a pair of blocks of `size` steps:
    [t, s], or [s, t] if AXIS is 1. Over size = 1, 2, 4, .. every s < t is in one pair."""
    t = tl.expand_dims(tl.arange(0, STEPS) // size, 1 - AXIS)
    s = tl.expand_dims(tl.arange(0, STEPS) // size, AXIS)
    return (t % 2 == 1) & (s == t - 1)


@triton.jit
def is_inside(size: tl.tensor, BEFORE: tl.constexpr, STEPS: tl.constexpr) -> tl.tensor:
    """[r, i]: whether the decay of step r is on the way from the border of a pair of blocks to what
    step i of the same block reads (in the later block) or wrote (in the earlier one)."""
    r, i = tl.arange(0, STEPS)[:, None], tl.arange(0, STEPS)[None, :]
    is_on_way = tl.where((r & size) != 0, i >= r + BEFORE, i < r)
    return is_on_way & (r // size == i // size)
