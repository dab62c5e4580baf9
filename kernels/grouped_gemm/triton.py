"""The grouped product in Triton: one launch for all experts, whatever rows each of them has.

Which rows a program takes is found on the device, from the offsets: an expert has as many tiles
as its rows fill, and a program counts its own number through them. The host launches as many
programs as there can be, `T // rows + E + 1` rows of tiles, and reads nothing back. The gradient
of the weights sums the rows of an expert in order, within one program.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import as_rows, dot, require_supported


@dataclass(frozen=True)
class Settings:
    """Launch settings: a tile of the result, the step along the sum, warps and loads in flight."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


# Of the rows of an expert on average, so that small groups waste little of a tile. Chosen from the
# compiler's register and shared-memory counts on sm_80 and sm_90, where nothing spills. No setting
# was timed.
SETTINGS_16 = (
    Settings(rows=16, columns=128, depth=64, warps=4, stages=3),
    Settings(rows=64, columns=128, depth=64, warps=4, stages=3),
    Settings(rows=128, columns=128, depth=64, warps=8, stages=3),
)
SETTINGS_32 = (
    Settings(rows=16, columns=64, depth=32, warps=4, stages=2),
    Settings(rows=64, columns=64, depth=32, warps=8, stages=2),
)

# For 16-bit rows that do not begin at a multiple of 16 elements, whose loads take more registers.
SETTINGS_ODD = Settings(rows=64, columns=64, depth=32, warps=4, stages=2)

# Rows of tiles whose programs run side by side, so that they share a weight's tiles in the cache.
BAND = 8

MOST_EXPERTS = 1023


def settings(dtype: torch.dtype, rows: int, experts: int, *widths: int) -> Settings:
    """For an x of `rows` rows: the smallest tile that holds the average group, or the largest."""
    if dtype == torch.float32:
        table: tuple[Settings, ...] = SETTINGS_32
    else:
        table = (SETTINGS_ODD,) if any(width % 16 for width in widths) else SETTINGS_16
    return next((entry for entry in table if rows <= experts * entry.rows), table[-1])


def weight_settings(dtype: torch.dtype, *widths: int) -> Settings:
    """For the gradient of the weights: tiles of a weight, with steps along the rows."""
    if dtype == torch.float32:
        return SETTINGS_32[-1]
    return SETTINGS_ODD if any(width % 16 for width in widths) else SETTINGS_16[-1]


def precision(dtype: torch.dtype) -> str:
    """What `torch.set_float32_matmul_precision` asks of products; 16-bit ones have one way."""
    is_exact = dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
    return "ieee" if is_exact else "tf32"


