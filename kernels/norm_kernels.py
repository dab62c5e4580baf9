"""The Triton kernels of the norms: RMSNorm and LayerNorm are the forms with CENTRED false and true.

Operands are seen as [outer, heads, width], each with a stride for both leading dims. A program
holds whole rows of one head in registers, so a row is read once in each direction. The backward
recomputes the statistics from the row it has to read anyway instead of storing them.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _reciprocal_rms(x: tl.tensor, eps: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """(ROWS, BLOCK) with zeros in masked columns -> (ROWS, 1).

    The correctly rounded root and division are affordable on one number per row.
    """
    mean = tl.div_rn(tl.sum(x * x, axis=1, keep_dims=True), tl.full((1, 1), WIDTH, tl.float32))
    return tl.div_rn(tl.full((1, 1), 1.0, tl.float32), tl.sqrt_rn(mean + eps))


@triton.jit
def _centred(x: tl.tensor, in_width: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """Rows less their means, with zeros in masked columns."""
    mean = tl.div_rn(tl.sum(x, axis=1, keep_dims=True), tl.full((1, 1), WIDTH, tl.float32))
    return tl.where(in_width, x - mean, 0.0)


@triton.jit
def _activated(gate: tl.tensor, SILU: tl.constexpr) -> tl.tensor:
    s = 1.0 / (1.0 + tl.exp(-gate))
    if SILU:
        s = gate * s
    return s


@triton.jit
def _activation_slope(gate: tl.tensor, SILU: tl.constexpr) -> tl.tensor:
    s = 1.0 / (1.0 + tl.exp(-gate))
    steep = s / (1.0 + tl.exp(gate))
    if SILU:
        steep = s + gate * steep
    return steep


@triton.jit(do_not_specialize=["outer", "heads"])
def forward_kernel(
    x_ptr: tl.tensor,
    residual_ptr: tl.tensor | None,
    weight_ptr: tl.tensor | None,
    bias_ptr: tl.tensor | None,
    gate_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    h_ptr: tl.tensor,
    x_stride: tl.tensor,
    x_head: tl.tensor,
    residual_stride: tl.tensor,
    residual_head: tl.tensor,
    gate_stride: tl.tensor,
    gate_head: tl.tensor,
    outer: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
    PER_HEAD: tl.constexpr,
    CENTRED: tl.constexpr,
    SILU: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Program `p` takes a tile of rows of head `p % heads`."""
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    head = (tl.program_id(0) % heads).to(tl.int64)
    first = (tl.program_id(0) // heads).to(tl.int64) * ROWS
    row = (first + tl.arange(0, ROWS).to(tl.int64))[:, None]
    column = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    in_width = column < WIDTH
    mask = (row < outer) & in_width
    place = (row * heads + head) * WIDTH + column
    x_at = x_ptr + head * x_head + row * x_stride + column
    x = tl.load(x_at, mask=mask, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        residual_at = residual_ptr + head * residual_head + row * residual_stride + column
        residual = tl.load(residual_at, mask=mask, other=0.0)
        # The norm is of the sum as stored, so that the backward sees the same numbers.
        h = (x + residual.to(tl.float32)).to(h_ptr.dtype.element_ty)
        tl.store(h_ptr + place, h, mask=mask)
        x = h.to(tl.float32)
    if gate_ptr is not None:
        gate_at = gate_ptr + head * gate_head + row * gate_stride + column
        gate = _activated(tl.load(gate_at, mask=mask, other=0.0).to(tl.float32), SILU)
        if GATE_FIRST:
            x *= gate
    if CENTRED:
        x = _centred(x, in_width, WIDTH)
    y = x * _reciprocal_rms(x, eps, WIDTH)
    at = column
    if PER_HEAD:
        at += head * WIDTH
    if weight_ptr is not None:
        y *= tl.load(weight_ptr + at, mask=in_width, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + at, mask=in_width, other=0.0).to(tl.float32)
    if gate_ptr is not None and not GATE_FIRST:
        y *= gate
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["outer", "heads", "slab"])
def backward_kernel(
    x_ptr: tl.tensor,
    dy_ptr: tl.tensor,
    weight_ptr: tl.tensor | None,
    bias_ptr: tl.tensor | None,
    gate_ptr: tl.tensor | None,
    dsum_ptr: tl.tensor | None,
    dx_ptr: tl.tensor,
    dgate_ptr: tl.tensor,
    partial_ptr: tl.tensor | None,
    x_stride: tl.tensor,
    x_head: tl.tensor,
    dy_stride: tl.tensor,
    dy_head: tl.tensor,
    gate_stride: tl.tensor,
    gate_head: tl.tensor,
    dsum_stride: tl.tensor,
    dsum_head: tl.tensor,
    outer: tl.tensor,
    heads: tl.tensor,
    slab: tl.tensor,
    eps: tl.tensor,
    PER_HEAD: tl.constexpr,
    CENTRED: tl.constexpr,
    SILU: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Program `p` takes slab `p // heads` of head `p % heads` and writes line `p` of `partial`."""
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    head = (tl.program_id(0) % heads).to(tl.int64)
    first = (tl.program_id(0) // heads).to(tl.int64) * slab
    column = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    in_width = column < WIDTH
    at = column
    if PER_HEAD:
        at += head * WIDTH
    if weight_ptr is not None:
        weight = tl.load(weight_ptr + at, mask=in_width, other=0.0).to(tl.float32)
        dweight = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + at, mask=in_width, other=0.0).to(tl.float32)
        dbias = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in range(0, slab, ROWS):
        row = (first + start + tl.arange(0, ROWS).to(tl.int64))[:, None]
        mask = (row < outer) & in_width
        place = (row * heads + head) * WIDTH + column
        x_at = x_ptr + head * x_head + row * x_stride + column
        x = tl.load(x_at, mask=mask, other=0.0).to(tl.float32)
        dy_at = dy_ptr + head * dy_head + row * dy_stride + column
        dy = tl.load(dy_at, mask=mask, other=0.0).to(tl.float32)
        n = x
        c = dy
        if gate_ptr is not None:
            gate_at = gate_ptr + head * gate_head + row * gate_stride + column
            gate = tl.load(gate_at, mask=mask, other=0.0).to(tl.float32)
            if GATE_FIRST:
                n = x * _activated(gate, SILU)
            else:
                c = dy * _activated(gate, SILU)
        if CENTRED:
            n = _centred(n, in_width, WIDTH)
        # A row past the end is zero, and its factor infinite if eps is 0.
        r = tl.where(row < outer, _reciprocal_rms(n, eps, WIDTH), 0.0)
        n *= r
        g = c
        affine = n
        if weight_ptr is not None:
            dweight += c * n
            g = c * weight
            affine = n * weight
        if bias_ptr is not None:
            dbias += c
        dx = g - n * (tl.sum(g * n, axis=1, keep_dims=True) / WIDTH)
        if CENTRED:
            dx -= tl.sum(g, axis=1, keep_dims=True) / WIDTH
        dx *= r
        if gate_ptr is not None:
            if GATE_FIRST:
                dgate = dx * x * _activation_slope(gate, SILU)
                dx *= _activated(gate, SILU)
            else:
                if bias_ptr is not None:
                    affine += bias
                dgate = dy * affine * _activation_slope(gate, SILU)
            tl.store(dgate_ptr + place, dgate.to(dgate_ptr.dtype.element_ty), mask=mask)
        if dsum_ptr is not None:
            dsum_at = dsum_ptr + head * dsum_head + row * dsum_stride + column
            dx += tl.load(dsum_at, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    line = tl.program_id(0).to(tl.int64)
    if weight_ptr is not None:
        if bias_ptr is not None:
            line *= 2
        to = partial_ptr + line * WIDTH + column
        tl.store(to, tl.sum(dweight, axis=0, keep_dims=True), mask=in_width)
        line += 1
    if bias_ptr is not None:
        to = partial_ptr + line * WIDTH + column
        tl.store(to, tl.sum(dbias, axis=0, keep_dims=True), mask=in_width)
