"""The linear recurrence of single elements in Triton: a scan along time, and one back.

The backward walks reversed time with `u_t = conj(a_t) (dh_t + u_{t+1})`, so that no shifted copy of
a is made, and writes `da_t` from the state that it reads beside. How time is cut into chunks is
in `scan_chunks`.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import require_supported
from ..scan_chunks import all_states, counts_of, states_before_chunks
from ..scan_lanes import (
    GRADIENT_UNROLL,
    conjugate,
    four_dims,
    load_number,
    operand,
    place_of_lanes,
    plus,
    settings,
    sizes,
    store_number,
    times,
)


def forward(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """As `reference.forward`, for float16, bfloat16, float32 and complex64 on a CUDA device."""
    require_supported("linear_scan", **_real(a=a, b=b, initial=initial))
    return all_states("linear", a, b, initial)


def backward(
    dh: Tensor, a: Tensor, h: Tensor, initial: Tensor, needs_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16, float32 and complex64 on a CUDA device."""
    require_supported("linear_scan", **_real(dh=dh, a=a, h=h, initial=initial))
    db = torch.empty(dh.shape, dtype=dh.dtype, device=dh.device)
    da = torch.empty(a.shape if needs_da else (0,), dtype=a.dtype, device=a.device)
    if not dh.numel():
        return da, db, torch.zeros(initial.shape, dtype=initial.dtype, device=initial.device)
    dinitial = torch.empty(initial.shape, dtype=initial.dtype, device=initial.device)
    shape = sizes(dh)
    after = None
    if shape.chunks.count > 1:
        after = states_before_chunks("reversed", a, dh, None, shape)
    counts = counts_of(shape, shape.chunks.count)
    chosen = settings(counts[-1], dh.is_complex())
    with torch.cuda.device(dh.get_device()):
        gradients_kernel[(triton.cdiv(counts[-1], chosen.lanes),)](
            *operand(dh),
            *operand(a),
            *operand(h),
            *operand(initial.unsqueeze(1)),
            None if after is None else four_dims(after),
            four_dims(da) if needs_da else None,
            four_dims(db),
            four_dims(dinitial.unsqueeze(1)),
            *counts,
            IS_COMPLEX=dh.is_complex(),
            LANES=chosen.lanes,
            UNROLL=GRADIENT_UNROLL,
            num_warps=chosen.warps,
        )
    return da, db, dinitial


def _real(**operands: Tensor) -> dict[str, Tensor]:
    """complex64 as float32, of which `require_supported` knows."""
    return {
        name: torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
        for name, x in operands.items()
    }


@triton.jit(do_not_specialize=["length", "size", "chunks", "lanes"])
def gradients_kernel(
    dh_ptr: tl.tensor,
    dh_batch: tl.tensor,
    dh_time: tl.tensor,
    dh_outer: tl.tensor,
    dh_inner: tl.tensor,
    a_ptr: tl.tensor,
    a_batch: tl.tensor,
    a_time: tl.tensor,
    a_outer: tl.tensor,
    a_inner: tl.tensor,
    h_ptr: tl.tensor,
    h_batch: tl.tensor,
    h_time: tl.tensor,
    h_outer: tl.tensor,
    h_inner: tl.tensor,
    initial_ptr: tl.tensor,
    initial_batch: tl.tensor,
    initial_time: tl.tensor,
    initial_outer: tl.tensor,
    initial_inner: tl.tensor,
    after_ptr: tl.tensor | None,
    da_ptr: tl.tensor | None,
    db_ptr: tl.tensor,
    dinitial_ptr: tl.tensor,
    length: tl.tensor,
    size: tl.tensor,
    chunks: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    lanes: tl.tensor,
    IS_COMPLEX: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
) -> None:
    """Every db and da of each chunk, from the u that enters it at its end; dinitial of the first.

    Without `da_ptr` the states are not read.
    """
    batch, chunk, row, column, is_lane = place_of_lanes(chunks, outer, inner, lanes, LANES)
    WORDS: tl.constexpr = 2 if IS_COMPLEX else 1
    u = (tl.zeros((LANES,), tl.float32), tl.zeros((LANES,), tl.float32))
    if after_ptr is not None:
        place = (((batch * chunks + chunk) * outer + row) * inner + column) * WORDS
        u = load_number(after_ptr + place, is_lane, IS_COMPLEX)
    # Steps go back from the chunk's last, of which the last chunk may miss some.
    last = (chunk + 1) * size - 1
    missing = tl.maximum(last - length + 1, 0).to(tl.int32)
    dh_hop, a_hop = tl.cast(dh_time, tl.int64), tl.cast(a_time, tl.int64)
    dh_base = dh_ptr + batch * dh_batch + last * dh_hop + row * dh_outer + column * dh_inner
    a_base = a_ptr + batch * a_batch + last * a_hop + row * a_outer + column * a_inner
    d_hop = tl.cast(outer, tl.int64) * inner * WORDS
    d_base = (batch * length + last) * d_hop + (row * inner + column) * WORDS
    if da_ptr is not None:
        h_hop = tl.cast(h_time, tl.int64)
        h_base = h_ptr + batch * h_batch + (last - 1) * h_hop + row * h_outer + column * h_inner
        initial = initial_ptr + batch * initial_batch + row * initial_outer
        initial_pointers = initial + column * initial_inner
        initial = load_number(initial_pointers, is_lane & (chunk == 0), IS_COMPLEX)
    for start in range(0, size, UNROLL):
        loaded: tl.tuple = ()
        for step in tl.static_range(UNROLL):
            mask = is_lane & (start + step < size) & (start + step >= missing)
            dh = load_number(dh_base - (start + step) * dh_hop, mask, IS_COMPLEX)
            a = load_number(a_base - (start + step) * a_hop, mask, IS_COMPLEX)
            before = dh
            if da_ptr is not None:
                is_later = start + step < last
                pointers = h_base - (start + step) * h_hop
                before = load_number(pointers, mask & is_later, IS_COMPLEX)
            loaded += ((dh, a, before),)
        for step in tl.static_range(UNROLL):
            dh, a, before = loaded[step]
            mask = is_lane & (start + step < size) & (start + step >= missing)
            place = d_base - (start + step) * d_hop
            db = plus(dh, u, IS_COMPLEX)
            store_number(db_ptr + place, db, mask, IS_COMPLEX)
            if da_ptr is not None:
                is_later = start + step < last
                re = tl.where(is_later, before[0], initial[0])
                before = re, tl.where(is_later, before[1], initial[1])
                da = times(db, conjugate(before, IS_COMPLEX), IS_COMPLEX)
                store_number(da_ptr + place, da, mask, IS_COMPLEX)
            moved = times(conjugate(a, IS_COMPLEX), db, IS_COMPLEX)
            # The steps past the chunk's first, of a size that is no multiple of UNROLL, do nothing.
            is_step = start + step < size
            u = (tl.where(is_step, moved[0], u[0]), tl.where(is_step, moved[1], u[1]))
    place = ((batch * outer + row) * inner + column) * WORDS
    store_number(dinitial_ptr + place, u, is_lane & (chunk == 0), IS_COMPLEX)
