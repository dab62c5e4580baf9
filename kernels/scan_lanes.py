"""What the scans along time share: chunks of time, lanes, and numbers that may be complex.

A lane is one channel in one chunk of time. A program holds some lanes, each in one place of a
vector, and walks their chunk step by step, so within a chunk a scan is the loop's own arithmetic.
Lanes that are neighbours are neighbours in the last dim.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
import triton
import triton.language as tl
from torch import Tensor

# About half of the threads that an H100 holds at once.
LANES_WANTED = 1 << 17
# Of a scan of chunks: each runs once for what it does to a state, and once from its first state.
FEWEST_CHUNKS = 4
SHORTEST_CHUNK = 32
# Steps whose operands are loaded before the first of them is computed.
UNROLL = 8
# Gradients load and store more of each step, and with 8 spill.
GRADIENT_UNROLL = 4


@dataclass(frozen=True)
class Settings:
    """Up to how many lanes in all; lanes of a program, and its warps."""

    limit: int
    lanes: int
    warps: int


# One lane a thread while threads are few, then two, so that 16-bit loads are whole words. Nothing
# spills (tests compile them). No setting was timed.
SETTINGS = (
    Settings(limit=1 << 16, lanes=128, warps=4),
    Settings(limit=1 << 62, lanes=256, warps=4),
)


def settings(lanes: int, is_complex: bool) -> Settings:
    """The settings for this many lanes; a complex number takes the registers of two."""
    if is_complex:
        return SETTINGS[0]
    return next(entry for entry in SETTINGS if lanes <= entry.limit)


@dataclass(frozen=True)
class Chunks:
    """Time in `count` chunks of `size` steps; the last may be shorter."""

    size: int
    count: int


def chunked(length: int, channels: int) -> Chunks:
    """By the shape alone, so that results repeat: one chunk where the channels fill the device.

    Otherwise as many as fill it, but no more of them than steps in each, since the states before
    the chunks follow one after another, as the steps do.
    """
    size = max(SHORTEST_CHUNK, isqrt(length), length * channels // LANES_WANTED)
    size = -(-size // UNROLL) * UNROLL
    count = -(-length // size)
    return Chunks(size, count) if count >= FEWEST_CHUNKS else Chunks(length, 1)


@dataclass(frozen=True)
class Sizes:
    """[batch, length, outer, inner], and its chunks."""

    batch: int
    length: int
    outer: int
    inner: int
    chunks: Chunks

    @property
    def channels(self) -> int:
        return self.batch * self.outer * self.inner


def sizes(x: Tensor) -> Sizes:
    """Of [B, L, *S]."""
    batch, length, outer, inner = four_dims(x).shape[:4]
    return Sizes(batch, length, outer, inner, chunked(length, batch * outer * inner))


def four_dims(x: Tensor) -> Tensor:
    """[B, T, *S] as [B, T, outer, inner], complex as pairs [.., 2]; a view if strides allow."""
    if x.ndim < 4:
        x = x.reshape(*x.shape[:2], 1, -1) if x.numel() else x.new_empty((*x.shape[:2], 1, 0))
    else:
        x = x.flatten(2, -2)
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def operand(x: Tensor) -> tuple[Tensor | int, ...]:
    """A tensor [B, T, *S] and its strides of batch, time, outer and inner, as kernels take them."""
    dims = four_dims(x)
    return dims, *dims.stride()[:4]


@triton.jit
def place_of_lanes(
    chunks: tl.tensor, outer: tl.tensor, inner: tl.tensor, lanes: tl.tensor, LANES: tl.constexpr
) -> tl.tuple:
    """Batch, chunk, outer and inner index of a program's lanes, and which of them there are."""
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES).to(tl.int64)
    row = lane // inner
    group = row // outer
    return group // chunks, group % chunks, row % outer, lane % inner, lane < lanes


@triton.jit
def load_number(pointers: tl.tensor, mask: tl.tensor, IS_COMPLEX: tl.constexpr) -> tl.tuple:
    """Real and imaginary part in float32; of a real number the second is not to be read."""
    re = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    im = tl.load(pointers + 1, mask=mask, other=0.0) if IS_COMPLEX else re
    return re, im


@triton.jit
def store_number(
    pointers: tl.tensor, number: tl.tuple, mask: tl.tensor, IS_COMPLEX: tl.constexpr
) -> None:
    tl.store(pointers, number[0].to(pointers.dtype.element_ty), mask=mask)
    if IS_COMPLEX:
        tl.store(pointers + 1, number[1], mask=mask)


@triton.jit
def times(x: tl.tuple, y: tl.tuple, IS_COMPLEX: tl.constexpr) -> tl.tuple:
    if IS_COMPLEX:
        return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]
    return x[0] * y[0], x[1]


@triton.jit
def plus(x: tl.tuple, y: tl.tuple, IS_COMPLEX: tl.constexpr) -> tl.tuple:
    return x[0] + y[0], (x[1] + y[1] if IS_COMPLEX else x[1])


@triton.jit
def conjugate(x: tl.tuple, IS_COMPLEX: tl.constexpr) -> tl.tuple:
    return x[0], (-x[1] if IS_COMPLEX else x[1])
