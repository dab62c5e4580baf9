"""What the kernels of the delta rule share: where tiles lie, and decays between steps of a chunk.

Operands are [B, L, H, D]; scratch is [B H, N, C, D] for N chunks of C steps. Decays are in log2
space and never divided by another: each sum runs over the steps between two, with one sign, as a
product with a matrix of zeros and ones.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from ..launch import dot

NONE, HEAD, KEY = 0, 1, 2
"""Kinds of decay."""

PRECISION = tl.constexpr("tf32x3")
"""Of products that are as exact as float32 on tensor cores. The final state is float32 whatever the
operands are, so plain tf32 would show there."""

LOG2E = tl.constexpr(1.4426950408889634)
SHUT = tl.constexpr(-512.0)
"""2 to this is zero in float32 even after growth by 2^127, and sums of it stay finite."""


@triton.jit
def load_steps(
    ptr: tl.tensor,
    row: tl.tensor,
    first: tl.tensor,
    at: tl.tensor,
    column: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Steps first + at of batch and head `row = b H + h`; at and column (C, 1) and (1, D), or
    (1, C) and (D, 1).

    float32, zero outside: steps that are no part of the sequence change nothing. `row` and `first`
    are int64; offsets inside a tile, which are those of 32 steps at most, fit 32 bits.
    """
    base = ((row // heads * length + first) * heads + row % heads) * WIDTH
    mask = (at < length - first) & (column < WIDTH)
    return tl.load(ptr + base + (at * heads * WIDTH + column), mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_steps(
    ptr: tl.tensor,
    x: tl.tensor,
    row: tl.tensor,
    first: tl.tensor,
    at: tl.tensor,
    column: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    base = ((row // heads * length + first) * heads + row % heads) * WIDTH
    mask = (at < length - first) & (column < WIDTH)
    tl.store(ptr + base + (at * heads * WIDTH + column), x.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_gates(
    ptr: tl.tensor,
    row: tl.tensor,
    first: tl.tensor,
    at: tl.tensor,
    column: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """`load_steps` of natural logarithms, as finite log2; a NaN stays one."""
    g = load_steps(ptr, row, first, at, column, length, heads, WIDTH) * LOG2E
    return tl.where(g < SHUT, SHUT, g)


@triton.jit
def load_tile(
    ptr: tl.tensor,
    chunk: tl.tensor,
    at: tl.tensor,
    column: tl.tensor,
    C: tl.constexpr,
    D: tl.constexpr,
) -> tl.tensor:
    """Of scratch [chunks, C, D]; at and column (C, 1) and (1, D), or (1, C) and (D, 1)."""
    mask = (at >= 0) & (at < C) & (column < D)
    return tl.load(ptr + chunk * C * D + (at * D + column), mask=mask, other=0.0)


@triton.jit
def store_tile(
    ptr: tl.tensor,
    x: tl.tensor,
    chunk: tl.tensor,
    at: tl.tensor,
    column: tl.tensor,
    C: tl.constexpr,
    D: tl.constexpr,
) -> None:
    tl.store(ptr + chunk * C * D + (at * D + column), x, mask=(at < C) & (column < D))


@triton.jit
def product(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return dot(a, b, PRECISION)


@triton.jit
def sums(which: tl.tensor, x: tl.tensor) -> tl.tensor:
    """(C, C) of where and (C, D): row t is the sum of the rows s of x with which[t, s]."""
    return dot(which.to(tl.float32), x, PRECISION)


@triton.jit
def weighted(
    x: tl.tensor, log_decay_ptr: tl.tensor | None, chunk: tl.tensor, at: tl.tensor,
    column: tl.tensor, C: tl.constexpr, K: tl.constexpr, DECAY: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """x times the decay in scratch [chunks, C, K or 1] at its steps; at -1 there is none yet."""
    if DECAY == 2:
        x *= tl.exp2(load_tile(log_decay_ptr, chunk, at, column, C, K))
    if DECAY == 1:
        x *= tl.exp2(load_tile(log_decay_ptr, chunk, at, at * 0, C, 1))
    return x


@triton.jit
def between(
    g: tl.tensor, row: tl.tensor, column: tl.tensor, READ_BEFORE: tl.constexpr
) -> tl.tensor:
    """g (C, 1) to (C, C): the decay of heads from step s to a read at t, zero where s is unseen."""
    later = tl.where(row > column, g, 0.0)
    if READ_BEFORE:
        return tl.where(row > column, tl.exp2(sums(row > column, later)), 0.0)
    return tl.where(row >= column, tl.exp2(sums(row >= column, later)), 0.0)
