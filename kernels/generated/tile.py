"""Functions of tiles that generated kernels call and Triton lacks.

A tile is [rows, columns], [rows, 1] or [1, columns] in float32. `row_` functions see whole rows;
`in_width` [1, columns] says which columns exist, and `WIDTH` how many. Triton's `exp` and `log`
lose what is small beside 1, so what is exact near 0 has a series there.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import triton
import triton.language as tl

# ------------------------------------------------------------------------------ memory


@triton.jit
def rows(start: tl.tensor, ROWS: tl.constexpr) -> tl.tensor:
    """[ROWS, 1] places from `start`, an int64."""
    return (start + tl.arange(0, ROWS).to(tl.int64))[:, None]


@triton.jit
def columns(block: tl.tensor, BLOCK: tl.constexpr) -> tl.tensor:
    """[1, BLOCK] columns of a block of them, in int64."""
    return (block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK).to(tl.int64))[None, :]


@triton.jit
def load(pointers: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Floats in float32; 0 where masked."""
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_mask(pointers: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Bools; false where masked."""
    return tl.load(pointers, mask=mask, other=0) != 0


@triton.jit
def store(pointers: tl.tensor, x: tl.tensor, mask: tl.tensor) -> None:
    """In the dtype of the memory; a tile that is the same along an axis is spread."""
    tl.store(pointers, x.to(pointers.dtype.element_ty), mask=mask)


# ------------------------------------------------------------------------------ one element


@triton.jit
def square(x: tl.tensor) -> tl.tensor:
    return x * x


@triton.jit
def cube(x: tl.tensor) -> tl.tensor:
    return x * x * x


@triton.jit
def reciprocal(x: tl.tensor) -> tl.tensor:
    return 1.0 / x


@triton.jit
def sign(x: tl.tensor) -> tl.tensor:
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x * 0.0))


@triton.jit
def maximum(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return tl.where(a > b, a, tl.where(a != a, a, b))


@triton.jit
def minimum(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return tl.where(a < b, a, tl.where(a != a, a, b))


@triton.jit
def lerp(a: tl.tensor, b: tl.tensor, weight: tl.tensor) -> tl.tensor:
    return a + weight * (b - a)


@triton.jit
def relu(x: tl.tensor) -> tl.tensor:
    return tl.where(x <= 0.0, 0.0, x)


@triton.jit
def silu(x: tl.tensor) -> tl.tensor:
    return x * tl.sigmoid(x)


@triton.jit
def expm1(x: tl.tensor) -> tl.tensor:
    """The Taylor series up to x^7 below 0.35, where its remainder is under 2e-8."""
    series = 1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0))))
    series += x * x * x * x * x * (1.0 / 720.0 + x * (1.0 / 5040.0))
    return tl.where(tl.abs(x) < 0.35, x * series, tl.exp(x) - 1.0)


@triton.jit
def log1p(x: tl.tensor) -> tl.tensor:
    """Kahan's correction: u = 1 + x as rounded, log(u) x / (u - 1)."""
    u = 1.0 + x
    near = tl.where(u == 1.0, x, tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1.0)))
    return tl.where(u > 4.0, tl.log(u), near)


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """The series up to x^9 below 0.3, where its remainder is under 6e-8."""
    s = x * x
    series = s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0))))
    t = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - t) / (1.0 + t)
    return tl.where(tl.abs(x) < 0.3, x + x * series, tl.where(x < 0.0, -far, far))


@triton.jit
def softplus(x: tl.tensor) -> tl.tensor:
    return relu(x) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def logsigmoid(x: tl.tensor) -> tl.tensor:
    return -softplus(-x)


@triton.jit
def elu(x: tl.tensor) -> tl.tensor:
    return tl.where(x > 0.0, x, expm1(x))


@triton.jit
def gelu(x: tl.tensor) -> tl.tensor:
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def gelu_tanh(x: tl.tensor) -> tl.tensor:
    return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


# ------------------------------------------------------------------------------ whole rows


@triton.jit
def row_sum(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    return tl.sum(tl.where(in_width, x, 0.0), axis=1, keep_dims=True)


@triton.jit
def row_mean(x: tl.tensor, in_width: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    return row_sum(x, in_width) / WIDTH


@triton.jit
def row_max(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    return tl.max(tl.where(in_width, x, -float("inf")), axis=1, keep_dims=True)


@triton.jit
def row_min(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    return tl.min(tl.where(in_width, x, float("inf")), axis=1, keep_dims=True)


@triton.jit
def row_logsumexp(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    largest = row_max(x, in_width)
    largest = tl.where(tl.abs(largest) < float("inf"), largest, 0.0)
    return largest + tl.log(row_sum(tl.exp(x - largest), in_width))


@triton.jit
def row_softmax(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    terms = tl.exp(x - row_max(x, in_width))
    return terms / row_sum(terms, in_width)


@triton.jit
def row_log_softmax(x: tl.tensor, in_width: tl.tensor) -> tl.tensor:
    shifted = x - row_max(x, in_width)
    return shifted - tl.log(row_sum(tl.exp(shifted), in_width))


@triton.jit
def row_rms_norm(
    x: tl.tensor, in_width: tl.tensor, WIDTH: tl.constexpr, eps: tl.tensor
) -> tl.tensor:
    return x * (1.0 / tl.sqrt_rn(row_mean(x * x, in_width, WIDTH) + eps))


@triton.jit
def row_layer_norm(
    x: tl.tensor, in_width: tl.tensor, WIDTH: tl.constexpr, eps: tl.tensor
) -> tl.tensor:
    centred = x - row_mean(x, in_width, WIDTH)
    return centred * (1.0 / tl.sqrt_rn(row_mean(centred * centred, in_width, WIDTH) + eps))
