"""The operators of gated activations on a CPU: values, gradients, registration, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from gabc.kernels.gated_activation import gated_activation, packed_gated_activation
from gabc.kernels.gated_activation.op import ACTIVATIONS
from torch import Tensor

# Torch's own functions, differentiated by autograd and not by the code under test.
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu_squared": lambda x: F.relu(x).square(),
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
SHAPES = [(1, 1), (2, 3, 8), (0, 5), (6, 33)]


def drawn(shape: tuple[int, ...], count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + count)
    return [
        (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        for _ in range(count)
    ]


def test_every_activation_has_a_plain_form() -> None:
    assert set(PLAIN) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_product_equals_torch_in_float64(shape: tuple[int, ...], activation: str) -> None:
    gate, up, dy = drawn(shape, 3)
    inputs = [gate.requires_grad_(), up.requires_grad_()]
    y, want = gated_activation(gate, up, activation), PLAIN[activation](gate) * up
    got = [y, *torch.autograd.grad(y, inputs, dy)]
    torch.testing.assert_close(
        got, [want, *torch.autograd.grad(want, inputs, dy)], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gate_first", [True, False])
def test_packed_product_equals_torch_in_float64(activation: str, gate_first: bool) -> None:
    (x,) = drawn((2, 10, 3), 1)
    (dy,) = drawn((2, 3, 5), 1)
    x = x.transpose(1, 2).requires_grad_()
    parts = x.split(5, dim=-1)
    gate, up = parts if gate_first else parts[::-1]
    y, want = packed_gated_activation(x, activation, gate_first), PLAIN[activation](gate) * up
    got = [y, *torch.autograd.grad(y, x, dy)]
    torch.testing.assert_close(
        got, [want, *torch.autograd.grad(want, x, dy)], rtol=1e-12, atol=1e-12
    )


def test_sigmoid_with_the_gate_second_is_glu() -> None:
    (x,) = drawn((4, 6), 1)
    torch.testing.assert_close(packed_gated_activation(x, "sigmoid", False), F.glu(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype, activation: str) -> None:
    gate, up = drawn((5, 100), 2, dtype)
    y = gated_activation(gate, up, activation)
    assert y.dtype == dtype
    want = PLAIN[activation](gate.double()) * up.double()
    # The distribution function of GELU cancels far below 0: the error is relative to the product.
    size = (gate.double() * up.double()).abs() if "gelu" in activation else want.abs()
    rounding = 0.5 * torch.finfo(dtype).eps * want.abs() + torch.finfo(dtype).smallest_normal
    allowed = rounding + 16 * torch.finfo(torch.float32).eps * size
    assert ((y.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_gates_have_finite_gradients_and_nan_stays(activation: str) -> None:
    gate = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    (dgate,) = torch.autograd.grad(gated_activation(gate, torch.ones(5), activation).sum(), gate)
    (want,) = torch.autograd.grad(PLAIN[activation](gate).sum(), gate)
    torch.testing.assert_close(dgate, want)
    assert gated_activation(torch.tensor([torch.nan]), torch.ones(1), activation).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    ops = torch.ops.gabc
    gate, up, dy = (x.transpose(0, 1) for x in drawn((2, 3, 8), 3, dtype))
    torch.library.opcheck(
        ops.gated_activation.default, (gate.requires_grad_(), up.requires_grad_(), "silu")
    )
    gate, up = gate.detach(), up.detach()
    torch.library.opcheck(ops.gated_activation_backward.default, (dy, gate, up, "gelu"))
    for gate_first in (True, False):
        arguments = (gate.requires_grad_(), "relu", gate_first)
        torch.library.opcheck(ops.packed_gated_activation.default, arguments)
        arguments = (dy[..., :4], gate.detach(), "relu", gate_first)
        torch.library.opcheck(ops.packed_gated_activation_backward.default, arguments)


def both(gate: Tensor, up: Tensor) -> Tensor:
    y = gated_activation(gate, up, "gelu_tanh")
    return packed_gated_activation(y, "relu_squared", gate_first=False)


def test_compiles_whole_and_for_any_number_of_rows() -> None:
    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows, stance in ((3, "default"), (11, "fail_on_recompile")):
        inputs = [x.requires_grad_() for x in drawn((rows, 16), 2)]
        (dy,) = drawn((rows, 8), 1)
        with torch.compiler.set_stance(stance):
            y = compiled(*inputs)
        want = both(*inputs)
        got = [y, *torch.autograd.grad(y, inputs, dy)]
        torch.testing.assert_close(got, [want, *torch.autograd.grad(want, inputs, dy)])


def test_autocast_leaves_the_dtype_alone() -> None:
    gate, up = drawn((2, 4), 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert gated_activation(gate, up).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gated_activation(x, x, "swish"), ValueError, "knows silu, .*, not 'swish'"),
        (lambda x: packed_gated_activation(x, "mish"), ValueError, "knows silu, .*, not 'mish'"),
        (lambda x: gated_activation(x.long(), x.long()), TypeError, "floating-point.*int64"),
        (lambda x: gated_activation(x, x[:1]), ValueError, r"one shape.*up is \(1, 8\)"),
        (lambda x: gated_activation(x, x.half()), ValueError, "one shape, dtype and device"),
        (lambda x: gated_activation(x[:, :0], x[:, :0]), ValueError, "at least one element"),
        (lambda x: packed_gated_activation(x[:, :3]), ValueError, r"must be even: x is \(2, 3\)"),
        (lambda x: packed_gated_activation(x[0, 0]), ValueError, "at least one element"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 8))
