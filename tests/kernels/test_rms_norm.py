"""The rms_norm operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from gabc.kernels.dispatch import implementation
from gabc.kernels.rms_norm import add_rms_norm, rms_norm
from torch import Tensor

EPS = 1e-3  # large enough that leaving it out, or putting it outside the root, shows in float64
SHAPES = [(1, 1), (1, 7), (2, 3, 16), (0, 5), (6, 100)]

# The shape of x, and of a weight with heads or without.
GATED = [
    ((3, 7), (7,)),
    ((2, 3, 4, 5), (4, 5)),
    ((4, 5), (4, 5)),
    ((0, 2, 5), (2, 5)),
    ((2, 3), None),
]
GATES = [("silu", False), ("silu", True), ("sigmoid", False), ("sigmoid", True)]
ACTIVATIONS = {
    "silu": lambda z: z / (1.0 + torch.exp(-z)),
    "sigmoid": lambda z: 1.0 / (1.0 + torch.exp(-z)),
}


def plain(x: Tensor, weight: Tensor | None) -> Tensor:
    """The formula, differentiated by autograd and not by the code under test."""
    y = x / (x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + EPS).sqrt()
    return y if weight is None else y * weight


def drawn(shape: tuple[int, ...], count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + count)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)
    ]


def with_gradients(
    outputs: list[Tensor], cotangents: list[Tensor], inputs: list[Tensor]
) -> list[Tensor]:
    gradients = torch.autograd.grad(outputs, inputs, cotangents)
    return [*outputs, *gradients]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm_equals_the_formula_in_float64(shape: tuple[int, ...], weighted: bool) -> None:
    x, dy = drawn(shape, 2)
    weight = drawn(shape[-1:], 1)[0].requires_grad_() if weighted else None
    inputs = [x.requires_grad_()] if weight is None else [x.requires_grad_(), weight]
    got = with_gradients([rms_norm(x, weight, EPS)], [dy], inputs)
    want = with_gradients([plain(x, weight)], [dy], inputs)
    assert all(tensor.dtype == torch.float64 for tensor in got)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("activation", "gate_first"), GATES)
@pytest.mark.parametrize(("shape", "affine"), GATED)
def test_gates_and_weights_of_heads_equal_the_formula_in_float64(
    shape: tuple[int, ...], affine: tuple[int, ...] | None, activation: str, gate_first: bool
) -> None:
    x, gate, dy = (t.requires_grad_() for t in drawn(shape, 3))
    weight = None if affine is None else drawn(affine, 1)[0].requires_grad_()
    inputs = [x, gate] if weight is None else [x, gate, weight]
    y = rms_norm(x, weight, EPS, gate, activation=activation, gate_first=gate_first)
    a = ACTIVATIONS[activation](gate)
    formula = plain(x * a, weight) if gate_first else plain(x, weight) * a
    got, want = with_gradients([y], [dy], inputs), with_gradients([formula], [dy], inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affine", [(16,), (3, 16), None])
@pytest.mark.parametrize("shape", [(2, 3, 16), (0, 3, 16)])
def test_add_rms_norm_equals_the_formula_in_float64(
    shape: tuple[int, ...], affine: tuple[int, ...] | None
) -> None:
    x, residual, dy, dh = drawn(shape, 4)
    weight = None if affine is None else drawn(affine, 1)[0].requires_grad_()
    inputs = [x.requires_grad_(), residual.requires_grad_()]
    inputs += [] if weight is None else [weight]
    got = with_gradients(list(add_rms_norm(x, residual, weight, EPS)), [dy, dh], inputs)
    h = x + residual
    want = with_gradients([plain(h, weight), h], [dy, dh], inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("used", [0, 1])
def test_one_output_of_add_rms_norm_may_go_unused(used: int) -> None:
    x, residual, cotangent = drawn((4, 6), 3)
    inputs = [x.requires_grad_(), residual.requires_grad_()]
    got = torch.autograd.grad(add_rms_norm(x, residual, None, EPS)[used], inputs, cotangent)
    h = x + residual
    want = torch.autograd.grad((plain(h, None), h)[used], inputs, cotangent)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x, residual, gate = drawn((5, 100), 3, dtype)
    weight = drawn((100,), 1, dtype)[0]
    y, h = add_rms_norm(x, residual, weight, EPS)
    assert (y.dtype, h.dtype) == (dtype, dtype)
    assert torch.equal(h, x + residual)
    assert torch.equal(y, rms_norm(h, weight, EPS))
    want = plain(h.double(), weight.double())
    assert is_rounded_once(y, want)
    got = rms_norm(h, weight, EPS, gate)
    assert got.dtype == dtype
    assert is_rounded_once(got, want * ACTIVATIONS["silu"](gate.double()))


def is_rounded_once(got: Tensor, want: Tensor) -> bool:
    """One rounding to nearest is within half a unit in the last place of the exact value, which is
    constant below the normal numbers; the steps before it add a few units of float32."""
    kept = torch.finfo(got.dtype)
    relative = 0.5 * kept.eps + 8 * torch.finfo(torch.float32).eps
    allowed = relative * want.abs().clamp(min=kept.smallest_normal)
    return bool(((got.double() - want).abs() <= allowed).all())


def test_float16_rows_whose_squares_overflow() -> None:
    x = torch.full((2, 8), 6e4, dtype=torch.float16)
    torch.testing.assert_close(rms_norm(x, None), torch.ones_like(x))


@pytest.mark.parametrize("gate_first", [True, False])
def test_extreme_gates_give_their_limits(gate_first: bool) -> None:
    """silu(-1e4) is 0 and silu(1e4) is 1e4, with slopes 0 and 1."""
    x = torch.tensor([[1.0, -2.0]], requires_grad=True)
    gate = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    y = rms_norm(x, None, 0.0, gate, gate_first=gate_first)
    dx, dgate = torch.autograd.grad(y.sum(), (x, gate))
    rms = (5.0 / 2.0) ** 0.5
    if gate_first:  # u = (0, -2e4), of which only the sign is left
        want = ([[0.0, -(2.0**0.5)]], [[0.0, 0.0]], [[0.0, 0.0]])
    else:
        # y = (0, 1e4 n_2), and d n_2 / dx = (e_2 - n_2 n / 2) / rms.
        slopes = [-(-2.0 / rms) * (1.0 / rms) / 2.0 / rms, (1.0 - 4.0 / rms**2 / 2.0) / rms]
        want = ([[0.0, -2e4 / rms]], [[1e4 * slope for slope in slopes]], [[0.0, -2.0 / rms]])
    for got, values in zip((y, dx, dgate), want, strict=True):
        torch.testing.assert_close(got, torch.tensor(values), rtol=1e-5, atol=1e-5)


def test_parameters_keep_their_dtypes_beside_bfloat16_rows() -> None:
    x = drawn((3, 8), 1, torch.bfloat16)[0].requires_grad_()
    weight, gate = (drawn(s, 1, torch.float32)[0].requires_grad_() for s in ((8,), (3, 8)))
    y = rms_norm(x, weight, gate=gate)
    dx, dweight, dgate = torch.autograd.grad(y.sum(), (x, weight, gate))
    assert (y.dtype, dx.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (dweight.dtype, dgate.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    x, weight = drawn((3, 8), 1, dtype)[0], drawn((8,), 1, torch.float32)[0]
    want = rms_norm(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        got = rms_norm(x, weight)
    assert got.dtype == dtype
    assert torch.equal(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("affine", [(8,), (2, 8), None])
def test_opcheck(dtype: torch.dtype, affine: tuple[int, ...] | None) -> None:
    ops = torch.ops.gabc
    # (3, 2, 8), none of it contiguous.
    x, residual, gate, dy, dh = (t.transpose(0, 1) for t in drawn((2, 3, 8), 5, dtype))
    for operand in (x, residual, gate):
        operand.requires_grad_()
    weight = None if affine is None else drawn(affine, 1, dtype)[0].requires_grad_()
    fixed = None if weight is None else weight.detach()
    torch.library.opcheck(ops.rms_norm.default, (x, weight, EPS, None, "silu", False))
    torch.library.opcheck(ops.rms_norm.default, (x, weight, EPS, gate, "silu", True))
    torch.library.opcheck(ops.add_rms_norm.default, (x, residual, weight, EPS))
    rows = (dy, x.detach(), fixed, EPS)
    for rest in ((dh, None, "silu", False), (None, gate.detach(), "sigmoid", False)):
        torch.library.opcheck(ops.rms_norm_backward.default, (*rows, *rest))


def block(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    y, h = add_rms_norm(x, residual, weight, EPS)
    return rms_norm(y, None, EPS, residual, gate_first=True), h


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_number_of_rows(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=backend)
    weight = drawn((16,), 1)[0].requires_grad_()
    for rows, stance in ((3, "default"), (11, "fail_on_recompile")):
        x, residual, dy, dh = drawn((rows, 16), 4)
        inputs = [x.requires_grad_(), residual.requires_grad_(), weight]
        with torch.compiler.set_stance(stance):
            got = with_gradients(list(compiled(*inputs)), [dy, dh], inputs)
        want = with_gradients(list(block(*inputs)), [dy, dh], inputs)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


Call = Callable[[Tensor], object]
BAD: list[tuple[Call, type[Exception], str]] = [
    (lambda x: rms_norm(x, torch.ones(7)), ValueError, r"weight of the shape of the last.*\(7,\)"),
    (lambda x: rms_norm(x, torch.ones(3, 8)), ValueError, r"weight is \(3, 8\)"),
    (lambda x: rms_norm(x[None], torch.ones(1, 2, 8)), ValueError, r"weight is \(1, 2, 8\)"),
    (lambda x: rms_norm(x, torch.ones(8).long()), TypeError, "floating-point weight"),
    (lambda x: rms_norm(x.long(), None), TypeError, "floating-point x"),
    (lambda x: rms_norm(x, None, -1.0), ValueError, "eps >= 0"),
    (lambda x: rms_norm(x, None, float("nan")), ValueError, "eps >= 0"),
    (lambda x: rms_norm(x[:, :0], None), ValueError, "at least one element"),
    (lambda x: rms_norm(x[0, 0], None), ValueError, "at least one element"),
    (lambda x: rms_norm(x, gate=x[:1]), ValueError, r"gate of the shape.*gate is \(1, 8\)"),
    (lambda x: rms_norm(x, gate=x.long()), TypeError, "floating-point gate"),
    (lambda x: rms_norm(x, gate=x, activation="gelu"), ValueError, "'silu' and .*not 'gelu'"),
    (lambda x: rms_norm(x, gate_first=True), ValueError, "gate_first without a gate"),
    (lambda x: add_rms_norm(x, x[:1], None), ValueError, r"one shape.*residual is \(1, 8\)"),
    (lambda x: add_rms_norm(x, x.half(), None), ValueError, "one shape, dtype and device"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments(call: Call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 8))


def test_an_unknown_implementation_is_named() -> None:
    with pytest.raises(ValueError, match="'reference' and 'triton', not 'cuda'"):
        implementation("rms_norm", "cuda")


TRITON_ABSENT = """
import sys
import torch
from gabc.kernels.rms_norm import rms_norm
from gabc.kernels.dispatch import implementation
assert "triton" not in sys.modules
sys.modules["triton"] = None  # an import of it now fails as if it were not installed
assert rms_norm(torch.ones(2, 3), None, 0.0).equal(torch.ones(2, 3))
try:
    implementation("rms_norm", "triton")
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.slow
def test_triton_is_imported_only_on_request_and_its_absence_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRITON_ABSENT],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("which is not installed: pip install 'gabc[gpu]'")
