"""RMSNorm in Triton: forward, and a backward whose weight gradient is summed in two fixed stages.

A program holds whole rows in registers, so a row is read once in each direction. The backward
recomputes the reciprocal RMS from the row it has to read anyway instead of storing it.

The weight gradient uses no atomics: each program of the backward sums the rows of one contiguous
slab and writes one line of partial sums, and a second kernel adds the lines in a fixed order. The
number of slabs depends on the shape alone, not on the device.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import as_rows, require_supported, slab_size, sum_slabs


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: columns and rows held by a program, and its warps."""

    block: int
    rows: int
    warps: int


# Chosen from the compiler's register counts on sm_80 and sm_90: nothing spills but the backward of
# the last entry (tests compile them all). No setting was timed.
SETTINGS = (
    Settings(block=16, rows=64, warps=4),
    Settings(block=32, rows=32, warps=4),
    Settings(block=64, rows=16, warps=4),
    Settings(block=128, rows=8, warps=4),
    Settings(block=256, rows=4, warps=4),
    Settings(block=512, rows=2, warps=4),
    Settings(block=1024, rows=1, warps=4),
    Settings(block=2048, rows=1, warps=4),
    Settings(block=4096, rows=1, warps=8),
    Settings(block=8192, rows=1, warps=32),
    Settings(block=16384, rows=1, warps=32),
)


def settings(width: int) -> Settings:
    """The settings for rows of `width` elements. ValueError above the widest entry of the table."""
    for entry in SETTINGS:
        if width <= entry.block:
            return entry
    raise ValueError(
        f"the Triton rms_norm holds a row in registers and stops at {SETTINGS[-1].block} columns, "
        f"got {width}: use implementation('reference') for this width"
    )


def forward(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    return _launch_forward(x, None, weight, eps)[0]


def add_forward(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """As `reference.add_forward`, for float16, bfloat16 and float32 on a CUDA device."""
    y, h = _launch_forward(x, residual, weight, eps)
    assert h is not None
    return y, h


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, dsum: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("rms_norm", x=x, weight=weight)
    width = x.shape[-1]
    chosen = settings(width)
    x_rows, dy_rows = as_rows(x), as_rows(dy)
    dsum_rows = None if dsum is None else as_rows(dsum)
    rows = x_rows.shape[0]
    slab = slab_size(rows, chosen.rows)
    slabs = triton.cdiv(rows, slab) if rows else 0
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    partial = None
    if weight is not None:
        partial = torch.empty((slabs, width), dtype=torch.float32, device=x.device)
    if rows:
        with torch.cuda.device(x.get_device()):
            backward_kernel[(slabs,)](
                dy_rows,
                x_rows,
                None if weight is None else weight.contiguous(),
                dsum_rows,
                dx,
                partial,
                dy_rows.stride(0),
                x_rows.stride(0),
                0 if dsum_rows is None else dsum_rows.stride(0),
                rows,
                slab,
                eps,
                WIDTH=width,
                ROWS=chosen.rows,
                BLOCK=chosen.block,
                num_warps=chosen.warps,
            )
    if weight is None or partial is None:
        return dx, x.new_empty(0)
    return dx, sum_slabs(partial, weight.dtype)


def _launch_forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor | None]:
    require_supported("rms_norm", x=x, weight=weight)
    width = x.shape[-1]
    chosen = settings(width)
    x_rows = as_rows(x)
    residual_rows = None if residual is None else as_rows(residual)
    rows = x_rows.shape[0]
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    h = None if residual is None else torch.empty_like(y)
    if rows:
        with torch.cuda.device(x.get_device()):
            forward_kernel[(triton.cdiv(rows, chosen.rows),)](
                x_rows,
                residual_rows,
                None if weight is None else weight.contiguous(),
                y,
                h,
                x_rows.stride(0),
                0 if residual_rows is None else residual_rows.stride(0),
                rows,
                eps,
                WIDTH=width,
                ROWS=chosen.rows,
                BLOCK=chosen.block,
                num_warps=chosen.warps,
            )
    return y, h


@triton.jit
def _reciprocal_rms(x: tl.tensor, eps: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """(ROWS, BLOCK) with zeros in masked columns -> (ROWS, 1).

    The correctly rounded root and division are affordable on one number per row.
    """
    mean = tl.div_rn(tl.sum(x * x, axis=1, keep_dims=True), tl.full((1, 1), WIDTH, tl.float32))
    return tl.div_rn(tl.full((1, 1), 1.0, tl.float32), tl.sqrt_rn(mean + eps))


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    x_ptr: tl.tensor,
    residual_ptr: tl.tensor | None,
    weight_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    h_ptr: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    rows: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64))[:, None]
    column = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    mask = (row < rows) & (column < WIDTH)
    x = tl.load(x_ptr + row * x_stride + column, mask=mask, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        residual = tl.load(residual_ptr + row * residual_stride + column, mask=mask, other=0.0)
        # The norm is of the sum as stored, so that the backward sees the same numbers.
        h = (x + residual.to(tl.float32)).to(h_ptr.dtype.element_ty)
        tl.store(h_ptr + row * WIDTH + column, h, mask=mask)
        x = h.to(tl.float32)
    y = x * _reciprocal_rms(x, eps, WIDTH)
    if weight_ptr is not None:
        y *= tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * WIDTH + column, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows", "slab"])
def backward_kernel(
    dy_ptr: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor | None,
    dsum_ptr: tl.tensor | None,
    dx_ptr: tl.tensor,
    partial_ptr: tl.tensor | None,
    dy_stride: tl.tensor,
    x_stride: tl.tensor,
    dsum_stride: tl.tensor,
    rows: tl.tensor,
    slab: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Program `p` takes rows `p * slab` to `(p + 1) * slab` and writes line `p` of `partial`."""
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    first = tl.program_id(0).to(tl.int64) * slab
    column = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    in_width = column < WIDTH
    if weight_ptr is not None:
        weight = tl.load(weight_ptr + column, mask=in_width, other=0.0).to(tl.float32)
        dweight = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in range(0, slab, ROWS):
        row = (first + start + tl.arange(0, ROWS).to(tl.int64))[:, None]
        mask = (row < rows) & in_width
        x = tl.load(x_ptr + row * x_stride + column, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * dy_stride + column, mask=mask, other=0.0).to(tl.float32)
        r = _reciprocal_rms(x, eps, WIDTH)
        n = x * r
        g = dy
        if weight_ptr is not None:
            # A row past the end has x = 0, and r is infinite there if eps is 0.
            dweight += tl.where(mask, dy * n, 0.0)
            g = dy * weight
        dx = r * (g - n * (tl.sum(g * n, axis=1, keep_dims=True) / WIDTH))
        if dsum_ptr is not None:
            dsum = tl.load(dsum_ptr + row * dsum_stride + column, mask=mask, other=0.0)
            dx += dsum.to(tl.float32)
        tl.store(dx_ptr + row * WIDTH + column, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    if weight_ptr is not None:
        line = partial_ptr + tl.program_id(0).to(tl.int64) * WIDTH + column
        tl.store(line, tl.sum(dweight, axis=0, keep_dims=True), mask=in_width)
