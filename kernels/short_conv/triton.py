"""The short causal convolution in Triton: one launch each way, and a second stage for parameters.

A program takes a tile of times and channels and reads it once for each tap, all but the first time
from the cache. The backward covers the positions of the initial state as well, if there is one.
With SiLU it computes the convolution again at each of the W positions whose gradients reach a
position: W^2 products of what is in the cache instead of a tensor written and read.

Gradients of weight and bias use no atomics: a program sums a slab of tiles and writes its partial
sums, and a second kernel adds them in a fixed order.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import adjacent, require_supported, slabs_of, sum_slabs

LOG2_E = tl.constexpr(1.4426950408889634)


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: channels of a tile, its times forward and backward, warps."""

    columns: int
    times: int
    backward_times: int
    warps: int


# 2,048 elements of a forward tile are 16 of a thread, 1,024 of the backward 8. On sm_80 and sm_90
# nothing spills, which twice the times of the backward would (tests compile them all). No setting
# was timed.
SETTINGS = (
    Settings(columns=16, times=128, backward_times=64, warps=4),
    Settings(columns=32, times=64, backward_times=32, warps=4),
    Settings(columns=64, times=32, backward_times=16, warps=4),
)


def settings(channels: int) -> Settings:
    """The settings for `channels`; many are cut into several tiles."""
    return next((entry for entry in SETTINGS if channels <= entry.columns), SETTINGS[-1])


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("short_conv", x=x, weight=weight, bias=bias)
    x = adjacent(x)
    batch, length, channels = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    final = x.new_empty((batch, weight.shape[1] - 1, channels))
    chosen = settings(channels)
    # Without a position there is still a state to hand on.
    tiles = max(1, triton.cdiv(length, chosen.times))
    if batch:
        with torch.cuda.device(x.get_device()):
            forward_kernel[(batch * tiles * triton.cdiv(channels, chosen.columns),)](
                x,
                _by_tap(weight),
                None if bias is None else bias.contiguous(),
                None if initial is None else initial.contiguous(),
                y,
                final,
                x.stride(0),
                x.stride(1),
                length,
                tiles,
                channels,
                WIDTH=weight.shape[1],
                SILU=silu,
                TIMES=chosen.times,
                COLUMNS=chosen.columns,
                num_warps=chosen.warps,
            )
    return y, final


