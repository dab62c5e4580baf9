"""The layer_norm operators on a CPU, against torch's own layer norm: values, gradients,
registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from gabc.kernels.layer_norm import add_layer_norm, layer_norm
from torch import Tensor

EPS = 1e-3  # large enough that leaving it out, or putting it outside the root, shows in float64

# The shape of x, and of weight and bias with heads or without.
SHAPES = [
    ((1, 1), (1,)),
    ((1, 7), (7,)),
    ((7,), (7,)),
    ((2, 3, 4, 5), (5,)),
    ((2, 3, 4, 5), (4, 5)),
    ((4, 5), (4, 5)),
    ((0, 2, 5), (2, 5)),
]
PRESENT = [(True, True), (True, False), (False, True), (False, False)]
GATES = [("silu", False), ("silu", True), ("sigmoid", False), ("sigmoid", True)]


def plain(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], eps=EPS)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def drawn(shape: tuple[int, ...], count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + count)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)
    ]


def drawn_affine(shape: tuple[int, ...], present: tuple[bool, bool]) -> list[Tensor | None]:
    weight, bias = (value.requires_grad_() for value in drawn(shape, 2))
    return [weight if present[0] else None, bias if present[1] else None]


def with_gradients(
    outputs: list[Tensor], cotangents: list[Tensor], inputs: list[Tensor | None]
) -> list[Tensor]:
    given = [tensor for tensor in inputs if tensor is not None]
    return [*outputs, *torch.autograd.grad(outputs, given, cotangents)]


@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize(("shape", "affine"), SHAPES)
def test_layer_norm_equals_torch_in_float64(
    shape: tuple[int, ...], affine: tuple[int, ...], present: tuple[bool, bool]
) -> None:
    x, dy = drawn(shape, 2)
    weight, bias = drawn_affine(affine, present)
    inputs = [x.requires_grad_(), weight, bias]
    got = with_gradients([layer_norm(x, weight, bias, EPS)], [dy], inputs)
    want = with_gradients([plain(x, weight, bias)], [dy], inputs)
    assert all(tensor.dtype == torch.float64 for tensor in got)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("activation", "gate_first"), GATES)
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("affine", [(5,), (4, 5)])
def test_gates_equal_the_steps_written_apart(
    affine: tuple[int, ...], present: tuple[bool, bool], activation: str, gate_first: bool
) -> None:
    x, gate, dy = drawn((2, 3, 4, 5), 3)
    weight, bias = drawn_affine(affine, present)
    inputs = [x.requires_grad_(), gate.requires_grad_(), weight, bias]
    y = layer_norm(x, weight, bias, EPS, gate, activation=activation, gate_first=gate_first)
    a = F.silu(gate) if activation == "silu" else torch.sigmoid(gate)
    formula = plain(x * a, weight, bias) if gate_first else plain(x, weight, bias) * a
    got, want = with_gradients([y], [dy], inputs), with_gradients([formula], [dy], inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("affine", [(5,), (3, 5)])
def test_add_layer_norm_equals_torch_in_float64(
    affine: tuple[int, ...], present: tuple[bool, bool]
) -> None:
    x, residual, dy, dh = drawn((2, 3, 5), 4)
    weight, bias = drawn_affine(affine, present)
    inputs = [x.requires_grad_(), residual.requires_grad_(), weight, bias]
    got = with_gradients(list(add_layer_norm(x, residual, weight, bias, EPS)), [dy, dh], inputs)
    h = x + residual
    want = with_gradients([plain(h, weight, bias), h], [dy, dh], inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("used", [0, 1])
def test_one_output_of_add_layer_norm_may_go_unused(used: int) -> None:
    x, residual, cotangent = drawn((4, 6), 3)
    inputs = [x.requires_grad_(), residual.requires_grad_()]
    pair = add_layer_norm(x, residual, None, None, EPS)
    got = torch.autograd.grad(pair[used], inputs, cotangent)
    h = x + residual
    want = torch.autograd.grad((plain(h, None, None), h)[used], inputs, cotangent)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x, residual, gate = drawn((5, 100), 3, dtype)
    weight, bias = drawn((100,), 2, dtype)
    y, h = add_layer_norm(x, residual, weight, bias, EPS)
    assert (y.dtype, h.dtype) == (dtype, dtype)
    assert torch.equal(h, x + residual)
    assert torch.equal(y, layer_norm(h, weight, bias, EPS))
    n, w, b = plain(h.double(), None, None), weight.double(), bias.double()
    terms = n.abs() * w.abs() + b.abs()
    assert is_rounded_once(y, n * w + b, terms)
    a = F.silu(gate.double())
    gated = layer_norm(h, weight, bias, EPS, gate)
    assert gated.dtype == dtype
    assert is_rounded_once(gated, (n * w + b) * a, terms * a.abs())


def is_rounded_once(got: Tensor, want: Tensor, terms: Tensor) -> bool:
    """One rounding to nearest is within half a unit in the last place of the exact value, which is
    constant below the normal numbers; the steps before it add a few units of float32 of the terms
    that the bias may cancel."""
    kept = torch.finfo(got.dtype)
    last = 0.5 * kept.eps * want.abs().clamp(min=kept.smallest_normal)
    before = 8 * torch.finfo(torch.float32).eps * terms
    return bool(((got.double() - want).abs() <= last + before).all())


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    """The variance is that of centred rows, not a difference of means of squares."""
    centred = drawn((3, 64), 1, torch.float32)[0]
    x = 4096.0 + (centred * 64).round() / 64  # exact in float32
    want = F.layer_norm(x.double(), (64,))
    torch.testing.assert_close(layer_norm(x).double(), want, rtol=1e-5, atol=1e-3)


def test_equal_values_give_the_bias() -> None:
    bias = drawn((6,), 1)[0]
    assert torch.equal(layer_norm(torch.full((2, 6), 3.0).double(), bias, bias)[1], bias)


def test_parameters_keep_their_dtypes_beside_bfloat16_rows() -> None:
    x = drawn((3, 8), 1, torch.bfloat16)[0].requires_grad_()
    weight, gate = (drawn(s, 1, torch.float32)[0].requires_grad_() for s in ((8,), (3, 8)))
    bias = drawn((8,), 1, torch.bfloat16)[0].requires_grad_()
    y = layer_norm(x, weight, bias, gate=gate)
    gradients = torch.autograd.grad(y.sum(), (x, weight, bias, gate))
    assert y.dtype == torch.bfloat16
    assert [g.dtype for g in gradients] == [
        torch.bfloat16,
        torch.float32,
        torch.bfloat16,
        torch.float32,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    x, (weight, bias) = drawn((3, 8), 1, dtype)[0], drawn((8,), 2, torch.float32)
    want = layer_norm(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        got = layer_norm(x, weight, bias)
    assert got.dtype == dtype
    assert torch.equal(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("affine", [(8,), (2, 8)])
def test_opcheck(dtype: torch.dtype, affine: tuple[int, ...]) -> None:
    ops = torch.ops.gabc
    # (3, 2, 8), none of it contiguous.
    x, residual, gate, dy, dh = (t.transpose(0, 1) for t in drawn((2, 3, 8), 5, dtype))
    for operand in (x, residual, gate):
        operand.requires_grad_()
    weight, bias = (value.requires_grad_() for value in drawn(affine, 2, dtype))
    torch.library.opcheck(ops.layer_norm.default, (x, weight, bias, EPS, None, "silu", False))
    torch.library.opcheck(ops.layer_norm.default, (x, None, bias, EPS, gate, "silu", True))
    torch.library.opcheck(ops.add_layer_norm.default, (x, residual, weight, None, EPS))
    rows, fixed, gate = x.detach(), (weight.detach(), bias.detach()), gate.detach()
    backward = ops.layer_norm_backward.default
    torch.library.opcheck(backward, (dy, rows, *fixed, EPS, dh, None, "silu", False))
    torch.library.opcheck(backward, (dy, rows, None, fixed[1], EPS, None, gate, "silu", False))


def block(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    y, h = add_layer_norm(x, residual, weight, bias, EPS)
    return layer_norm(y, weight, None, EPS, residual), h


def test_compiles_whole_and_for_any_number_of_rows() -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    weight, bias = (value.requires_grad_() for value in drawn((16,), 2))
    for rows, stance in ((3, "default"), (11, "fail_on_recompile")):
        x, residual, dy, dh = drawn((rows, 16), 4)
        inputs = [x.requires_grad_(), residual.requires_grad_(), weight, bias]
        with torch.compiler.set_stance(stance):
            got = with_gradients(list(compiled(*inputs)), [dy, dh], [*inputs])
        want = with_gradients(list(block(*inputs)), [dy, dh], [*inputs])
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


Call = Callable[[Tensor, Tensor], object]
BAD: list[tuple[Call, type[Exception], str]] = [
    (lambda x, w: layer_norm(x, w[:7]), ValueError, r"weight of the shape of the last.*\(7,\)"),
    (lambda x, w: layer_norm(x, None, w[:7]), ValueError, r"bias of the shape of the last"),
    (lambda x, w: layer_norm(x, w, w.expand(2, 8)), ValueError, "weight and bias of one shape"),
    (lambda x, w: layer_norm(x, w.long()), TypeError, "floating-point weight"),
    (lambda x, w: layer_norm(x, w, w.long()), TypeError, "floating-point bias"),
    (lambda x, w: layer_norm(x.long()), TypeError, "layer_norm needs a floating-point x"),
    (lambda x, w: layer_norm(x, eps=-1.0), ValueError, "eps >= 0"),
    (lambda x, w: layer_norm(x[:, :0]), ValueError, "at least one element"),
    (lambda x, w: layer_norm(x, gate=w), ValueError, r"gate of the shape.*gate is \(8,\)"),
    (lambda x, w: layer_norm(x, gate=x, activation="tanh"), ValueError, "not 'tanh'"),
    (lambda x, w: layer_norm(x, gate_first=True), ValueError, "gate_first without a gate"),
    (lambda x, w: add_layer_norm(x, x[:1], w, w), ValueError, r"add_layer_norm adds.*\(1, 8\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments(call: Call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 8), torch.ones(8))
