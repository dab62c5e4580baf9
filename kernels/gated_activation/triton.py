"""Gated activations in Triton: one pass over the operands in each direction.

A program takes a tile of rows and columns, so that both halves of a packed tensor, and columns cut
out of a wider projection, are read where they lie. The backward recomputes the activation from the
gate: nothing but the operands is kept between the passes.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import as_rows, require_supported

# In the interpreter a constant to the left of a tensor makes a product that is no tensor.
LOG2_E = tl.constexpr(1.4426950408889634)
SQRT_HALF = tl.constexpr(0.7071067811865476)
DENSITY_AT_0 = tl.constexpr(0.3989422804014327)  # of the standard normal, 1 / sqrt(2 pi)
TANH_SCALE = tl.constexpr(1.5957691216057308)  # 2 sqrt(2 / pi)
TANH_CUBIC = tl.constexpr(0.044715)


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: columns and rows of a tile, and the warps that hold it."""

    columns: int
    rows: int
    warps: int


# 2,048 elements of a tile are 16 of a thread: two vectors of 16 bits. On sm_80 and sm_90 that
# takes at most 78 registers, 124 where rows are not aligned (tests compile all). Nothing is timed.
SETTINGS = (
    Settings(columns=16, rows=128, warps=4),
    Settings(columns=32, rows=64, warps=4),
    Settings(columns=64, rows=32, warps=4),
    Settings(columns=128, rows=16, warps=4),
    Settings(columns=256, rows=8, warps=4),
)


def settings(width: int) -> Settings:
    """The settings for rows of `width` elements; wide rows are cut into several tiles."""
    return next((entry for entry in SETTINGS if width <= entry.columns), SETTINGS[-1])


