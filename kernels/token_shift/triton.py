"""Token shift in Triton: all blends of a tile from one reading of it, in both directions.

The backward covers the initial token as well, if there is one. The gradient of mu uses no atomics:
a program sums a slab of tiles and writes its partial sums, and a second kernel adds them in a fixed
order.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import adjacent, require_supported, slabs_of, sum_slabs


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: channels and times of a tile, and its warps."""

    columns: int
    times: int
    warps: int


# 1,024 elements of a tile are 8 of a thread, one vector of 16 bits. On sm_80 and sm_90 nothing
# spills where rows are aligned (tests compile them all). No setting was timed.
SETTINGS = (
    Settings(columns=16, times=64, warps=4),
    Settings(columns=32, times=32, warps=4),
    Settings(columns=64, times=16, warps=4),
    Settings(columns=128, times=8, warps=4),
)


def settings(channels: int) -> Settings:
    """The settings for `channels`; many are cut into several tiles."""
    return next((entry for entry in SETTINGS if channels <= entry.columns), SETTINGS[-1])


def forward(x: Tensor, mu: Tensor, initial: Tensor | None) -> Tensor:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("token_shift", x=x, mu=mu)
    x = adjacent(x)
    batch, length, channels = x.shape
    y = x.new_empty((mu.shape[0], *x.shape))
    chosen = settings(channels)
    tiles = triton.cdiv(length, chosen.times)
    if batch * tiles:
        with torch.cuda.device(x.get_device()):
            forward_kernel[(batch * tiles * triton.cdiv(channels, chosen.columns),)](
                x,
                mu.contiguous(),
                None if initial is None else initial.contiguous(),
                y,
                x.stride(0),
                x.stride(1),
                batch,
                length,
                tiles,
                channels,
                BLENDS=mu.shape[0],
                TIMES=chosen.times,
                COLUMNS=chosen.columns,
                num_warps=chosen.warps,
            )
    return y


