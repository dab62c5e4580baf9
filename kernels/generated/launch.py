"""A group in Triton: the launches of its two kernels."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .. import launch
from ..launch import require_supported, sum_slabs
from .spec import FULL, SHARED, STRETCHED, VECTOR, Fused, Numbers, Operand, dtypes_of, shape_of

ELEMENTS = 1024
"""Of a tile, where a row is shorter."""

MAX_COLUMNS = 8192
"""Of a row that a program must see whole."""

MAX_PARTS = 65_535
"""Programs along the second axis of a grid."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a program, and its warps. No setting was timed."""

    rows: int
    block: int
    warps: int


def tile_of(fused: Fused, width: int) -> Tile:
    """The tile for rows of `width`. ValueError where a whole row does not fit."""
    block = max(16, triton.next_power_of_2(width))
    if not fused.whole_rows:
        block = min(block, ELEMENTS)
    elif width > MAX_COLUMNS:
        raise ValueError(
            f"the Triton {fused.name} holds a row in registers and stops at {MAX_COLUMNS} columns, "
            f"got {width}: compile the design with --backend torch"
        )
    warps = 4 if block <= 2048 else 8 if block <= 4096 else 16
    return Tile(max(1, ELEMENTS // block), block, warps)


@dataclass(frozen=True)
class _Frame:
    """The shape that the operands of a call span together."""

    shape: torch.Size

    @property
    def width(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    def runs(self, x: Tensor) -> tuple[int, int]:
        """`inner` and `period`: row `r` of the frame reads row `r // inner % period` of `x`."""
        own = (1,) * (len(self.shape) - x.ndim) + tuple(x.shape)
        held = [place for place, size in enumerate(own[:-1]) if size != 1]
        if not held:
            return max(1, self.rows), 1
        inner = math.prod(self.shape[held[-1] + 1 : -1])
        return inner, math.prod(own[held[0] : held[-1] + 1])


def forward(fused: Fused, tensors: Sequence[Tensor], numbers: Numbers) -> list[Tensor]:
    """As `plain.forward`, on a CUDA device."""
    frame = _frame(fused, tensors)
    results = [
        torch.empty(
            (*frame.shape[:-1], 1) if result.single else frame.shape,
            dtype=dtype,
            device=tensors[0].device,
        )
        for result, dtype in zip(fused.results, dtypes_of(fused, tensors), strict=True)
    ]
    if frame.rows and frame.width:
        tile = tile_of(fused, frame.width)
        places = [_place(o, x, frame) for o, x in zip(fused.operands, tensors, strict=True)]
        grid = (triton.cdiv(frame.rows, tile.rows), triton.cdiv(frame.width, tile.block))
        with torch.cuda.device(tensors[0].get_device()):
            fused.forward_kernel[grid](
                *(part for place in places for part in place),
                *results,
                *numbers,
                frame.rows,
                WIDTH=frame.width,
                ROWS=tile.rows,
                BLOCK=tile.block,
                num_warps=tile.warps,
            )
    return results


def gradients_of(
    fused: Fused, gradients: Sequence[Tensor], tensors: Sequence[Tensor], numbers: Numbers
) -> list[Tensor]:
    """As `plain.gradients_of`, on a CUDA device.

    Of operands that rows share, each program adds up a slab of rows, and a second kernel adds the
    slabs; of stretched ones the terms are written whole and summed. No sum depends on a race.
    """
    frame = _frame(fused, tensors)
    varying = [(fused.operands[place], tensors[place]) for place in fused.varying]
    tile = tile_of(fused, max(1, frame.width))
    slabs = _slabs(fused, varying, frame, tile)
    found = [_buffer(operand, x, frame, slabs) for operand, x in varying]
    if frame.rows and frame.width:
        places = [
            _place(Operand("", single=result.single), dy, frame)
            for result, dy in zip(fused.results, gradients, strict=True)
        ]
        places += [
            _place(operand, x, frame)
            for operand, x in zip(fused.operands, tensors, strict=True)
            if operand.in_backward
        ]
        grid = (slabs.count, slabs.parts, triton.cdiv(frame.width, tile.block))
        with torch.cuda.device(tensors[0].get_device()):
            fused.backward_kernel[grid](
                *(part for place in places for part in place),
                *found,
                *numbers,
                frame.rows,
                slabs.size,
                slabs.parts,
                WIDTH=frame.width,
                ROWS=tile.rows,
                BLOCK=tile.block,
                num_warps=tile.warps,
            )
    return [_total(o, x, g, frame) for (o, x), g in zip(varying, found, strict=True)]


@dataclass(frozen=True)
class _Slabs:
    """Row `i * parts + part` is row `i` of a part; a program takes `size` of them in turn.

    Within a part all rows read the same row of each shared operand.
    """

    parts: int
    size: int
    count: int


def _slabs(
    fused: Fused, varying: Sequence[tuple[Operand, Tensor]], frame: _Frame, tile: Tile
) -> _Slabs:
    """By the shape alone, so that sums have one order; one tile each where nothing is summed."""
    periods = [frame.runs(x)[1] for operand, x in varying if operand.rows in (SHARED, VECTOR)]
    parts = max(periods, default=1)
    if parts > MAX_PARTS:
        raise ValueError(
            f"the Triton {fused.name} sums the gradient of an operand of {parts} rows and stops at "
            f"{MAX_PARTS}: compile the design with --backend torch"
        )
    tiles = triton.cdiv(frame.rows // parts, tile.rows)
    most = max(1, launch.MAX_SLABS // parts)
    size = max(1, triton.cdiv(tiles, most)) * tile.rows if periods else tile.rows
    return _Slabs(parts, size, triton.cdiv(frame.rows // parts, size))


def _buffer(operand: Operand, x: Tensor, frame: _Frame, slabs: _Slabs) -> Tensor:
    """What the kernel writes of a gradient: all of it, its terms, or a line for each slab."""
    if operand.rows == FULL:
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)
    lines = frame.rows if operand.rows == STRETCHED else slabs.count * slabs.parts
    width = 1 if operand.single else frame.width
    return torch.empty((lines, width), dtype=torch.float32, device=x.device)


def _frame(fused: Fused, tensors: Sequence[Tensor]) -> _Frame:
    require_supported(
        fused.name, **{o.name: x for o, x in zip(fused.operands, tensors, strict=True)}
    )
    return _Frame(shape_of(tensors))


def _place(operand: Operand, x: Tensor, frame: _Frame) -> tuple[Tensor | int, ...]:
    """The arguments by which a kernel finds an operand."""
    if operand.is_mask:
        x = x.view(torch.uint8)
    if operand.rows == FULL:
        rows = x.reshape(-1, x.shape[-1])
        return (rows, rows.stride(0)) if operand.single else (rows, rows.stride(0), rows.stride(1))
    x = x.contiguous()
    inner, period = frame.runs(x)
    return {VECTOR: (x,), SHARED: (x, period), STRETCHED: (x, inner, period)}[operand.rows]


def _total(operand: Operand, x: Tensor, found: Tensor, frame: _Frame) -> Tensor:
    """The gradient of an operand from what the kernel wrote."""
    if operand.rows == FULL:
        return found
    if not frame.rows:
        return torch.zeros_like(x, memory_format=torch.contiguous_format)
    inner, period = frame.runs(x)
    if operand.rows == STRETCHED:
        return found.view(-1, period, inner, found.shape[1]).sum((0, 2)).to(x.dtype).view(x.shape)
    # Line (slab, part): the parts are the rows of the operand, as often as they repeat.
    return sum_slabs(found.view(-1, period * found.shape[1]), x.dtype).view(x.shape)
