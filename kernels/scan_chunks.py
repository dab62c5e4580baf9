"""Scans along time in Triton, in one pass or in chunks: linear, linear in reversed time, max-plus.

The steps are `a h + b`; reversed `conj(a) (b + u)`, as the gradient of a linear scan runs;
and `max(h + a, b)`. Two steps in one have the product of their a, of max-plus the sum.

Where the channels fill the device, each is one lane that walks all of time: operands are read once.
Where they do not, time is cut into chunks. `totals_kernel` finds what each chunk does to a state
(its a in one, and its last state from nothing), `carry_kernel` runs over the chunks for the state
before each, and `states_kernel` walks each chunk from there.

A chunk's product may overflow where the states do not (a state of zero times a huge product, or
sums that cancel). It does not matter: wherever the carried state is not finite, `carry_kernel`
walks that chunk's steps themselves. A product that falls below 2^-126 loses at most `2^-126 |h|`,
times what later steps of the chunk make of it.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from .scan_lanes import (
    UNROLL,
    Sizes,
    conjugate,
    four_dims,
    load_number,
    operand,
    place_of_lanes,
    settings,
    sizes,
    store_number,
    times,
)

Scan = Literal["linear", "reversed", "max_plus"]


def all_states(
    scan: Scan, a: Tensor, b: Tensor, initial: Tensor, share: Tensor | None = None
) -> Tensor:
    """Every state, [B, L, *S] in the dtype of b: a, b [B, L, *S], initial [B, *S], not reversed.

    `share`, contiguous, receives what of the gradient of a maximum goes to its first operand.
    """
    h = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    shape = sizes(b)
    if not h.numel():
        return h
    starts = initial.unsqueeze(1)
    if shape.chunks.count > 1:
        starts = states_before_chunks(scan, a, b, initial, shape)
    counts = counts_of(shape, shape.chunks.count)
    chosen = settings(counts[-1], b.is_complex())
    with torch.cuda.device(b.get_device()):
        states_kernel[(triton.cdiv(counts[-1], chosen.lanes),)](
            *operand(a),
            *operand(b),
            *operand(starts),
            four_dims(h),
            None if share is None else four_dims(share),
            *counts,
            SCAN=scan,
            IS_COMPLEX=b.is_complex(),
            LANES=chosen.lanes,
            UNROLL=UNROLL,
            num_warps=chosen.warps,
        )
    return h


def states_before_chunks(
    scan: Scan, a: Tensor, b: Tensor, initial: Tensor | None, shape: Sizes
) -> Tensor:
    """The state that enters each chunk: [B, chunks, outer, inner], float32 or complex64.

    Reversed, it comes from the chunk after. An initial state of None is zero.
    """
    count = shape.chunks.count
    wide = torch.complex64 if b.is_complex() else torch.float32
    dims = (shape.batch, count, shape.outer, shape.inner)
    starts = torch.empty(dims, dtype=wide, device=b.device)
    totals = torch.empty((shape.batch, count - 1, *dims[2:]), dtype=wide, device=b.device)
    ends = torch.empty_like(totals)
    for_chunks = settings(totals.numel(), b.is_complex())
    for_channels = settings(shape.channels, b.is_complex())
    constants = {"SCAN": scan, "IS_COMPLEX": b.is_complex(), "UNROLL": UNROLL}
    first = (None, 0, 0, 0, 0) if initial is None else operand(initial.unsqueeze(1))
    with torch.cuda.device(b.get_device()):
        totals_kernel[(triton.cdiv(totals.numel(), for_chunks.lanes),)](
            *operand(a),
            *operand(b),
            four_dims(totals),
            four_dims(ends),
            *counts_of(shape, count - 1),
            LANES=for_chunks.lanes,
            num_warps=for_chunks.warps,
            **constants,
        )
        carry_kernel[(triton.cdiv(shape.channels, for_channels.lanes),)](
            *operand(a),
            *operand(b),
            *first,
            four_dims(totals),
            four_dims(ends),
            four_dims(starts),
            count,
            *counts_of(shape, 1),
            LANES=for_channels.lanes,
            num_warps=for_channels.warps,
            **constants,
        )
    return starts


def counts_of(shape: Sizes, chunks: int) -> tuple[int, ...]:
    """length, size, chunks, outer, inner, lanes: of a kernel that runs over so many chunks."""
    lanes = shape.channels * chunks
    return shape.length, shape.chunks.size, chunks, shape.outer, shape.inner, lanes


@triton.jit
def _advance(
    a: tl.tuple, b: tl.tuple, state: tl.tuple, SCAN: tl.constexpr, IS_COMPLEX: tl.constexpr
) -> tl.tuple:
    """The state after one step. The second part of a real number is passed on, and not read."""
    if SCAN == "max_plus":
        after = tl.maximum(state[0] + a[0], b[0], propagate_nan=tl.PropagateNan.ALL), state[1]
    elif SCAN == "linear" and IS_COMPLEX:
        re = a[0] * state[0] - a[1] * state[1] + b[0]
        after = re, a[0] * state[1] + a[1] * state[0] + b[1]
    elif SCAN == "linear":
        after = a[0] * state[0] + b[0], state[1]
    elif IS_COMPLEX:
        re, im = b[0] + state[0], b[1] + state[1]
        after = a[0] * re + a[1] * im, a[0] * im - a[1] * re
    else:
        after = a[0] * (b[0] + state[0]), state[1]
    return after


@triton.jit
def _is_sound(x: tl.tuple, SCAN: tl.constexpr, IS_COMPLEX: tl.constexpr) -> tl.tensor:
    """Neither NaN nor infinite; a maximum may be of nothing, which is -inf."""
    if SCAN == "max_plus":
        found = x[0] < float("inf")
    elif IS_COMPLEX:
        found = (tl.abs(x[0]) < float("inf")) & (tl.abs(x[1]) < float("inf"))
    else:
        found = tl.abs(x[0]) < float("inf")
    return found


@triton.jit(do_not_specialize=["length", "size", "chunks", "lanes"])
def totals_kernel(
    a_ptr: tl.tensor,
    a_batch: tl.tensor,
    a_time: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    b_ptr: tl.tensor,
    b_batch: tl.tensor,
    b_time: tl.tensor,
    b_outer: tl.tensor,
    b_inner: tl.tensor,
    total_ptr: tl.tensor,
    end_ptr: tl.tensor,
    length: tl.tensor,
    size: tl.tensor,
    chunks: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    lanes: tl.tensor,
    SCAN: tl.constexpr,
    IS_COMPLEX: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
) -> None:
    """What each chunk but the last does to a state; reversed, each but the first."""
    batch, chunk, row, column, is_lane = place_of_lanes(chunks, outer, inner, lanes, LANES)
    a_hop, b_hop = tl.cast(a_time, tl.int64), tl.cast(b_time, tl.int64)
    first, missing = chunk * size, 0
    if SCAN == "reversed":
        # It starts with the chunk's end, and the last chunk may be short there.
        first += 2 * tl.cast(size, tl.int64) - 1
        missing = tl.maximum(first - length + 1, 0).to(tl.int32)
    a_base = a_ptr + batch * a_batch + first * a_hop + row * a_outer + column * a_inner
    b_base = b_ptr + batch * b_batch + first * b_hop + row * b_outer + column * b_inner
    if SCAN == "reversed":
        a_hop, b_hop = -a_hop, -b_hop
    none = tl.zeros((LANES,), tl.float32)
    if SCAN == "max_plus":
        total, end = (none, none), (none - float("inf"), none)
    else:
        total, end = (none + 1.0, none), (none, none)
    for start in range(0, size, UNROLL):
        loaded: tl.tuple = ()
        for step in tl.static_range(UNROLL):
            mask = is_lane & (start + step >= missing)
            a = load_number(a_base + (start + step) * a_hop, mask, IS_COMPLEX)
            b = load_number(b_base + (start + step) * b_hop, mask, IS_COMPLEX)
            loaded += ((a, b),)
        for step in tl.static_range(UNROLL):
            a, b = loaded[step]
            if SCAN == "max_plus":
                total = total[0] + a[0], total[1]
            else:
                total = times(total, a, IS_COMPLEX)
            end = _advance(a, b, end, SCAN, IS_COMPLEX)
    if SCAN == "reversed":
        total = conjugate(total, IS_COMPLEX)
    place = ((batch * chunks + chunk) * outer + row) * inner + column
    if IS_COMPLEX:
        place *= 2
    store_number(total_ptr + place, total, is_lane, IS_COMPLEX)
    store_number(end_ptr + place, end, is_lane, IS_COMPLEX)


@triton.jit(do_not_specialize=["length", "size", "one", "lanes", "chunks"])
def carry_kernel(
    a_ptr: tl.tensor,
    a_batch: tl.tensor,
    a_time: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    b_ptr: tl.tensor,
    b_batch: tl.tensor,
    b_time: tl.tensor,
    b_outer: tl.tensor,
    b_inner: tl.tensor,
    first_ptr: tl.tensor | None,
    first_batch: tl.tensor,
    first_time: tl.tensor,
    first_outer: tl.tensor,
    first_inner: tl.tensor,
    total_ptr: tl.tensor,
    end_ptr: tl.tensor,
    start_ptr: tl.tensor,
    chunks: tl.tensor,
    length: tl.tensor,
    size: tl.tensor,
    one: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    lanes: tl.tensor,
    SCAN: tl.constexpr,
    IS_COMPLEX: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
) -> None:
    """The states before all chunks, one lane a channel; reversed from the last chunk on."""
    batch, _, row, column, is_lane = place_of_lanes(one, outer, inner, lanes, LANES)
    a_base = a_ptr + batch * a_batch + row * a_outer + column * a_inner
    b_base = b_ptr + batch * b_batch + row * b_outer + column * b_inner
    state = (tl.zeros((LANES,), tl.float32), tl.zeros((LANES,), tl.float32))
    if first_ptr is not None:
        first = first_ptr + batch * first_batch + row * first_outer + column * first_inner
        state = load_number(first, is_lane, IS_COMPLEX)
    WORDS: tl.constexpr = 2 if IS_COMPLEX else 1
    OF_CHUNKS: tl.constexpr = "max_plus" if SCAN == "max_plus" else "linear"
    # From one chunk to the next, in the order of the scan.
    hop = tl.cast(outer, tl.int64) * inner * WORDS
    places = (batch * (chunks - 1) * outer + row) * inner * WORDS + column * WORDS
    starts = (batch * chunks * outer + row) * inner * WORDS + column * WORDS
    if SCAN == "reversed":
        places += (chunks - 2) * hop
        starts += (chunks - 1) * hop
        hop = -hop
    store_number(start_ptr + starts, state, is_lane, IS_COMPLEX)
    for group in range(0, chunks - 1, UNROLL):
        before, is_sound = state, is_lane | True
        loaded: tl.tuple = ()
        for step in tl.static_range(UNROLL):
            mask = is_lane & (group + step < chunks - 1)
            place = places + (group + step) * hop
            total = load_number(total_ptr + place, mask, IS_COMPLEX)
            loaded += ((total, load_number(end_ptr + place, mask, IS_COMPLEX)),)
        for step in tl.static_range(UNROLL):
            total, end = loaded[step]
            state = _advance(total, end, state, OF_CHUNKS, IS_COMPLEX)
            is_sound = is_sound & _is_sound(state, SCAN, IS_COMPLEX)
            mask = is_lane & (group + step < chunks - 1)
            next_start = start_ptr + starts + (group + step + 1) * hop
            store_number(next_start, state, mask, IS_COMPLEX)
        if tl.min(is_sound.to(tl.int32), axis=0) == 0:
            # The stores above may be by other threads than those below.
            tl.debug_barrier()
            walked = before
            for chunk in range(group, tl.minimum(group + UNROLL, chunks - 1)):
                for place_in_chunk in range(size):
                    t = tl.cast(chunk, tl.int64) * size + place_in_chunk
                    if SCAN == "reversed":
                        t = chunks * tl.cast(size, tl.int64) - 1 - t
                    mask = is_lane & (t < length)
                    a = load_number(a_base + t * a_time, mask, IS_COMPLEX)
                    b = load_number(b_base + t * b_time, mask, IS_COMPLEX)
                    walked = _advance(a, b, walked, SCAN, IS_COMPLEX)
                next_start = start_ptr + starts + (chunk + 1) * hop
                store_number(next_start, walked, is_lane & ~is_sound, IS_COMPLEX)
            state = (
                tl.where(is_sound, state[0], walked[0]),
                tl.where(is_sound, state[1], walked[1]),
            )


@triton.jit(do_not_specialize=["length", "size", "chunks", "lanes"])
def states_kernel(
    a_ptr: tl.tensor,
    a_batch: tl.tensor,
    a_time: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    b_ptr: tl.tensor,
    b_batch: tl.tensor,
    b_time: tl.tensor,
    b_outer: tl.tensor,
    b_inner: tl.tensor,
    start_ptr: tl.tensor,
    start_batch: tl.tensor,
    start_time: tl.tensor,
    start_outer: tl.tensor,
    start_inner: tl.tensor,
    h_ptr: tl.tensor,
    share_ptr: tl.tensor | None,
    length: tl.tensor,
    size: tl.tensor,
    chunks: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    lanes: tl.tensor,
    SCAN: tl.constexpr,
    IS_COMPLEX: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
) -> None:
    """Every h of each chunk, from the state before it; of a maximum the share of its past too."""
    batch, chunk, row, column, is_lane = place_of_lanes(chunks, outer, inner, lanes, LANES)
    start_base = start_ptr + batch * start_batch + chunk * start_time
    h = load_number(start_base + row * start_outer + column * start_inner, is_lane, IS_COMPLEX)
    first = chunk * size
    count = tl.minimum(length - first, size).to(tl.int32)
    a_hop, b_hop = tl.cast(a_time, tl.int64), tl.cast(b_time, tl.int64)
    a_base = a_ptr + batch * a_batch + first * a_hop + row * a_outer + column * a_inner
    b_base = b_ptr + batch * b_batch + first * b_hop + row * b_outer + column * b_inner
    WORDS: tl.constexpr = 2 if IS_COMPLEX else 1
    h_hop = tl.cast(outer, tl.int64) * inner * WORDS
    place = (batch * length + first) * h_hop + (row * inner + column) * WORDS
    for start in range(0, size, UNROLL):
        loaded: tl.tuple = ()
        for step in tl.static_range(UNROLL):
            mask = is_lane & (start + step < count)
            a = load_number(a_base + (start + step) * a_hop, mask, IS_COMPLEX)
            b = load_number(b_base + (start + step) * b_hop, mask, IS_COMPLEX)
            loaded += ((a, b),)
        for step in tl.static_range(UNROLL):
            a, b = loaded[step]
            mask = is_lane & (start + step < count)
            before = h
            h = _advance(a, b, h, SCAN, IS_COMPLEX)
            if share_ptr is not None:
                past = before[0] + a[0]
                half = tl.where(past < b[0], 0.0, 0.5) + tl.where(past > b[0], 0.5, 0.0)
                tl.store(share_ptr + place + (start + step) * h_hop, half.to(tl.float16), mask=mask)
            store_number(h_ptr + place + (start + step) * h_hop, h, mask, IS_COMPLEX)