def backward(
    dy: Tensor, x: Tensor, mu: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("token_shift", x=x, mu=mu)
    x = adjacent(x)
    dy = adjacent(dy)
    batch, length, channels = x.shape
    blends = mu.shape[0]
    chosen = settings(channels)
    across = triton.cdiv(channels, chosen.columns)
    tiles = triton.cdiv(length + (0 if initial is None else 1), chosen.times)
    slab, slabs = slabs_of(batch * tiles, across)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dinitial = None if initial is None else initial.new_empty(initial.shape)
    partial = torch.empty((slabs, blends, channels), dtype=torch.float32, device=x.device)
    if slabs:
        with torch.cuda.device(x.get_device()):
            backward_kernel[(slabs * across,)](
                dy,
                x,
                mu.contiguous(),
                None if initial is None else initial.contiguous(),
                dx,
                dinitial,
                partial,
                dy.stride(0),
                dy.stride(1),
                dy.stride(2),
                x.stride(0),
                x.stride(1),
                length,
                tiles,
                batch * tiles,
                slab,
                channels,
                BLENDS=blends,
                LINES=triton.next_power_of_2(blends),
                TIMES=chosen.times,
                COLUMNS=chosen.columns,
                num_warps=chosen.warps,
            )
    dmu = sum_slabs(partial.flatten(1), mu.dtype).view(blends, channels)
    return dx, dmu, x.new_empty(0) if dinitial is None else dinitial


@triton.jit
def _load_tokens(
    x_ptr: tl.tensor,
    initial_ptr: tl.tensor | None,
    time: tl.tensor,
    column: tl.tensor,
    time_stride: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
) -> tl.tensor:
    """Tokens at `time`, of which -1 is the initial one; zero elsewhere."""
    mask = (time < length) & (column < channels)
    place = x_ptr + time * time_stride + column
    if initial_ptr is not None:
        place = tl.where(time < 0, initial_ptr + time * 0 + column, place)
        mask = mask & (time >= -1)
    else:
        mask = mask & (time >= 0)
    return tl.load(place, mask=mask, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["batches", "length", "tiles"])
def forward_kernel(
    x_ptr: tl.tensor,
    mu_ptr: tl.tensor,
    initial_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    batch_stride: tl.tensor,
    time_stride: tl.tensor,
    batches: tl.tensor,
    length: tl.tensor,
    tiles: tl.tensor,
    channels: tl.tensor,
    BLENDS: tl.constexpr,
    TIMES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """One tile of one row of the batch; channels vary fastest, then times."""
    across = tl.cdiv(channels, COLUMNS)
    column = (tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    batch = (tl.program_id(0) // across // tiles).to(tl.int64)
    tile = (tl.program_id(0) // across % tiles).to(tl.int64)
    time = (tile * TIMES + tl.arange(0, TIMES).to(tl.int64))[:, None]
    x_ptr += batch * batch_stride
    if initial_ptr is not None:
        initial_ptr += batch * channels
    x = _load_tokens(x_ptr, initial_ptr, time, column, time_stride, length, channels)
    past = _load_tokens(x_ptr, initial_ptr, time - 1, column, time_stride, length, channels)
    delta = past - x
    in_width = column < channels
    mask = (time < length) & in_width
    for blend in range(BLENDS):
        mu = tl.load(mu_ptr + blend * channels + column, mask=in_width, other=0.0).to(tl.float32)
        y = (x + mu * delta).to(y_ptr.dtype.element_ty)
        place = ((batch + tl.cast(batches, tl.int64) * blend) * length + time) * channels + column
        tl.store(y_ptr + place, y, mask=mask)


@triton.jit(do_not_specialize=["length", "tiles", "all_tiles", "slab"])
def backward_kernel(
    dy_ptr: tl.tensor,
    x_ptr: tl.tensor,
    mu_ptr: tl.tensor,
    initial_ptr: tl.tensor | None,
    dx_ptr: tl.tensor,
    dinitial_ptr: tl.tensor | None,
    partial_ptr: tl.tensor,
    dy_blend_stride: tl.tensor,
    dy_batch_stride: tl.tensor,
    dy_time_stride: tl.tensor,
    x_batch_stride: tl.tensor,
    x_time_stride: tl.tensor,
    length: tl.tensor,
    tiles: tl.tensor,
    all_tiles: tl.tensor,
    slab: tl.tensor,
    channels: tl.tensor,
    BLENDS: tl.constexpr,
    LINES: tl.constexpr,
    TIMES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """A slab of tiles of all rows of the batch, for one tile of channels."""
    across = tl.cdiv(channels, COLUMNS)
    column = (tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    in_width = column < channels
    number = tl.program_id(0) // across
    line = tl.arange(0, LINES)[:, None]
    total = tl.zeros((LINES, COLUMNS), tl.float32)
    for tile in range(number * slab, tl.minimum((number + 1) * slab, all_tiles)):
        batch = tl.cast(tile // tiles, tl.int64)
        start = tl.cast(tile % tiles, tl.int64) * TIMES
        x_row = x_ptr + batch * x_batch_stride
        initial = None
        if initial_ptr is not None:
            start -= 1
            initial = initial_ptr + batch * channels
        time = (start + tl.arange(0, TIMES).to(tl.int64))[:, None]
        delta = _load_tokens(
            x_row, initial, time - 1, column, x_time_stride, length, channels
        ) - _load_tokens(x_row, initial, time, column, x_time_stride, length, channels)
        dx = tl.zeros((TIMES, COLUMNS), tl.float32)
        for blend in range(BLENDS):
            mu = tl.load(mu_ptr + blend * channels + column, mask=in_width, other=0.0)
            mu = mu.to(tl.float32)
            dy = dy_ptr + batch * dy_batch_stride + tl.cast(dy_blend_stride, tl.int64) * blend
            dy = dy + time * dy_time_stride + column
            mask = (time >= 0) & (time < length) & in_width
            own = tl.load(dy, mask=mask, other=0.0).to(tl.float32)
            mask = (time + 1 < length) & in_width
            later = tl.load(dy + dy_time_stride, mask=mask, other=0.0).to(tl.float32)
            dx += (1.0 - mu) * own + mu * later
            share = tl.sum(own * delta, axis=0, keep_dims=True)
            total += tl.where(line == blend, share, 0.0)
        mask = (time >= 0) & (time < length) & in_width
        place = (batch * length + time) * channels + column
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if dinitial_ptr is not None:
            place = dinitial_ptr + batch * channels + time * 0 + column
            mask = (time < 0) & in_width
            tl.store(place, dx.to(dinitial_ptr.dtype.element_ty), mask=mask)
    place = (number.to(tl.int64) * BLENDS + line) * channels + column
    tl.store(partial_ptr + place, total, mask=(line < BLENDS) & in_width)
