"""What the Triton kernels share: checks of operands, rows, products, and two-stage sums."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# Two slabs for each of the 132 multiprocessors of an H100 or H200.
MAX_SLABS = 264

# Programs of a backward of small tiles for each slab that `slab_size` counts: a multiprocessor
# hides the latency of memory by holding several.
PROGRAMS_PER_SLAB = 4

# Tile of the second stage of a sum over slabs.
SUM_SLABS = 32
SUM_COLUMNS = 64


def require_supported(kernel: str, **operands: Tensor | None) -> None:
    """TypeError for a dtype that Triton kernels do not take; ValueError off the GPU.

    In Triton's interpreter, which is chosen before triton is imported, tensors are on the CPU.
    """
    for name, x in operands.items():
        if x is None:
            continue
        if x.is_floating_point() and x.dtype not in DTYPES:
            raise TypeError(
                f"the Triton {kernel} computes in float32 and takes no {x.dtype} {name}: "
                f"use implementation({kernel!r}, 'reference')"
            )
        if not x.is_cuda and not triton.knobs.runtime.interpret:
            raise ValueError(
                f"the Triton {kernel} needs CUDA tensors, {name} is on {x.device}: move it to the "
                f"GPU, use implementation({kernel!r}, 'reference'), or set TRITON_INTERPRET=1 "
                "before triton is imported"
            )


def as_rows(x: Tensor) -> Tensor:
    """`x` as [rows, width] with adjacent columns; a view where the strides allow it."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def adjacent(x: Tensor) -> Tensor:
    """`x` with adjacent elements in its last dim; a view where it has them."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def strides(x: Tensor | None) -> tuple[int, int, int]:
    """Of the first three dims; zeros for what is absent."""
    return (0, 0, 0) if x is None else (x.stride(0), x.stride(1), x.stride(2))


def slabs_of(tiles: int, across: int) -> tuple[int, int]:
    """Tiles of a slab, and slabs, of `tiles` that are `across` programs wide."""
    slab = slab_size(triton.cdiv(tiles * across, PROGRAMS_PER_SLAB), 1)
    return slab, triton.cdiv(tiles, slab) if tiles else 0


def slab_size(rows: int, tile: int) -> int:
    """Rows of a slab, a multiple of `tile`: by the shape alone, so that sums have one order."""
    tiles = -(-rows // tile)
    return -(-tiles // MAX_SLABS) * tile


def sum_slabs(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """[slabs, width] float32 to [width], summed in a fixed order; zeros if there are no slabs."""
    slabs, width = partial.shape
    total = torch.empty(width, dtype=dtype, device=partial.device)
    with torch.cuda.device(partial.get_device()):
        sum_slabs_kernel[(triton.cdiv(width, SUM_COLUMNS),)](
            partial, total, slabs, width, SLABS=SUM_SLABS, COLUMNS=SUM_COLUMNS, num_warps=4
        )
    return total


@triton.jit
def dot(a: tl.tensor, b: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """The one way to a matrix product: `PRECISION` is "ieee", "tf32x3" or "tf32" for float32.

    Build the transpose of an operand directly: Hopper compilers have miscompiled a transposed
    16-bit cast of a previous product (fla issue 640).
    """
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit(do_not_specialize=["slabs", "width"])
def sum_slabs_kernel(
    partial_ptr: tl.tensor,
    total_ptr: tl.tensor,
    slabs: tl.tensor,
    width: tl.tensor,
    SLABS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    column = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)[None, :]
    total = tl.zeros((SLABS, COLUMNS), dtype=tl.float32)
    for start in range(0, slabs, SLABS):
        line = (start + tl.arange(0, SLABS)).to(tl.int64)[:, None]
        mask = (line < slabs) & (column < width)
        total += tl.load(partial_ptr + line * width + column, mask=mask, other=0.0)
    summed = tl.sum(total, axis=0, keep_dims=True).to(total_ptr.dtype.element_ty)
    tl.store(total_ptr + column, summed, mask=column < width)
