"""The max-plus recurrence of single elements in Triton: a scan along time, and one back.

The forward knows which operand of each maximum is larger before it rounds, and leaves the share of
the gradient that goes to the past. The backward is the reversed linear scan of these shares, which
are at most 1. How time is cut into chunks is in `scan_chunks`.
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
from ..scan_lanes import GRADIENT_UNROLL, four_dims, operand, place_of_lanes, settings, sizes


def forward(f: Tensor, i: Tensor, initial: Tensor, needs_share: bool) -> tuple[Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("max_plus_scan", f=f, i=i, initial=initial)
    share = torch.empty(i.shape if needs_share else (0,), dtype=torch.float16, device=i.device)
    return all_states("max_plus", f, i, initial, share if needs_share else None), share


def backward(
    dm: Tensor, share: Tensor, f_dtype: torch.dtype, initial_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("max_plus_scan", dm=dm, share=share)
    df = torch.empty(dm.shape, dtype=f_dtype, device=dm.device)
    di = torch.empty(dm.shape, dtype=dm.dtype, device=dm.device)
    dinitial = torch.zeros(dm.shape[:1] + dm.shape[2:], dtype=initial_dtype, device=dm.device)
    if not dm.numel():
        return df, di, dinitial
    shape = sizes(dm)
    after = None
    if shape.chunks.count > 1:
        after = states_before_chunks("reversed", share, dm, None, shape)
    counts = counts_of(shape, shape.chunks.count)
    chosen = settings(counts[-1], False)
    with torch.cuda.device(dm.get_device()):
        gradients_kernel[(triton.cdiv(counts[-1], chosen.lanes),)](
            *operand(dm),
            *operand(share),
            None if after is None else four_dims(after),
            four_dims(df),
            four_dims(di),
            four_dims(dinitial.unsqueeze(1)),
            *counts,
            LANES=chosen.lanes,
            UNROLL=GRADIENT_UNROLL,
            num_warps=chosen.warps,
        )
    return df, di, dinitial


@triton.jit(do_not_specialize=["length", "size", "chunks", "lanes"])
def gradients_kernel(
    dm_ptr: tl.tensor,
    dm_batch: tl.tensor,
    dm_time: tl.tensor,
    dm_outer: tl.tensor,
    dm_inner: tl.tensor,
    share_ptr: tl.tensor,
    share_batch: tl.tensor,
    share_time: tl.tensor,
    share_outer: tl.tensor,
    share_inner: tl.tensor,
    after_ptr: tl.tensor | None,
    df_ptr: tl.tensor,
    di_ptr: tl.tensor,
    dinitial_ptr: tl.tensor,
    length: tl.tensor,
    size: tl.tensor,
    chunks: tl.tensor,
    outer: tl.tensor,
    inner: tl.tensor,
    lanes: tl.tensor,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
) -> None:
    """Every df and di of each chunk, from the u that enters at its end; dinitial of the first."""
    batch, chunk, row, column, is_lane = place_of_lanes(chunks, outer, inner, lanes, LANES)
    u = tl.zeros((LANES,), tl.float32)
    if after_ptr is not None:
        place = ((batch * chunks + chunk) * outer + row) * inner + column
        u = tl.load(after_ptr + place, mask=is_lane, other=0.0)
    # Steps go back from the chunk's last, of which the last chunk may miss some.
    last = (chunk + 1) * size - 1
    missing = tl.maximum(last - length + 1, 0).to(tl.int32)
    dm_hop, share_hop = tl.cast(dm_time, tl.int64), tl.cast(share_time, tl.int64)
    dm_base = dm_ptr + batch * dm_batch + last * dm_hop + row * dm_outer + column * dm_inner
    share_base = share_ptr + batch * share_batch + last * share_hop
    share_base += row * share_outer + column * share_inner
    d_hop = tl.cast(outer, tl.int64) * inner
    d_base = (batch * length + last) * d_hop + row * inner + column
    for start in range(0, size, UNROLL):
        loaded: tl.tuple = ()
        for step in tl.static_range(UNROLL):
            mask = is_lane & (start + step < size) & (start + step >= missing)
            dm = tl.load(dm_base - (start + step) * dm_hop, mask=mask, other=0.0)
            share = tl.load(share_base - (start + step) * share_hop, mask=mask, other=0.0)
            loaded += ((dm.to(tl.float32), share.to(tl.float32)),)
        for step in tl.static_range(UNROLL):
            dm, share = loaded[step]
            mask = is_lane & (start + step < size) & (start + step >= missing)
            g = dm + u
            df = share * g
            place = d_base - (start + step) * d_hop
            tl.store(df_ptr + place, df.to(df_ptr.dtype.element_ty), mask=mask)
            tl.store(di_ptr + place, (g - df).to(di_ptr.dtype.element_ty), mask=mask)
            # The steps past the chunk's first, of a size that is no multiple of UNROLL, do nothing.
            u = tl.where(start + step < size, df, u)
    place = (batch * outer + row) * inner + column
    first = dinitial_ptr + place
    tl.store(first, u.to(dinitial_ptr.dtype.element_ty), mask=is_lane & (chunk == 0))