def backward(
    dy: Tensor,
    dfinal: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("short_conv", x=x, weight=weight, bias=bias)
    x = adjacent(x)
    dy = adjacent(dy)
    batch, length, channels = x.shape
    width = weight.shape[1]
    chosen = settings(channels)
    across = triton.cdiv(channels, chosen.columns)
    positions = length + (0 if initial is None else width - 1)
    tiles = triton.cdiv(positions, chosen.backward_times)
    slab, slabs = slabs_of(batch * tiles, across)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dinitial = None if initial is None else initial.new_empty(initial.shape)
    partial = torch.empty((slabs, width + 1, channels), dtype=torch.float32, device=x.device)
    if slabs:
        with torch.cuda.device(x.get_device()):
            backward_kernel[(slabs * across,)](
                dy,
                dfinal.contiguous(),
                x,
                _by_tap(weight),
                None if bias is None else bias.contiguous(),
                None if initial is None else initial.contiguous(),
                dx,
                dinitial,
                partial,
                dy.stride(0),
                dy.stride(1),
                x.stride(0),
                x.stride(1),
                length,
                tiles,
                batch * tiles,
                slab,
                channels,
                WIDTH=width,
                LINES=triton.next_power_of_2(width + 1),
                SILU=silu,
                TIMES=chosen.backward_times,
                COLUMNS=chosen.columns,
                num_warps=chosen.warps,
            )
    total = sum_slabs(partial.flatten(1), torch.float32).view(width + 1, channels)
    return (
        dx,
        # Copies, since results of an operator may not share memory.
        total[:width].t().to(weight.dtype, copy=True, memory_format=torch.contiguous_format),
        x.new_empty(0) if bias is None else total[width].to(bias.dtype, copy=True),
        x.new_empty(0) if dinitial is None else dinitial,
    )


def _by_tap(weight: Tensor) -> Tensor:
    """(D, W) to (W, D): a small copy, for which each program reads its weights by whole vectors."""
    return weight.t().contiguous()


@triton.jit
def _load_signal(
    x_ptr: tl.tensor,
    initial_ptr: tl.tensor | None,
    time: tl.tensor,
    column: tl.tensor,
    time_stride: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """The signal at `time`, which from -(WIDTH - 1) to -1 is the initial state; zero elsewhere."""
    mask = (time < length) & (column < channels)
    place = x_ptr + time * time_stride + column
    if initial_ptr is not None:
        before = initial_ptr + (time + (WIDTH - 1)) * channels + column
        place = tl.where(time < 0, before, place)
        mask = mask & (time > -WIDTH)
    else:
        mask = mask & (time >= 0)
    return tl.load(place, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _convolved(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    bias_ptr: tl.tensor | None,
    initial_ptr: tl.tensor | None,
    time: tl.tensor,
    column: tl.tensor,
    time_stride: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """The convolution and its bias at `time`, before SiLU."""
    in_width = column < channels
    a = tl.zeros((time.shape[0], column.shape[1]), tl.float32)
    for tap in tl.static_range(WIDTH):
        weight = tl.load(weight_ptr + tap * channels + column, mask=in_width, other=0.0)
        source = time + (tap + 1 - WIDTH)
        a += weight.to(tl.float32) * _load_signal(
            x_ptr, initial_ptr, source, column, time_stride, length, channels, WIDTH
        )
    if bias_ptr is not None:
        a += tl.load(bias_ptr + column, mask=in_width, other=0.0).to(tl.float32)
    return a


@triton.jit
def _logistic(x: tl.tensor) -> tl.tensor:
    """Exact at both ends: 2^inf is inf and 1 / inf is 0."""
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit(do_not_specialize=["length", "tiles"])
def forward_kernel(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    bias_ptr: tl.tensor | None,
    initial_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    final_ptr: tl.tensor,
    batch_stride: tl.tensor,
    time_stride: tl.tensor,
    length: tl.tensor,
    tiles: tl.tensor,
    channels: tl.tensor,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    TIMES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """One tile of one row of the batch; channels vary fastest, then times."""
    across = tl.cdiv(channels, COLUMNS)
    column = (tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    batch = (tl.program_id(0) // across // tiles).to(tl.int64)
    tile = tl.program_id(0) // across % tiles
    time = (tile.to(tl.int64) * TIMES + tl.arange(0, TIMES).to(tl.int64))[:, None]
    x_ptr += batch * batch_stride
    if initial_ptr is not None:
        initial_ptr += batch * (WIDTH - 1) * channels
    y = _convolved(
        x_ptr,
        weight_ptr,
        bias_ptr,
        initial_ptr,
        time,
        column,
        time_stride,
        length,
        channels,
        WIDTH,
    )
    if SILU:
        y *= _logistic(y)
    y_ptr += batch * length * channels
    mask = (time < length) & (column < channels)
    tl.store(y_ptr + time * channels + column, y.to(y_ptr.dtype.element_ty), mask=mask)
    if WIDTH > 1:
        final_ptr += batch * (WIDTH - 1) * channels
        if tile == tiles - 1:
            # The last positions; they begin in the initial state if there are too few.
            step = tl.arange(0, 8).to(tl.int64)[:, None]
            state = _load_signal(
                x_ptr,
                initial_ptr,
                step + (length - (WIDTH - 1)),
                column,
                time_stride,
                length,
                channels,
                WIDTH,
            )
            kept = (step < WIDTH - 1) & (column < channels)
            state = state.to(final_ptr.dtype.element_ty)
            tl.store(final_ptr + step * channels + column, state, mask=kept)


@triton.jit(do_not_specialize=["length", "tiles", "all_tiles", "slab"])
def backward_kernel(
    dy_ptr: tl.tensor,
    dfinal_ptr: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    bias_ptr: tl.tensor | None,
    initial_ptr: tl.tensor | None,
    dx_ptr: tl.tensor,
    dinitial_ptr: tl.tensor | None,
    partial_ptr: tl.tensor,
    dy_batch_stride: tl.tensor,
    dy_time_stride: tl.tensor,
    x_batch_stride: tl.tensor,
    x_time_stride: tl.tensor,
    length: tl.tensor,
    tiles: tl.tensor,
    all_tiles: tl.tensor,
    slab: tl.tensor,
    channels: tl.tensor,
    WIDTH: tl.constexpr,
    LINES: tl.constexpr,
    SILU: tl.constexpr,
    TIMES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """A slab of tiles of all rows of the batch, for one tile of channels.

    Line j of a slab's partial sums is of tap j, line WIDTH of the bias.
    """
    across = tl.cdiv(channels, COLUMNS)
    column = (tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
    number = tl.program_id(0) // across
    line = tl.arange(0, LINES)[:, None]
    total = tl.zeros((LINES, COLUMNS), tl.float32)
    for tile in range(number * slab, tl.minimum((number + 1) * slab, all_tiles)):
        batch = tl.cast(tile // tiles, tl.int64)
        start = tl.cast(tile % tiles, tl.int64) * TIMES
        if initial_ptr is not None:
            start -= WIDTH - 1
        time = (start + tl.arange(0, TIMES).to(tl.int64))[:, None]
        x = x_ptr + batch * x_batch_stride
        initial = None
        if initial_ptr is not None:
            initial = initial_ptr + batch * (WIDTH - 1) * channels
        dx = tl.zeros((TIMES, COLUMNS), tl.float32)
        signal = _load_signal(x, initial, time, column, x_time_stride, length, channels, WIDTH)
        # Gradients of the positions that read this one, which is `later` positions back from them.
        # Not unrolled, which would keep W^2 loads in flight and spill.
        for later in range(WIDTH):
            reader = time + later
            mask = (reader >= 0) & (reader < length) & (column < channels)
            place = batch * dy_batch_stride + reader * dy_time_stride + column
            g = tl.load(dy_ptr + place, mask=mask, other=0.0).to(tl.float32)
            if SILU:
                a = _convolved(
                    x,
                    weight_ptr,
                    bias_ptr,
                    initial,
                    reader,
                    column,
                    x_time_stride,
                    length,
                    channels,
                    WIDTH,
                )
                s = _logistic(a)
                g *= s * (1.0 + a * (1.0 - s))
            place = (WIDTH - 1 - later) * channels + column
            weight = tl.load(weight_ptr + place, mask=column < channels, other=0.0)
            dx += weight.to(tl.float32) * g
            share = tl.sum(g * signal, axis=0, keep_dims=True)
            total += tl.where(line == WIDTH - 1 - later, share, 0.0)
            if later == 0:
                total += tl.where(line == WIDTH, tl.sum(g, axis=0, keep_dims=True), 0.0)
        step = time - (length - (WIDTH - 1))
        mask = (step >= 0) & (step < WIDTH - 1) & (column < channels)
        place = (batch * (WIDTH - 1) + step) * channels + column
        dx += tl.load(dfinal_ptr + place, mask=mask, other=0.0).to(tl.float32)
        mask = (time >= 0) & (time < length) & (column < channels)
        place = (batch * length + time) * channels + column
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if dinitial_ptr is not None:
            mask = (time < 0) & (column < channels)
            place = (batch * (WIDTH - 1) + time + (WIDTH - 1)) * channels + column
            tl.store(dinitial_ptr + place, dx.to(dinitial_ptr.dtype.element_ty), mask=mask)
    place = (number.to(tl.int64) * (WIDTH + 1) + line) * channels + column
    tl.store(partial_ptr + place, total, mask=(line <= WIDTH) & (column < channels))
