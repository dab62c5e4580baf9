"""The rope operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from gabc.kernels.rope import norm_rope, rope, rope_tables, rotate
from torch import Tensor

EPS = 1e-3  # large enough that leaving it out, or putting it outside the root, shows in float64
PAIRINGS = pytest.mark.parametrize("interleaved", [False, True])


def turned(x: Tensor, angles: Tensor, interleaved: bool) -> Tensor:
    """Each pair of channels as a complex number, times exp(i angle): another way to write it.

    x (B, L, H, K), angles (L, R/2) or (B, L, R/2), R <= K.
    """
    half = angles.shape[-1]
    head, rest = x[..., : 2 * half], x[..., 2 * half :]
    pairs = (
        head.unflatten(-1, (half, 2))
        if interleaved
        else head.unflatten(-1, (2, half)).transpose(-1, -2)
    )
    number = torch.complex(pairs[..., 0], pairs[..., 1])
    number = number * torch.polar(torch.ones_like(angles), angles).unsqueeze(-2)
    pairs = torch.view_as_real(number)
    return torch.cat([(pairs if interleaved else pairs.transpose(-1, -2)).flatten(-2), rest], -1)


def normal(x: Tensor, weight: Tensor | None) -> Tensor:
    y = x / (x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + EPS).sqrt()
    return y if weight is None else y * weight


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def heads(length: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """q with six heads cut out of a projection, k with two that lie before time; gradients."""
    return [
        drawn(2, length, 8, width, dtype=dtype)[:, :, 1:7],
        drawn(2, 2, length, width, seed=1, dtype=dtype).transpose(1, 2),
        drawn(2, length, 6, width, seed=2, dtype=dtype),
        drawn(2, length, 2, width, seed=3, dtype=dtype),
    ]


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...], inputs: list[Tensor]) -> None:
    cotangents = [drawn(*y.shape, seed=5) for y in got]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, cotangents),
        torch.autograd.grad(want, inputs, cotangents),
        rtol=1e-12,
        atol=1e-12,
    )


@PAIRINGS
@pytest.mark.parametrize(("width", "rotary"), [(2, 2), (8, 8), (10, 4)])
@pytest.mark.parametrize("own_positions", [False, True])
@pytest.mark.parametrize("length", [1, 5])
def test_rope_multiplies_complex_numbers(
    length: int, own_positions: bool, width: int, rotary: int, interleaved: bool
) -> None:
    q, k, *_ = heads(length, width)
    inputs = [q.requires_grad_(), k.requires_grad_()]
    angles = drawn(*((2, length) if own_positions else (length,)), rotary // 2)
    got = rope(q, k, angles.cos(), angles.sin(), interleaved)
    want = turned(q, angles, interleaved), turned(k, angles, interleaved)
    assert_same(got, want, inputs)
    alone = rotate(q, angles.cos(), angles.sin(), interleaved)
    assert_same((alone,), (turned(q, angles, interleaved),), inputs[:1])


@PAIRINGS
@pytest.mark.parametrize("weighted", [(True, True), (True, False), (False, False)])
def test_norm_rope_is_a_norm_of_each_head_and_rope(
    weighted: tuple[bool, bool], interleaved: bool
) -> None:
    q, k, *_ = heads(5, 10)
    q_weight, k_weight = (
        drawn(10, seed=seed).requires_grad_() if has else None for seed, has in enumerate(weighted)
    )
    inputs = [q.requires_grad_(), k.requires_grad_()]
    inputs += [weight for weight in (q_weight, k_weight) if weight is not None]
    angles = drawn(2, 5, 3)
    got = norm_rope(q, k, q_weight, k_weight, angles.cos(), angles.sin(), EPS, interleaved)
    want = tuple(
        turned(normal(x, weight), angles, interleaved)
        for x, weight in ((q, q_weight), (k, k_weight))
    )
    assert_same(got, want, inputs)


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 0, 4)])
def test_weights_of_no_heads_have_zero_gradients(shape: tuple[int, ...]) -> None:
    q = drawn(*shape).requires_grad_()
    weights = [drawn(4, seed=seed).requires_grad_() for seed in (1, 2)]
    pair = norm_rope(q, q, weights[0], weights[1], *rope_tables(torch.arange(shape[1]), 4), EPS)
    dq, *gradients = torch.autograd.grad([y.sum() for y in pair], [q, *weights])
    assert pair[0].shape == dq.shape == shape
    assert all(torch.equal(gradient, torch.zeros(4).double()) for gradient in gradients)


def test_tables_hold_the_angles_of_the_paper() -> None:
    cos, sin = rope_tables(torch.tensor([0, 3, 100_000]), 6, base=100.0)
    assert cos.shape == sin.shape == (3, 3)
    for row, position in enumerate((0, 3, 100_000)):
        for pair in range(3):
            angle = position * 100.0 ** (-2 * pair / 6)
            assert abs(cos[row, pair].item() - math.cos(angle)) < 1e-7
            assert abs(sin[row, pair].item() - math.sin(angle)) < 1e-7


def test_scores_depend_on_the_distance_alone() -> None:
    q, k = drawn(1, 1, 1, 8).expand(1, 20, 1, 8), drawn(1, 1, 1, 8, seed=1).expand(1, 20, 1, 8)
    q, k = rope(q, k, *rope_tables(torch.arange(20), 8, dtype=torch.float64))
    scores = q[0, :, 0] @ k[0, :, 0].T
    for distance in range(20):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert (scores[5, 5] - scores[5, 0]).abs() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    q, k, dyq, dyk = heads(5, 10, dtype)
    inputs = [q.requires_grad_(), k.requires_grad_()]
    cos, sin = rope_tables(torch.arange(5) * 7, 6)
    got = rope(q, k, cos, sin)
    got += torch.autograd.grad(got, inputs, [dyq, dyk])
    wide = rope(q.double(), k.double(), cos.double(), sin.double())
    wide += rope(dyq.double(), dyk.double(), cos.double(), -sin.double())
    for narrow, exact in zip(got, wide, strict=True):
        assert narrow.dtype == dtype
        rounding = 0.5 * torch.finfo(dtype).eps * exact.abs() + torch.finfo(dtype).smallest_normal
        # A sum of two products that cancel has the error of the products.
        assert ((narrow.double() - exact).abs() <= rounding + 1e-6).all()


def test_a_float32_weight_keeps_its_dtype_beside_bfloat16_heads() -> None:
    q, k, *_ = heads(3, 8, torch.bfloat16)
    weight = drawn(8, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        pair = norm_rope(q, k, weight, None, *rope_tables(torch.arange(3), 8))
    (gradient,) = torch.autograd.grad(pair[0].sum(), weight)
    assert (pair[0].dtype, pair[1].dtype, gradient.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )


@pytest.mark.parametrize("eps", [None, EPS])
@pytest.mark.parametrize("has_keys", [True, False])
def test_opcheck(eps: float | None, has_keys: bool) -> None:
    q, k, dyq, dyk = heads(3, 8)
    keys, dkeys = (k, dyk) if has_keys else (None, None)
    q_weight = None if eps is None else drawn(8)
    cos, sin = rope_tables(torch.arange(3), 4)
    tables = (cos, sin, eps, True)
    backward = (q, keys) if eps is not None else (None, None)
    torch.library.opcheck(
        torch.ops.gabc.rope_backward.default,
        (dyq, dkeys, *backward, q_weight, None, *tables),
    )
    wanted = [x if x is None else x.requires_grad_() for x in (q, keys, q_weight)]
    torch.library.opcheck(torch.ops.gabc.rope.default, (*wanted, None, *tables))


def block(q: Tensor, k: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = rope_tables(torch.arange(q.shape[1]), 4)
    return rope(*norm_rope(q, k, weight, None, cos, sin, EPS), cos, sin, interleaved=True)


def test_compiles_whole_and_for_any_length() -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    weight = drawn(8).requires_grad_()
    for length, stance in ((3, "default"), (7, "fail_on_recompile")):
        q, k = drawn(2, length, 6, 8), drawn(2, length, 2, 8, seed=1)
        inputs = [q.requires_grad_(), k.requires_grad_(), weight]
        with torch.compiler.set_stance(stance):
            got = compiled(*inputs)
        assert_same(got, block(*inputs), inputs)


COS = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q: rope(q.long(), q, COS, COS), TypeError, "floating-point heads"),
        (lambda q: rope(q[0], q[0], COS, COS), ValueError, r"\(B, L, H, K\), got \(3, 4, 6\)"),
        (lambda q: rope(q, q[..., :4], COS, COS), ValueError, r"number of heads.*\(2, 3, 4, 4\)"),
        (lambda q: rope(q, q.half(), COS, COS), ValueError, "number of heads at most"),
        (lambda q: rotate(q, COS.long(), COS), TypeError, "floating-point tables.*int64"),
        (lambda q: rotate(q, COS, COS[:2]), ValueError, "tables of one shape"),
        (lambda q: rotate(q, COS[:2], COS[:2]), ValueError, r"\(B, L, R/2\).*cos is \(2, 2\)"),
        (lambda q: rotate(q, COS.repeat(1, 2), COS.repeat(1, 2)), ValueError, "R of the K"),
        (
            lambda q: rotate(q, COS.clone().requires_grad_(), COS),
            ValueError,
            "no gradient with respect to its tables: detach",
        ),
        (lambda q: norm_rope(q, q, COS[0], None, COS, COS), ValueError, "q_weight is"),
        (lambda q: norm_rope(q, q, None, COS[0].long(), COS, COS), TypeError, "k_weight"),
        (lambda q: norm_rope(q, q, None, None, COS, COS, -1.0), ValueError, "eps >= 0"),
        (lambda q: rope_tables(torch.arange(3), 5), ValueError, "must be even, got 5"),
        (lambda q: rope_tables(torch.arange(3), 4, base=0.0), ValueError, "base > 0"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 3, 4, 6))