def forward(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("gated_activation", gate=gate, up=up)
    y = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    _launch_forward(as_rows(gate), as_rows(up), y, activation)
    return y


def backward(dy: Tensor, gate: Tensor, up: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("gated_activation", gate=gate, up=up)
    dgate = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    dup = torch.empty(up.shape, dtype=up.dtype, device=up.device)
    rows = [as_rows(x) for x in (dy, gate, up, dgate, dup)]
    _launch_backward(rows[0], rows[1], rows[2], rows[3], rows[4], activation)
    return dgate, dup


def packed_forward(x: Tensor, activation: str, gate_first: bool) -> Tensor:
    """As `reference.packed_forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("gated_activation", x=x)
    width = x.shape[-1] // 2
    y = torch.empty((*x.shape[:-1], width), dtype=x.dtype, device=x.device)
    gate, up = _halves(as_rows(x), gate_first)
    _launch_forward(gate, up, y, activation)
    return y


def packed_backward(dy: Tensor, x: Tensor, activation: str, gate_first: bool) -> Tensor:
    """As `reference.packed_backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("gated_activation", x=x)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    gate, up = _halves(as_rows(x), gate_first)
    dgate, dup = _halves(as_rows(dx), gate_first)
    _launch_backward(as_rows(dy), gate, up, dgate, dup, activation)
    return dx


def _halves(rows: Tensor, gate_first: bool) -> tuple[Tensor, Tensor]:
    width = rows.shape[1] // 2
    first, second = rows[:, :width], rows[:, width:]
    return (first, second) if gate_first else (second, first)


def _launch_forward(gate: Tensor, up: Tensor, y: Tensor, activation: str) -> None:
    rows, width = gate.shape
    if not rows:
        return
    chosen = settings(width)
    grid = (triton.cdiv(rows, chosen.rows) * triton.cdiv(width, chosen.columns),)
    with torch.cuda.device(gate.get_device()):
        forward_kernel[grid](
            gate,
            up,
            y,
            gate.stride(0),
            up.stride(0),
            rows,
            width,
            ACTIVATION=activation,
            ROWS=chosen.rows,
            COLUMNS=chosen.columns,
            num_warps=chosen.warps,
        )


def _launch_backward(
    dy: Tensor, gate: Tensor, up: Tensor, dgate: Tensor, dup: Tensor, activation: str
) -> None:
    rows, width = gate.shape
    if not rows:
        return
    chosen = settings(width)
    grid = (triton.cdiv(rows, chosen.rows) * triton.cdiv(width, chosen.columns),)
    with torch.cuda.device(gate.get_device()):
        backward_kernel[grid](
            dy,
            gate,
            up,
            dgate,
            dup,
            dy.stride(0),
            gate.stride(0),
            up.stride(0),
            dgate.stride(0),
            rows,
            width,
            ACTIVATION=activation,
            ROWS=chosen.rows,
            COLUMNS=chosen.columns,
            num_warps=chosen.warps,
        )


@triton.jit
def _logistic(x: tl.tensor) -> tl.tensor:
    """Exact at both ends: 2^inf is inf and 1 / inf is 0."""
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def _value_and_slope(x: tl.tensor, ACTIVATION: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    if ACTIVATION == "silu":
        s = _logistic(x)
        value = x * s
        slope = s * (1.0 + x * (1.0 - s))
    elif ACTIVATION == "gelu":
        below = 0.5 * (1.0 + tl.erf(x * SQRT_HALF))
        value = x * below
        slope = below + x * (tl.exp2(-0.5 * x * x * LOG2_E) * DENSITY_AT_0)
    elif ACTIVATION == "gelu_tanh":
        cubic = x * x * TANH_CUBIC
        s = _logistic((x + x * cubic) * TANH_SCALE)
        value = x * s
        slope = s + x * (1.0 + 3.0 * cubic) * TANH_SCALE * s * (1.0 - s)
    elif ACTIVATION == "sigmoid":
        s = _logistic(x)
        value = s
        slope = s * (1.0 - s)
    elif ACTIVATION == "identity":
        value = x
        slope = tl.full(x.shape, 1.0, tl.float32)
    elif ACTIVATION == "relu":
        value = tl.where(x <= 0, 0.0, x)
        slope = tl.where(x > 0, 1.0, 0.0)
    else:
        tl.static_assert(ACTIVATION == "relu_squared")
        positive = tl.where(x <= 0, 0.0, x)
        value = positive * positive
        slope = 2.0 * positive
    return value, slope


@triton.jit
def _tile(
    rows: tl.tensor, width: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Rows (ROWS, 1), columns (1, COLUMNS) and mask of this program; columns vary fastest."""
    across = tl.cdiv(width, COLUMNS)
    down = (tl.program_id(0) // across).to(tl.int64)
    start = (tl.program_id(0) % across).to(tl.int64) * COLUMNS
    row = (down * ROWS + tl.arange(0, ROWS).to(tl.int64))[:, None]
    column = (start + tl.arange(0, COLUMNS).to(tl.int64))[None, :]
    return row, column, (row < rows) & (column < width)


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    gate_ptr: tl.tensor,
    up_ptr: tl.tensor,
    y_ptr: tl.tensor,
    gate_stride: tl.tensor,
    up_stride: tl.tensor,
    rows: tl.tensor,
    width: tl.tensor,
    ACTIVATION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row, column, mask = _tile(rows, width, ROWS, COLUMNS)
    gate = tl.load(gate_ptr + row * gate_stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + column, mask=mask, other=0.0).to(tl.float32)
    value, _ = _value_and_slope(gate, ACTIVATION)
    y = (value * up).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + row * width + column, y, mask=mask)


@triton.jit(do_not_specialize=["rows"])
def backward_kernel(
    dy_ptr: tl.tensor,
    gate_ptr: tl.tensor,
    up_ptr: tl.tensor,
    dgate_ptr: tl.tensor,
    dup_ptr: tl.tensor,
    dy_stride: tl.tensor,
    gate_stride: tl.tensor,
    up_stride: tl.tensor,
    gradient_stride: tl.tensor,
    rows: tl.tensor,
    width: tl.tensor,
    ACTIVATION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row, column, mask = _tile(rows, width, ROWS, COLUMNS)
    dy = tl.load(dy_ptr + row * dy_stride + column, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + row * gate_stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + column, mask=mask, other=0.0).to(tl.float32)
    value, slope = _value_and_slope(gate, ACTIVATION)
    place = row * gradient_stride + column
    dgate = (dy * up * slope).to(dgate_ptr.dtype.element_ty)
    tl.store(dgate_ptr + place, dgate, mask=mask)
    tl.store(dup_ptr + place, (dy * value).to(dup_ptr.dtype.element_ty), mask=mask)
