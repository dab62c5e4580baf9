"""Fused operations of GPT2, each in plain torch and as Triton kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from gabc.kernels.generated import Fused, Operand, Result, register, tile


# position.gab:28, RoPE: turned = stack([x1 * c - x2 * s, x2 * c + x1 * s], axis=-1)


def rope_28_reference(x1: Tensor, c: Tensor, x2: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return x1 * c - x2 * s, x2 * c + x1 * s


def rope_28_reference_backward(
    dy: Tensor, dy_2: Tensor, x1: Tensor, c: Tensor, x2: Tensor, s: Tensor
) -> tuple[Tensor, Tensor]:
    return dy_2 * s + dy * c, dy_2 * c + -dy * s


@triton.jit(do_not_specialize=["c_inner", "c_period", "s_inner", "s_period", "rows"])
def rope_28_forward_kernel(
    x1_ptr: tl.tensor,
    x1_row: tl.tensor,
    x1_column: tl.tensor,
    c_ptr: tl.tensor,
    c_inner: tl.tensor,
    c_period: tl.tensor,
    x2_ptr: tl.tensor,
    x2_row: tl.tensor,
    x2_column: tl.tensor,
    s_ptr: tl.tensor,
    s_inner: tl.tensor,
    s_period: tl.tensor,
    y_ptr: tl.tensor,
    y_2_ptr: tl.tensor,
    rows: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tile.rows(tl.program_id(0).to(tl.int64) * ROWS, ROWS)
    column = tile.columns(tl.program_id(1), BLOCK)
    in_width = column < WIDTH
    in_rows = row < rows
    mask = in_rows & in_width
    x1 = tile.load(x1_ptr + row * x1_row + column * x1_column, mask)  # [B, L, H, K/2]
    c = tile.load(c_ptr + row // c_inner % c_period * WIDTH + column, mask)  # [L, 1, K/2]
    x2 = tile.load(x2_ptr + row * x2_row + column * x2_column, mask)  # [B, L, H, K/2]
    s = tile.load(s_ptr + row // s_inner % s_period * WIDTH + column, mask)  # [L, 1, K/2]
    tile.store(y_ptr + row * WIDTH + column, x1 * c - x2 * s, mask)
    tile.store(y_2_ptr + row * WIDTH + column, x2 * c + x1 * s, mask)


@triton.jit(
    do_not_specialize=["c_inner", "c_period", "s_inner", "s_period", "rows", "slab", "parts"]
)
def rope_28_backward_kernel(
    dy_ptr: tl.tensor,
    dy_row: tl.tensor,
    dy_column: tl.tensor,
    dy_2_ptr: tl.tensor,
    dy_2_row: tl.tensor,
    dy_2_column: tl.tensor,
    c_ptr: tl.tensor,
    c_inner: tl.tensor,
    c_period: tl.tensor,
    s_ptr: tl.tensor,
    s_inner: tl.tensor,
    s_period: tl.tensor,
    dx1_ptr: tl.tensor,
    dx2_ptr: tl.tensor,
    rows: tl.tensor,
    slab: tl.tensor,
    parts: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    first, part = tl.program_id(0).to(tl.int64) * slab, tl.program_id(1)
    column = tile.columns(tl.program_id(2), BLOCK)
    in_width = column < WIDTH
    row = tile.rows(first, ROWS) * parts + part
    in_rows = row < rows
    mask = in_rows & in_width
    dy = tile.load(dy_ptr + row * dy_row + column * dy_column, mask)  # [B, L, H, K/2]
    dy_2 = tile.load(dy_2_ptr + row * dy_2_row + column * dy_2_column, mask)  # [B, L, H, K/2]
    c = tile.load(c_ptr + row // c_inner % c_period * WIDTH + column, mask)  # [L, 1, K/2]
    s = tile.load(s_ptr + row // s_inner % s_period * WIDTH + column, mask)  # [L, 1, K/2]
    tile.store(dx1_ptr + row * WIDTH + column, dy_2 * s + dy * c, mask)
    tile.store(dx2_ptr + row * WIDTH + column, dy_2 * c + -dy * s, mask)


rope_28 = register(
    Fused(
        name="rope_28_511a9889309e",
        operands=(
            Operand("x1", in_backward=False),
            Operand("c", rows="stretched", varies=False),
            Operand("x2", in_backward=False),
            Operand("s", rows="stretched", varies=False),
        ),
        results=(
            Result(of=(0, 1, 2, 3)),
            Result(of=(0, 1, 2, 3)),
        ),
        reference=rope_28_reference,
        reference_backward=rope_28_reference_backward,
        forward_kernel=rope_28_forward_kernel,
        backward_kernel=rope_28_backward_kernel,
    )
)


# mlp.gab:16, GatedMLP: return down(silu(gate(X)) * up(X))


def gated_mlp_16_reference(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def gated_mlp_16_reference_backward(dy: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    sigmoid = torch.sigmoid(gate)  # mlp.gab:16
    return dy * up * (sigmoid * (1.0 + gate * (1.0 - sigmoid))), dy * F.silu(gate)


@triton.jit(do_not_specialize=["rows"])
def gated_mlp_16_forward_kernel(
    gate_ptr: tl.tensor,
    gate_row: tl.tensor,
    gate_column: tl.tensor,
    up_ptr: tl.tensor,
    up_row: tl.tensor,
    up_column: tl.tensor,
    y_ptr: tl.tensor,
    rows: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tile.rows(tl.program_id(0).to(tl.int64) * ROWS, ROWS)
    column = tile.columns(tl.program_id(1), BLOCK)
    in_width = column < WIDTH
    in_rows = row < rows
    mask = in_rows & in_width
    gate = tile.load(gate_ptr + row * gate_row + column * gate_column, mask)  # [B, L, hidden]
    up = tile.load(up_ptr + row * up_row + column * up_column, mask)  # [B, L, hidden]
    tile.store(y_ptr + row * WIDTH + column, tile.silu(gate) * up, mask)


@triton.jit(do_not_specialize=["rows", "slab", "parts"])
def gated_mlp_16_backward_kernel(
    dy_ptr: tl.tensor,
    dy_row: tl.tensor,
    dy_column: tl.tensor,
    gate_ptr: tl.tensor,
    gate_row: tl.tensor,
    gate_column: tl.tensor,
    up_ptr: tl.tensor,
    up_row: tl.tensor,
    up_column: tl.tensor,
    dgate_ptr: tl.tensor,
    dup_ptr: tl.tensor,
    rows: tl.tensor,
    slab: tl.tensor,
    parts: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    first, part = tl.program_id(0).to(tl.int64) * slab, tl.program_id(1)
    column = tile.columns(tl.program_id(2), BLOCK)
    in_width = column < WIDTH
    row = tile.rows(first, ROWS) * parts + part
    in_rows = row < rows
    mask = in_rows & in_width
    dy = tile.load(dy_ptr + row * dy_row + column * dy_column, mask)  # [B, L, hidden]
    gate = tile.load(gate_ptr + row * gate_row + column * gate_column, mask)  # [B, L, hidden]
    up = tile.load(up_ptr + row * up_row + column * up_column, mask)  # [B, L, hidden]
    sigmoid = tl.sigmoid(gate)
    tile.store(
        dgate_ptr + row * WIDTH + column, dy * up * (sigmoid * (1.0 + gate * (1.0 - sigmoid))), mask
    )
    tile.store(dup_ptr + row * WIDTH + column, dy * tile.silu(gate), mask)


gated_mlp_16 = register(
    Fused(
        name="gated_mlp_16_f4b3d22741fa",
        operands=(
            Operand("gate"),
            Operand("up"),
        ),
        results=(Result(of=(0, 1)),),
        reference=gated_mlp_16_reference,
        reference_backward=gated_mlp_16_reference_backward,
        forward_kernel=gated_mlp_16_forward_kernel,
        backward_kernel=gated_mlp_16_backward_kernel,
    )
)
