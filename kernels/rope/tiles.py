"""What the kernels of rotary position embedding load, store and norm: pairs, tables, tokens."""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def load_pairs(
    ptr: tl.tensor,
    mask: tl.tensor,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """The two members (ROWS, PAIRS) of each pair of channels of the heads at ptr (ROWS, 1)."""
    if INTERLEAVED:
        column = tl.arange(0, 2 * PAIRS)[None, :]
        both = tl.load(ptr + column, mask=mask & (column < 2 * HALF), other=0.0).to(tl.float32)
        first, second = tl.split(tl.reshape(both, (both.shape[0], PAIRS, 2)))
    else:
        column = tl.arange(0, PAIRS)[None, :]
        mask = mask & (column < HALF)
        first = tl.load(ptr + column, mask=mask, other=0.0).to(tl.float32)
        second = tl.load(ptr + HALF + column, mask=mask, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def store_pairs(
    ptr: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    mask: tl.tensor,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
) -> None:
    if INTERLEAVED:
        column = tl.arange(0, 2 * PAIRS)[None, :]
        both = tl.reshape(tl.join(first, second), (first.shape[0], 2 * PAIRS))
        tl.store(ptr + column, both.to(ptr.dtype.element_ty), mask=mask & (column < 2 * HALF))
    else:
        column = tl.arange(0, PAIRS)[None, :]
        mask = mask & (column < HALF)
        tl.store(ptr + column, first.to(ptr.dtype.element_ty), mask=mask)
        tl.store(ptr + HALF + column, second.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def tokens_of(
    start: tl.tensor, length: tl.tensor, TOKENS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Numbers (TOKENS, 1) of tokens in a batch, their rows and their times; divided in 32 bits."""
    token = start + tl.arange(0, TOKENS)[:, None]
    batch = token // length
    return token.to(tl.int64), batch.to(tl.int64), (token - batch * length).to(tl.int64)


@triton.jit
def load_tables(
    cos_ptr: tl.tensor,
    sin_ptr: tl.tensor,
    place: tl.tensor,
    mask: tl.tensor,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    column = tl.arange(0, PAIRS)[None, :]
    mask = mask & (column < HALF)
    c = tl.load(cos_ptr + place + column, mask=mask, other=0.0).to(tl.float32)
    s = tl.load(sin_ptr + place + column, mask=mask, other=0.0).to(tl.float32)
    return c, s


@triton.jit
def reciprocal_rms(
    first: tl.tensor, second: tl.tensor, rest_sum: tl.tensor, eps: tl.tensor, WIDTH: tl.constexpr
) -> tl.tensor:
    """(ROWS, 1); the correctly rounded root and division are affordable on a number per row."""
    squares = tl.sum(first * first + second * second, axis=1, keep_dims=True) + rest_sum
    mean = tl.div_rn(squares, tl.full(squares.shape, WIDTH, tl.float32))
    return tl.div_rn(tl.full(squares.shape, 1.0, tl.float32), tl.sqrt_rn(mean + eps))
