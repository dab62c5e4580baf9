"""The token_shift operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gabc.kernels.token_shift import token_shift
from torch import Tensor

# (batch, length, channels, blends)
SHAPES = [(1, 1, 1, 1), (2, 5, 3, 6), (2, 0, 3, 2), (0, 4, 3, 2), (3, 2, 4, 16)]


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + 10 * seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def plain(x: Tensor, mu: Tensor, initial: Tensor | None) -> Tensor:
    """One token at a time, as a decoder would do it, blend by blend."""
    blends = []
    for weight in mu:
        past = torch.zeros_like(x[:, 0]) if initial is None else initial
        tokens = []
        for now in x.unbind(1):
            tokens.append((1 - weight) * now + weight * past)
            past = now
        blends.append(torch.stack(tokens, dim=1))
    return torch.stack(blends)


def operands(
    shape: tuple[int, int, int, int], has_initial: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    batch, length, channels, blends = shape
    x = drawn(batch, channels, length).transpose(1, 2).requires_grad_()
    initial = drawn(batch, channels, seed=2).requires_grad_() if has_initial else None
    return x, drawn(blends, channels, seed=1).requires_grad_(), initial


@pytest.mark.parametrize("has_initial", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_blends_and_gradients_equal_a_loop(
    shape: tuple[int, int, int, int], has_initial: bool
) -> None:
    x, mu, initial = operands(shape, has_initial)
    inputs = [operand for operand in (x, mu, initial) if operand is not None]
    got = token_shift(x, mu, initial)
    dy = drawn(*got.shape, seed=3)
    gradients = torch.autograd.grad(got, inputs, dy)
    if not x.shape[1]:
        assert got.shape == (mu.shape[0], *x.shape)
        assert all(not gradient.any() for gradient in gradients)
        return
    want = plain(x, mu, initial)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    exact = torch.autograd.grad(want, inputs, dy)
    torch.testing.assert_close(gradients, exact, rtol=1e-12, atol=1e-12)


def test_pieces_equal_the_whole() -> None:
    x, mu, initial = operands((2, 7, 3, 4), True)
    assert initial is not None
    pieces, last = [], initial
    for piece in x.split([1, 4, 2], dim=1):
        pieces.append(token_shift(piece, mu, last))
        last = piece[:, -1]
    got, want = torch.cat(pieces, dim=2), token_shift(x, mu, initial)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    dy = drawn(*got.shape, seed=3)
    torch.testing.assert_close(
        torch.autograd.grad(got, [x, mu, initial], dy),
        torch.autograd.grad(want, [x, mu, initial], dy),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x, mu = drawn(2, 9, 5, dtype=dtype), drawn(3, 5, seed=1, dtype=torch.float32)
    y = token_shift(x, mu)
    assert y.dtype == dtype
    want = plain(x.double(), mu.double(), None)
    rounding = 0.5 * torch.finfo(dtype).eps * want.abs() + torch.finfo(dtype).smallest_normal
    # A sum of products that cancel has the error of the products.
    assert ((y.double() - want).abs() <= rounding + 3e-6).all()


def test_mu_keeps_its_dtype_beside_bfloat16_rows() -> None:
    x = drawn(2, 5, 4, dtype=torch.bfloat16).requires_grad_()
    mu = drawn(3, 4, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.float16):
        y = token_shift(x, mu)
    dx, dmu = torch.autograd.grad(y.sum(), [x, mu])
    assert (y.dtype, dx.dtype, dmu.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


@pytest.mark.parametrize("has_initial", [True, False])
def test_opcheck(has_initial: bool) -> None:
    given = operands((2, 5, 3, 4), has_initial)
    torch.library.opcheck(torch.ops.gabc.token_shift.default, given)
    x, mu, initial = (operand if operand is None else operand.detach() for operand in given)
    dy = drawn(2, 5, 4, 3).permute(2, 0, 1, 3)
    torch.library.opcheck(torch.ops.gabc.token_shift_backward.default, (dy, x, mu, initial))


def block(x: Tensor, mu: Tensor, initial: Tensor) -> Tensor:
    first, second = token_shift(x, mu, initial).unbind()
    return token_shift(first * second, mu)


def test_compiles_whole_and_for_any_length() -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    for length, stance in ((5, "default"), (9, "fail_on_recompile")):
        inputs = [drawn(3, length, 4), drawn(2, 4, seed=1), drawn(3, 4, seed=2)]
        inputs = [x.requires_grad_() for x in inputs]
        with torch.compiler.set_stance(stance):
            got = compiled(*inputs)
        want = block(*inputs)
        dy = drawn(*want.shape, seed=4)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got, inputs, dy), torch.autograd.grad(want, inputs, dy)
        )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, mu: token_shift(x.long(), mu), TypeError, "floating-point x"),
        (lambda x, mu: token_shift(x, mu.long()), TypeError, "floating-point mu"),
        (lambda x, mu: token_shift(x[0], mu), ValueError, r"\(B, L, D\).*got \(5, 3\)"),
        (lambda x, mu: token_shift(x[:, :, :0], mu[:, :0]), ValueError, "D > 0"),
        (lambda x, mu: token_shift(x, mu[0]), ValueError, r"mu \(M, D\).*mu is \(3,\)"),
        (lambda x, mu: token_shift(x, mu[:0]), ValueError, "1 to 16 blends"),
        (lambda x, mu: token_shift(x, mu.repeat(9, 1)), ValueError, r"1 to 16.*\(18, 3\)"),
        (lambda x, mu: token_shift(x, mu, x), ValueError, r"initial token \(B, D\)"),
        (lambda x, mu: token_shift(x, mu, x[:, 0].half()), ValueError, "of the dtype"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor, Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 5, 3), torch.ones(2, 3))
