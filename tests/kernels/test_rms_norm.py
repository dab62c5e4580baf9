"""The rms_norm operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from gabc.kernels import add_rms_norm, rms_norm
from gabc.kernels.dispatch import implementation
from torch import Tensor

EPS = 1e-3  # large enough that leaving it out, or putting it outside the root, shows in float64
SHAPES = [(1, 1), (1, 7), (2, 3, 16), (0, 5), (6, 100)]


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


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_add_rms_norm_equals_the_formula_in_float64(shape: tuple[int, ...], weighted: bool) -> None:
    x, residual, dy, dh = drawn(shape, 4)
    weight = drawn(shape[-1:], 1)[0].requires_grad_() if weighted else None
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
    # One rounding to nearest is within half a unit in the last place of the exact value; the steps
    # before it add a few units of float32.
    allowed = 0.5 * torch.finfo(dtype).eps + 8 * torch.finfo(torch.float32).eps
    x, residual = drawn((5, 100), 2, dtype)
    weight = drawn((100,), 1, dtype)[0]
    y, h = add_rms_norm(x, residual, weight, EPS)
    assert (y.dtype, h.dtype) == (dtype, dtype)
    assert torch.equal(h, x + residual)
    assert torch.equal(y, rms_norm(h, weight, EPS))
    want = plain(h.double(), weight.double())
    assert ((y.double() - want).abs() <= allowed * want.abs()).all()


def test_float16_rows_whose_squares_overflow() -> None:
    x = torch.full((2, 8), 6e4, dtype=torch.float16)
    torch.testing.assert_close(rms_norm(x, None), torch.ones_like(x))


def test_a_float32_weight_keeps_its_dtype_beside_bfloat16_rows() -> None:
    x = drawn((3, 8), 1, torch.bfloat16)[0].requires_grad_()
    weight = drawn((8,), 1, torch.float32)[0].requires_grad_()
    y = rms_norm(x, weight)
    dx, dweight = torch.autograd.grad(y.sum(), (x, weight))
    assert (y.dtype, dx.dtype, dweight.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weighted", [True, False])
def test_opcheck(dtype: torch.dtype, weighted: bool) -> None:
    ops = torch.ops.gabc
    x, residual, dy, dh = drawn((2, 3, 8), 4, dtype)
    x, residual = x.transpose(0, 1).requires_grad_(), residual.transpose(0, 1).requires_grad_()
    dy, dh = dy.transpose(0, 1), dh.transpose(0, 1)
    weight = drawn((8,), 1, dtype)[0].requires_grad_() if weighted else None
    fixed = None if weight is None else weight.detach()
    torch.library.opcheck(ops.rms_norm.default, (x, weight, EPS))
    torch.library.opcheck(ops.add_rms_norm.default, (x, residual, weight, EPS))
    for dsum in (dh, None):
        torch.library.opcheck(ops.rms_norm_backward.default, (dy, x.detach(), fixed, EPS, dsum))


def block(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    y, h = add_rms_norm(x, residual, weight, EPS)
    return rms_norm(y, None, EPS), h


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
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


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: rms_norm(x, torch.ones(7)), ValueError, r"one weight per element.*\(7,\)"),
        (
            lambda x: rms_norm(x, torch.ones(8, dtype=torch.int64)),
            TypeError,
            "floating-point weight",
        ),
        (lambda x: rms_norm(x.long(), None), TypeError, "floating-point x"),
        (lambda x: rms_norm(x, None, -1.0), ValueError, "eps >= 0"),
        (lambda x: rms_norm(x, None, float("nan")), ValueError, "eps >= 0"),
        (lambda x: rms_norm(x[:, :0], None), ValueError, "at least one element"),
        (lambda x: rms_norm(x[0, 0], None), ValueError, "at least one element"),
        (lambda x: add_rms_norm(x, x[:1], None), ValueError, r"one shape.*residual is \(1, 8\)"),
        (lambda x: add_rms_norm(x, x.half(), None), ValueError, "one shape, dtype and device"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 8))


def test_an_unknown_implementation_is_named() -> None:
    with pytest.raises(ValueError, match="'reference' and 'triton', not 'cuda'"):
        implementation("rms_norm", "cuda")


TRITON_ABSENT = """
import sys
import torch
from gabc.kernels import rms_norm
from gabc.kernels.dispatch import implementation
assert "triton" not in sys.modules
sys.modules["triton"] = None  # an import of it now fails as if it were not installed
assert rms_norm(torch.ones(2, 3), None, 0.0).equal(torch.ones(2, 3))
try:
    implementation("rms_norm", "triton")
except ModuleNotFoundError as error:
    print(error)
"""


def test_triton_is_imported_only_on_request_and_its_absence_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRITON_ABSENT],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("which is not installed: pip install 'gabc[gpu]'")
