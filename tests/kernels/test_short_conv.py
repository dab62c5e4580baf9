"""The short_conv operators on a CPU: values, gradients, state, registration, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from gabc.kernels.short_conv import causal_conv, short_conv
from torch import Tensor

from gabc.runtime.functional import sequence

# (batch, length, channels, taps)
SHAPES = [(1, 1, 1, 2), (2, 5, 3, 4), (2, 2, 3, 8), (2, 0, 3, 3), (0, 4, 3, 3), (2, 6, 4, 1)]


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + 10 * seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def plain(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    """One position at a time, from a window that is moved along: as a decoder would do it."""
    taps = weight.shape[1]
    window = initial if initial is not None else x.new_zeros(x.shape[0], taps - 1, x.shape[2])
    window = torch.cat([window, x[:, :0]], dim=1)  # part of the graph even without a position
    results = []
    for now in range(x.shape[1]):
        window = torch.cat([window, x[:, now : now + 1]], dim=1)
        y = torch.einsum("bwd,dw->bd", window, weight)
        y = y if bias is None else y + bias
        results.append(F.silu(y) if silu else y)
        window = window[:, 1:]
    return torch.stack(results, dim=1) if results else x, window


def operands(
    shape: tuple[int, int, int, int], has_bias: bool, has_initial: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    batch, length, channels, taps = shape
    x = drawn(batch, channels, length).transpose(1, 2).requires_grad_()
    weight = drawn(channels, taps, seed=1).requires_grad_()
    bias = drawn(channels, seed=2).requires_grad_() if has_bias else None
    initial = drawn(batch, taps - 1, channels, seed=3).requires_grad_() if has_initial else None
    return x, weight, bias, initial


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("has_bias", "has_initial"), [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_equal_a_loop(
    shape: tuple[int, int, int, int], has_bias: bool, has_initial: bool, silu: bool
) -> None:
    given = operands(shape, has_bias, has_initial)
    inputs = [x for x in given if x is not None]
    got, want = short_conv(*given, silu), plain(*given, silu)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    cotangents = [drawn(*y.shape, seed=4) for y in got]
    wanted = torch.autograd.grad(want, inputs, cotangents, allow_unused=True)
    for gradient, exact, x in zip(
        torch.autograd.grad(got, inputs, cotangents), wanted, inputs, strict=True
    ):
        exact = torch.zeros_like(x) if exact is None else exact
        torch.testing.assert_close(gradient, exact, rtol=1e-12, atol=1e-12)


def test_pieces_equal_the_whole() -> None:
    """Values and gradients of a sequence in pieces, shorter than the filter and longer."""
    x, weight, bias, initial = operands((2, 9, 3, 4), True, True)
    inputs = [operand for operand in (x, weight, bias, initial) if operand is not None]
    whole, last = short_conv(x, weight, bias, initial, True)
    pieces, state = [], initial
    for piece in x.split([1, 2, 5, 1], dim=1):
        y, state = short_conv(piece, weight, bias, state, True)
        pieces.append(y)
    assert state is not None
    got, want = (torch.cat(pieces, dim=1), state), (whole, last)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    cotangents = [drawn(*y.shape, seed=4) for y in want]
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, cotangents),
        torch.autograd.grad(want, inputs, cotangents),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("axis", "channels"), [(1, (3,)), (2, (2, 3)), (0, (2,)), (1, ())])
@pytest.mark.parametrize(("taps", "dilation"), [(4, 1), (9, 1), (3, 2)])
def test_causal_conv_is_the_plain_function(
    taps: int, dilation: int, axis: int, channels: tuple[int, ...], has_bias: bool
) -> None:
    x = drawn(*(2, 4)[:axis], 7, *channels).requires_grad_()
    w = drawn(*channels, taps, seed=1).requires_grad_()
    bias = drawn(*channels, seed=2) if has_bias else None
    got = causal_conv(x, w, bias, dilation, axis)
    want = sequence.causal_conv(x, w, bias, dilation, axis)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    dy = drawn(*x.shape, seed=3)
    torch.testing.assert_close(
        torch.autograd.grad(got, [x, w], dy),
        torch.autograd.grad(want, [x, w], dy),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x, weight = drawn(2, 9, 5, dtype=dtype), drawn(5, 4, seed=1, dtype=torch.float32)
    initial = drawn(2, 3, 5, seed=2, dtype=dtype)
    y, final = short_conv(x, weight, None, initial)
    assert (y.dtype, final.dtype) == (dtype, dtype)
    assert torch.equal(final, x[:, -3:])
    want, _ = plain(x.double(), weight.double(), None, initial.double(), False)
    rounding = 0.5 * torch.finfo(dtype).eps * want.abs() + torch.finfo(dtype).smallest_normal
    # A sum of products that cancel has the error of the products.
    assert ((y.double() - want).abs() <= rounding + 3e-6).all()


def test_parameters_keep_their_dtype_beside_bfloat16_rows() -> None:
    x = drawn(2, 5, 4, dtype=torch.bfloat16)
    weight = drawn(4, 3, dtype=torch.float32).requires_grad_()
    bias = drawn(4, dtype=torch.float16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = short_conv(x, weight, bias, silu=True)
    dweight, dbias = torch.autograd.grad(y.sum(), [weight, bias])
    assert (y.dtype, dweight.dtype, dbias.dtype) == (torch.bfloat16, torch.float32, torch.float16)


@pytest.mark.parametrize("is_whole", [True, False])
def test_opcheck(is_whole: bool) -> None:
    given = operands((2, 5, 3, 4), is_whole, is_whole)
    torch.library.opcheck(torch.ops.gabc.short_conv.default, (*given, is_whole))
    x, weight, bias, initial = (x if x is None else x.detach() for x in given)
    dy, dfinal = drawn(2, 3, 5).transpose(1, 2), drawn(2, 3, 3)
    torch.library.opcheck(
        torch.ops.gabc.short_conv_backward.default,
        (dy, dfinal, x, weight, bias, initial, is_whole),
    )


def block(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    y, state = short_conv(x, weight, bias, silu=True)
    return short_conv(causal_conv(y, weight), weight, None, state)


def test_compiles_whole_and_for_any_length() -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    for length, stance in ((5, "default"), (9, "fail_on_recompile")):
        inputs = [drawn(2, length, 3), drawn(3, 4, seed=1), drawn(3, seed=2)]
        inputs = [x.requires_grad_() for x in inputs]
        with torch.compiler.set_stance(stance):
            got = compiled(*inputs)
        want = block(*inputs)
        cotangents = [drawn(*y.shape, seed=4) for y in want]
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got, inputs, cotangents),
            torch.autograd.grad(want, inputs, cotangents),
        )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w: short_conv(x.long(), w), TypeError, "floating-point x"),
        (lambda x, w: short_conv(x, w.long()), TypeError, "floating-point weight"),
        (lambda x, w: short_conv(x[0], w), ValueError, r"x \(B, L, D\).*got \(5, 3\)"),
        (lambda x, w: short_conv(x[:, :, :0], w[:0]), ValueError, "D > 0"),
        (lambda x, w: short_conv(x, w[:2]), ValueError, r"weight \(D, W\).*weight is \(2, 4\)"),
        (lambda x, w: short_conv(x, w.repeat(1, 3)), ValueError, r"1 to 8 taps.*\(3, 12\)"),
        (lambda x, w: short_conv(x, w[:, :0]), ValueError, "1 to 8 taps"),
        (lambda x, w: short_conv(x, w, w[0]), ValueError, r"bias \(D,\).*bias is \(4,\)"),
        (lambda x, w: short_conv(x, w, None, x), ValueError, r"initial state \(B, W - 1, D\)"),
        (lambda x, w: short_conv(x, w, None, x[:, :3].half()), ValueError, "of the dtype"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor, Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 5, 3), torch.ones(3, 4))
