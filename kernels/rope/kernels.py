"""The Triton kernels of rotary position embedding; `triton.py` launches them."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

from .tiles import load_pairs, load_tables, reciprocal_rms, store_pairs, tokens_of


@triton.jit
def _rotate_heads(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor | None,
    y_ptr: tl.tensor,
    x_place: tl.tensor,
    head_stride: tl.tensor,
    token: tl.tensor,
    in_range: tl.tensor,
    c: tl.tensor,
    s: tl.tensor,
    first_head: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
    NORM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    REST: tl.constexpr,
    HEADS: tl.constexpr,
) -> None:
    """Heads from `first_head` on of the tokens (TOKENS, 1), whose head 0 lies at `x_place`."""
    one = tl.full((1, 1), 1, tl.int1)
    zero = tl.zeros((1, 1), tl.int32)
    if weight_ptr is not None:
        w1, w2 = load_pairs(weight_ptr + zero, one, HALF, PAIRS, INTERLEAVED)
    if REST:
        column = 2 * HALF + tl.arange(0, REST)[None, :]
        if weight_ptr is not None:
            w3 = tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    for step in range(tl.minimum(HEADS, heads - first_head)):
        head = first_head.to(tl.int64) + step
        x = x_ptr + x_place + head * head_stride
        y = y_ptr + (token * heads + head) * WIDTH
        x1, x2 = load_pairs(x, in_range, HALF, PAIRS, INTERLEAVED)
        rest_sum = tl.zeros(token.shape, tl.float32)
        if REST:
            x3 = tl.load(x + column, mask=in_range & (column < WIDTH), other=0.0).to(tl.float32)
            rest_sum += tl.sum(x3 * x3, axis=1, keep_dims=True)
        if NORM:
            r = reciprocal_rms(x1, x2, rest_sum, eps, WIDTH)
            x1 *= r
            x2 *= r
            if weight_ptr is not None:
                x1 *= w1
                x2 *= w2
            if REST:
                x3 *= r
                if weight_ptr is not None:
                    x3 *= w3
        y1 = x1 * c - x2 * s
        y2 = x2 * c + x1 * s
        store_pairs(y, y1, y2, in_range, HALF, PAIRS, INTERLEAVED)
        if REST:
            mask = in_range & (column < WIDTH)
            tl.store(y + column, x3.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tokens", "length"])
def forward_kernel(
    q_ptr: tl.tensor,
    k_ptr: tl.tensor | None,
    q_weight_ptr: tl.tensor | None,
    k_weight_ptr: tl.tensor | None,
    cos_ptr: tl.tensor,
    sin_ptr: tl.tensor,
    yq_ptr: tl.tensor,
    yk_ptr: tl.tensor | None,
    q_batch_stride: tl.tensor,
    q_time_stride: tl.tensor,
    q_head_stride: tl.tensor,
    k_batch_stride: tl.tensor,
    k_time_stride: tl.tensor,
    k_head_stride: tl.tensor,
    table_stride: tl.tensor,
    tokens: tl.tensor,
    length: tl.tensor,
    q_heads: tl.tensor,
    k_heads: tl.tensor,
    eps: tl.tensor,
    NORM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    INVERSE: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    TOKENS: tl.constexpr,
    PAIRS: tl.constexpr,
    REST: tl.constexpr,
    HEADS: tl.constexpr,
) -> None:
    """The program of a tile of tokens and a group of `HEADS` heads: first those of q, then of k."""
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    q_groups = tl.cdiv(q_heads, HEADS)
    groups = q_groups + tl.cdiv(k_heads, HEADS)
    tile = tl.program_id(0) // groups
    group = tl.program_id(0) % groups
    token, batch, time = tokens_of(tile * TOKENS, length, TOKENS)
    in_range = token < tokens
    c, s = load_tables(cos_ptr, sin_ptr, batch * table_stride + time * HALF, in_range, HALF, PAIRS)
    if INVERSE:
        s = -s
    if group < q_groups:
        _rotate_heads(
            q_ptr,
            q_weight_ptr,
            yq_ptr,
            batch * q_batch_stride + time * q_time_stride,
            q_head_stride,
            token,
            in_range,
            c,
            s,
            group * HEADS,
            q_heads,
            eps,
            NORM,
            INTERLEAVED,
            WIDTH,
            HALF,
            PAIRS,
            REST,
            HEADS,
        )
    elif k_ptr is not None:
        _rotate_heads(
            k_ptr,
            k_weight_ptr,
            yk_ptr,
            batch * k_batch_stride + time * k_time_stride,
            k_head_stride,
            token,
            in_range,
            c,
            s,
            (group - q_groups) * HEADS,
            k_heads,
            eps,
            NORM,
            INTERLEAVED,
            WIDTH,
            HALF,
            PAIRS,
            REST,
            HEADS,
        )


@triton.jit
def _norm_backward(
    program: tl.tensor,
    dy_ptr: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor | None,
    cos_ptr: tl.tensor,
    sin_ptr: tl.tensor,
    dx_ptr: tl.tensor,
    partial_ptr: tl.tensor | None,
    dy_batch_stride: tl.tensor,
    dy_time_stride: tl.tensor,
    dy_head_stride: tl.tensor,
    x_batch_stride: tl.tensor,
    x_time_stride: tl.tensor,
    x_head_stride: tl.tensor,
    table_stride: tl.tensor,
    tokens: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    slab: tl.tensor,
    eps: tl.tensor,
    INTERLEAVED: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    TOKENS: tl.constexpr,
    PAIRS: tl.constexpr,
    REST: tl.constexpr,
    HEADS: tl.constexpr,
) -> None:
    """Slab `program // groups` of tokens and group `program % groups` of heads of q or of k."""
    groups = tl.cdiv(heads, HEADS)
    first = program // groups * slab
    first_head = program % groups * HEADS
    one = tl.full((1, 1), 1, tl.int1)
    zero = tl.zeros((1, 1), tl.int32)
    if weight_ptr is not None:
        w1, w2 = load_pairs(weight_ptr + zero, one, HALF, PAIRS, INTERLEAVED)
        dw1 = tl.zeros((TOKENS, PAIRS), tl.float32)
        dw2 = tl.zeros((TOKENS, PAIRS), tl.float32)
    if REST:
        column = 2 * HALF + tl.arange(0, REST)[None, :]
        if weight_ptr is not None:
            w3 = tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0).to(tl.float32)
            dw3 = tl.zeros((TOKENS, REST), tl.float32)
    for start in range(0, slab, TOKENS):
        token, batch, time = tokens_of(first + start, length, TOKENS)
        in_range = token < tokens
        c, s = load_tables(
            cos_ptr, sin_ptr, batch * table_stride + time * HALF, in_range, HALF, PAIRS
        )
        for step in range(tl.minimum(HEADS, heads - first_head)):
            head = first_head.to(tl.int64) + step
            x = x_ptr + batch * x_batch_stride + time * x_time_stride + head * x_head_stride
            dy = dy_ptr + batch * dy_batch_stride + time * dy_time_stride + head * dy_head_stride
            dx = dx_ptr + (token * heads + head) * WIDTH
            n1, n2 = load_pairs(x, in_range, HALF, PAIRS, INTERLEAVED)
            dy1, dy2 = load_pairs(dy, in_range, HALF, PAIRS, INTERLEAVED)
            rest_sum = tl.zeros((TOKENS, 1), tl.float32)
            if REST:
                mask = in_range & (column < WIDTH)
                n3 = tl.load(x + column, mask=mask, other=0.0).to(tl.float32)
                rest_sum += tl.sum(n3 * n3, axis=1, keep_dims=True)
            # A token past the end has x = 0, and r is infinite there if eps is 0.
            r = tl.where(in_range, reciprocal_rms(n1, n2, rest_sum, eps, WIDTH), 0.0)
            n1 *= r
            n2 *= r
            g1 = dy1 * c + dy2 * s
            g2 = dy2 * c - dy1 * s
            if weight_ptr is not None:
                dw1 += g1 * n1
                dw2 += g2 * n2
                g1 *= w1
                g2 *= w2
            mean = tl.sum(g1 * n1 + g2 * n2, axis=1, keep_dims=True)
            if REST:
                n3 *= r
                g3 = tl.load(dy + column, mask=mask, other=0.0).to(tl.float32)
                if weight_ptr is not None:
                    dw3 += g3 * n3
                    g3 *= w3
                mean += tl.sum(g3 * n3, axis=1, keep_dims=True)
            mean /= WIDTH
            dx1, dx2 = r * (g1 - n1 * mean), r * (g2 - n2 * mean)
            store_pairs(dx, dx1, dx2, in_range, HALF, PAIRS, INTERLEAVED)
            if REST:
                dx3 = r * (g3 - n3 * mean)
                tl.store(dx + column, dx3.to(dx_ptr.dtype.element_ty), mask=mask)
    if weight_ptr is not None:
        line = partial_ptr + program.to(tl.int64) * WIDTH
        dw1 = tl.sum(dw1, axis=0, keep_dims=True)
        dw2 = tl.sum(dw2, axis=0, keep_dims=True)
        store_pairs(line + zero, dw1, dw2, one, HALF, PAIRS, INTERLEAVED)
        if REST:
            tl.store(line + column, tl.sum(dw3, axis=0, keep_dims=True), mask=column < WIDTH)


@triton.jit(do_not_specialize=["tokens", "length", "q_slab", "k_slab", "q_programs"])
def norm_backward_kernel(
    dyq_ptr: tl.tensor,
    dyk_ptr: tl.tensor | None,
    q_ptr: tl.tensor,
    k_ptr: tl.tensor | None,
    q_weight_ptr: tl.tensor | None,
    k_weight_ptr: tl.tensor | None,
    cos_ptr: tl.tensor,
    sin_ptr: tl.tensor,
    dq_ptr: tl.tensor,
    dk_ptr: tl.tensor | None,
    q_partial_ptr: tl.tensor | None,
    k_partial_ptr: tl.tensor | None,
    dyq_batch_stride: tl.tensor,
    dyq_time_stride: tl.tensor,
    dyq_head_stride: tl.tensor,
    dyk_batch_stride: tl.tensor,
    dyk_time_stride: tl.tensor,
    dyk_head_stride: tl.tensor,
    q_batch_stride: tl.tensor,
    q_time_stride: tl.tensor,
    q_head_stride: tl.tensor,
    k_batch_stride: tl.tensor,
    k_time_stride: tl.tensor,
    k_head_stride: tl.tensor,
    table_stride: tl.tensor,
    tokens: tl.tensor,
    length: tl.tensor,
    q_heads: tl.tensor,
    k_heads: tl.tensor,
    q_slab: tl.tensor,
    k_slab: tl.tensor,
    q_programs: tl.tensor,
    eps: tl.tensor,
    INTERLEAVED: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    TOKENS: tl.constexpr,
    PAIRS: tl.constexpr,
    REST: tl.constexpr,
    HEADS: tl.constexpr,
) -> None:
    """The first `q_programs` programs take q, the others k."""
    eps = tl.cast(eps, tl.float32)  # Inductor passes a Python float as float64
    program = tl.program_id(0)
    if program < q_programs:
        _norm_backward(
            program,
            dyq_ptr,
            q_ptr,
            q_weight_ptr,
            cos_ptr,
            sin_ptr,
            dq_ptr,
            q_partial_ptr,
            dyq_batch_stride,
            dyq_time_stride,
            dyq_head_stride,
            q_batch_stride,
            q_time_stride,
            q_head_stride,
            table_stride,
            tokens,
            length,
            q_heads,
            q_slab,
            eps,
            INTERLEAVED,
            WIDTH,
            HALF,
            TOKENS,
            PAIRS,
            REST,
            HEADS,
        )
    elif k_ptr is not None:
        _norm_backward(
            program - q_programs,
            dyk_ptr,
            k_ptr,
            k_weight_ptr,
            cos_ptr,
            sin_ptr,
            dk_ptr,
            k_partial_ptr,
            dyk_batch_stride,
            dyk_time_stride,
            dyk_head_stride,
            k_batch_stride,
            k_time_stride,
            k_head_stride,
            table_stride,
            tokens,
            length,
            k_heads,
            k_slab,
            eps,
            INTERLEAVED,
            WIDTH,
            HALF,
            TOKENS,
            PAIRS,
            REST,
            HEADS,
        )
