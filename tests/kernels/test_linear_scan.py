"""The linear_scan operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gabc.kernels.linear_scan import linear_scan
from torch import Tensor

SHAPES = [(1, 1), (2, 1, 3), (2, 7, 3), (3, 5, 2, 4), (0, 3, 2), (2, 0, 3), (2, 3, 0)]


def plain(a: Tensor, b: Tensor, initial: Tensor | float = 0.0) -> Tensor:
    """h_t as a sum over all earlier steps, not as a recurrence: for few steps and no zero a."""
    shape = torch.broadcast_shapes(a.shape, b.shape)
    a, b = a.expand(shape), b.expand(shape)
    first = torch.as_tensor(initial, dtype=b.dtype).expand(shape[:1] + shape[2:])
    states = []
    for t in range(shape[1]):
        h = first * a[:, : t + 1].prod(1)
        for s in range(t + 1):
            h = h + b[:, s] * a[:, s + 1 : t + 1].prod(1)
        states.append(h)
    return torch.stack(states, 1) if states else b.clone()


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(map(sum, shapes)))
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return [torch.randn(shape, generator=generator, dtype=wide).to(dtype) for shape in shapes]


def with_gradients(h: Tensor, dh: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [h, *torch.autograd.grad(h, inputs, dh)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_sum_over_earlier_steps(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    a, b, initial, dh = drawn(shape, shape, shape[:1] + shape[2:], shape, dtype=dtype)
    inputs = [x.requires_grad_() for x in (a, b, initial)]
    got = with_gradients(linear_scan(*inputs), dh, inputs)
    assert got[0].is_contiguous()
    if shape[1] == 0:
        assert all(not x.count_nonzero() for x in got)
        return
    torch.testing.assert_close(got, with_gradients(plain(*inputs), dh, inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "initial_shape"),
    [
        ((2, 5, 3, 1), (2, 5, 3, 4), (3, 1)),
        ((3, 4), (2, 5, 3, 4), ()),
        ((2, 5, 3), (1, 1, 3), (3,)),
    ],
)
def test_operands_broadcast(
    a_shape: tuple[int, ...], b_shape: tuple[int, ...], initial_shape: tuple[int, ...]
) -> None:
    a, b, initial = drawn(a_shape, b_shape, initial_shape)
    inputs = [x.requires_grad_() for x in (a, b, initial)]
    want = plain(*inputs)
    dh = drawn(tuple(want.shape))[0]
    got = with_gradients(linear_scan(*inputs), dh, inputs)
    torch.testing.assert_close(got, with_gradients(want, dh, inputs), rtol=0, atol=1e-12)


def test_zero_negative_and_large_a() -> None:
    a = torch.tensor([[0.0, -2.0, 1e200, 0.0, 3.0, 1e200, 1e200]], dtype=torch.float64)
    b = torch.tensor([[1.0, 1.0, 0.0, 5.0, -15.0, 0.0, 0.0]], dtype=torch.float64)
    a, b = a.requires_grad_(), b.requires_grad_()
    h = linear_scan(a, b, 7.0)
    # Zero stays zero, though the product of the last two a is infinite.
    assert h.tolist() == [[1.0, -1.0, -1e200, 5.0, 0.0, 0.0, 0.0]]
    da, db = torch.autograd.grad(h[0, 4], (a, b))
    assert da.tolist() == [[0.0, 0.0, 0.0, 3.0 * -1e200, 5.0, 0.0, 0.0]]
    assert db.tolist() == [[0.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0]]


def test_steps_of_decoding_continue_a_scan() -> None:
    a, b, initial = drawn((2, 6, 3), (2, 6, 3), (2, 3), dtype=torch.float32)
    whole = linear_scan(a, b, initial)
    state, steps = initial, []
    for t in range(6):
        steps.append(linear_scan(a[:, t : t + 1], b[:, t : t + 1], state))
        state = steps[-1][:, 0]
    assert torch.equal(torch.cat(steps, 1), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    # One rounding to nearest is within half a unit in the last place; the steps before it add a
    # few units of float32, of the largest number met on the way.
    a, b, initial = drawn((2, 40, 3), (2, 40, 3), (2, 3), dtype=dtype)
    a = a.tanh()
    h = linear_scan(a, b, initial)
    assert h.dtype == dtype
    want = linear_scan(a.double(), b.double(), initial.double())
    allowed = 0.5 * torch.finfo(dtype).eps * want.abs()
    allowed += 8 * torch.finfo(torch.float32).eps * want.abs().max()
    assert ((h.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize(
    ("a", "b", "initial", "result"),
    [
        (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.bfloat16, torch.float32),
        (torch.float64, torch.bfloat16, torch.float32, torch.bfloat16),
        (torch.complex64, torch.float32, torch.float32, torch.complex64),
        (torch.float32, torch.complex64, torch.float32, torch.complex64),
        (torch.float32, torch.int64, torch.float32, torch.float32),
    ],
)
def test_dtypes(a: torch.dtype, b: torch.dtype, initial: torch.dtype, result: torch.dtype) -> None:
    """The result has that of b unless it cannot; each gradient has that of its operand."""
    inputs = [torch.ones(2, 3, dtype=a), torch.ones(2, 3, dtype=b), torch.ones(2, dtype=initial)]
    leaves = [x.requires_grad_() for x in inputs if x.dtype != torch.int64]
    h = linear_scan(*inputs)
    assert h.dtype == result
    torch.testing.assert_close(h.real.double(), torch.tensor([[2.0, 3, 4]] * 2).double())
    gradients = torch.autograd.grad(h.real.sum(), leaves)
    assert [x.dtype for x in gradients] == [x.dtype for x in leaves]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_and_their_gradients_equal_differences(dtype: torch.dtype) -> None:
    a, b, initial = drawn((2, 4, 2), (2, 4, 2), (2, 2), dtype=dtype)
    inputs = tuple(x.requires_grad_() for x in (a, b, initial))
    assert torch.autograd.gradcheck(linear_scan, inputs)
    assert torch.autograd.gradgradcheck(linear_scan, inputs)
    assert torch.autograd.gradgradcheck(lambda b, c: linear_scan(a.detach(), b, c), inputs[1:])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
def test_opcheck(dtype: torch.dtype) -> None:
    ops = torch.ops.gabc
    a, b, initial, dh = drawn((4, 2, 3), (2, 4, 3), (2, 1), (2, 4, 3), dtype=dtype)
    a = a.transpose(0, 1).requires_grad_()
    state = initial.expand(2, 3)
    torch.library.opcheck(ops.linear_scan.default, (a, b.requires_grad_(), state))
    h = linear_scan(a, b, initial).detach()
    for needs_da in (True, False):
        given = (dh, a.detach(), h, state, needs_da)
        torch.library.opcheck(ops.linear_scan_backward.default, given)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_length(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(linear_scan, fullgraph=True, dynamic=True, backend=backend)
    for length, stance in ((3, "default"), (7, "fail_on_recompile")):
        a, b, initial, dh = drawn(
            (2, length, 4, 1), (2, length, 4, 6), (2, 4, 6), (2, length, 4, 6)
        )
        inputs = [x.requires_grad_() for x in (a, b, initial)]
        with torch.compiler.set_stance(stance):
            got = with_gradients(compiled(*inputs), dh, inputs)
        want = with_gradients(plain(*inputs), dh, inputs)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_autocast_changes_nothing() -> None:
    a, b = drawn((2, 9, 3), (2, 9, 3), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        h = linear_scan(a, b)
    assert torch.equal(h, linear_scan(a, b))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: linear_scan(x, x[:, :3]), r"a and b that broadcast.*b is \(2, 3, 4\)"),
        (lambda x: linear_scan(x[0, 0], x[0, 0]), r"a batch and a time"),
        (lambda x: linear_scan(x, x, x[:, :2]), r"broadcasts to \(2, 4\).*initial is \(2, 2, 4\)"),
        (lambda x: linear_scan(x, x, x[0]), r"broadcasts to \(2, 4\).*initial is \(5, 4\)"),
        (lambda x: linear_scan(x, x.to("meta")), r"on one device.*on meta"),
        (lambda x: linear_scan(x, x, x[:, 0].to("meta")), r"on the device of b.*on meta"),
    ],
)
def test_bad_arguments(call: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(2, 5, 4))