def forward(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device.

    ValueError above 1,023 experts. Offsets that decrease or exceed T have no defined result.
    """
    require_supported("grouped_gemm", x=x, offsets=offsets)
    return _product(x, weight.to(x.dtype), offsets)


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, offsets: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("grouped_gemm", x=x, offsets=offsets)
    dx = x.new_empty(0)
    if needs_x:
        dx = _product(dy, weight.to(x.dtype).transpose(1, 2), offsets)
    dweight = weight.new_empty(0)
    if needs_weight:
        dweight = _weight_gradient(dy, x, weight, offsets)
    return dx, dweight


def _product(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    experts, depth, columns = weight.shape
    if experts > MOST_EXPERTS:
        raise ValueError(
            f"the Triton grouped_gemm reads all offsets at once and stops at {MOST_EXPERTS} "
            f"experts, got {experts}: split them, or use "
            "implementation('grouped_gemm', 'reference')"
        )
    x_rows = as_rows(x)
    rows = len(x_rows)
    chosen = settings(x.dtype, rows, experts, depth, columns, x_rows.stride(0))
    y = torch.empty((rows, columns), dtype=x.dtype, device=x.device)
    row_tiles = rows // chosen.rows + experts + 1
    if rows:
        with torch.cuda.device(x.get_device()):
            product_kernel[(row_tiles * triton.cdiv(columns, chosen.columns),)](
                x_rows,
                weight,
                offsets.contiguous(),
                y,
                x_rows.stride(0),
                *weight.stride(),
                rows,
                row_tiles,
                experts,
                depth,
                columns,
                PRECISION=precision(x.dtype),
                EXPERTS=triton.next_power_of_2(experts + 1),
                ROWS=chosen.rows,
                COLUMNS=chosen.columns,
                DEPTH=chosen.depth,
                BAND=BAND,
                num_warps=chosen.warps,
                num_stages=chosen.stages,
            )
    return y


def _weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    experts, depth, columns = weight.shape
    x_rows, dy_rows = as_rows(x), as_rows(dy)
    chosen = weight_settings(x.dtype, x_rows.stride(0), dy_rows.stride(0))
    dweight = torch.empty_like(weight)
    tiles = triton.cdiv(depth, chosen.rows) * triton.cdiv(columns, chosen.columns)
    with torch.cuda.device(x.get_device()):
        weight_gradient_kernel[(tiles, experts)](
            dy_rows,
            x_rows,
            offsets.contiguous(),
            dweight,
            dy_rows.stride(0),
            x_rows.stride(0),
            *dweight.stride(),
            len(x_rows),
            depth,
            columns,
            PRECISION=precision(x.dtype),
            ROWS=chosen.rows,
            COLUMNS=chosen.columns,
            DEPTH=chosen.depth,
            num_warps=chosen.warps,
            num_stages=chosen.stages,
        )
    return dweight


@triton.jit
def group_of_tile(
    tile: tl.tensor,
    offsets_ptr: tl.tensor,
    rows: tl.tensor,
    experts: tl.tensor,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The group of a tile, its first row in it, and the row at which the group ends.

    The rows that no expert has are the group `experts`; past the last tile there are no rows.
    """
    group = tl.arange(0, EXPERTS)
    start = tl.load(offsets_ptr + group, mask=group <= experts, other=rows).to(tl.int64)
    stop = tl.load(offsets_ptr + group + 1, mask=group < experts, other=rows).to(tl.int64)
    start = tl.minimum(tl.maximum(start, 0), rows)
    stop = tl.minimum(tl.maximum(stop, start), rows)
    tiles = (stop - start + ROWS - 1) // ROWS
    ends = tl.cumsum(tiles, 0)
    mine = tl.sum((ends <= tile).to(tl.int32), 0)
    is_mine = group == mine
    first = tl.sum(tl.where(is_mine, start + (tile - ends + tiles) * ROWS, 0), 0)
    return mine, first, tl.sum(tl.where(is_mine, stop, 0), 0)


@triton.jit(do_not_specialize=["rows", "row_tiles", "experts"])
def product_kernel(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    offsets_ptr: tl.tensor,
    y_ptr: tl.tensor,
    x_stride: tl.tensor,
    expert_stride: tl.tensor,
    depth_stride: tl.tensor,
    column_stride: tl.tensor,
    rows: tl.tensor,
    row_tiles: tl.tensor,
    experts: tl.tensor,
    depth: tl.tensor,
    columns: tl.tensor,
    PRECISION: tl.constexpr,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    BAND: tl.constexpr,
) -> None:
    """One tile of y [rows, columns] a program: bands of row tiles, in each column after column."""
    program = tl.program_id(0)
    band = program // (BAND * tl.cdiv(columns, COLUMNS))
    height = tl.minimum(row_tiles - band * BAND, BAND)
    place = program - band * BAND * tl.cdiv(columns, COLUMNS)
    tile = band * BAND + place % height
    group, first, stop = group_of_tile(tile, offsets_ptr, rows, experts, EXPERTS, ROWS)
    row = (first + tl.arange(0, ROWS).to(tl.int64))[:, None]
    column = ((place // height).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64))[
        None, :
    ]
    weight_ptr += group.to(tl.int64) * expert_stride
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    # Rows without an expert are multiplied by nothing.
    for k in range(0, tl.where(group < experts, depth, 0), DEPTH):
        step = (k + tl.arange(0, DEPTH)).to(tl.int64)
        x = tl.load(
            x_ptr + row * x_stride + step[None, :],
            mask=(row < stop) & (step[None, :] < depth),
            other=0.0,
        )
        weight = tl.load(
            weight_ptr + step[:, None] * depth_stride + column * column_stride,
            mask=(step[:, None] < depth) & (column < columns),
            other=0.0,
        )
        total += dot(x, weight, PRECISION)
    y = total.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + row * columns + column, y, mask=(row < stop) & (column < columns))


@triton.jit(do_not_specialize=["rows"])
def weight_gradient_kernel(
    dy_ptr: tl.tensor,
    x_ptr: tl.tensor,
    offsets_ptr: tl.tensor,
    dweight_ptr: tl.tensor,
    dy_stride: tl.tensor,
    x_stride: tl.tensor,
    expert_stride: tl.tensor,
    depth_stride: tl.tensor,
    column_stride: tl.tensor,
    rows: tl.tensor,
    depth: tl.tensor,
    columns: tl.tensor,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    """One tile of the gradient [depth, columns] of one expert a program; x is read transposed."""
    expert = tl.program_id(1).to(tl.int64)
    start = tl.maximum(tl.load(offsets_ptr + expert).to(tl.int64), 0)
    stop = tl.minimum(tl.load(offsets_ptr + expert + 1).to(tl.int64), rows)
    across = tl.cdiv(columns, COLUMNS)
    row = (tl.program_id(0) // across).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    row = row[:, None]
    column = (tl.program_id(0) % across).to(tl.int64) * COLUMNS
    column = (column + tl.arange(0, COLUMNS).to(tl.int64))[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for t in range(start, stop, DEPTH):
        token = t + tl.arange(0, DEPTH).to(tl.int64)
        x = tl.load(
            x_ptr + token[None, :] * x_stride + row,
            mask=(token[None, :] < stop) & (row < depth),
            other=0.0,
        )
        dy = tl.load(
            dy_ptr + token[:, None] * dy_stride + column,
            mask=(token[:, None] < stop) & (column < columns),
            other=0.0,
        )
        total += dot(x, dy, PRECISION)
    dweight_ptr += expert * expert_stride
    dweight = total.to(dweight_ptr.dtype.element_ty)
    place = row * depth_stride + column * column_stride
    tl.store(dweight_ptr + place, dweight, mask=(row < depth) & (column < columns))
