"""The max_plus_scan operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gabc.kernels.max_plus_scan import max_plus_scan
from torch import Tensor

INF = torch.inf
SHAPES = [(1, 1), (2, 1, 3), (2, 7, 3), (3, 5, 2, 4), (0, 3, 2), (2, 0, 3), (2, 3, 0)]


def plain(f: Tensor, i: Tensor, initial: Tensor | float = -INF) -> Tensor:
    """m_t as the largest of all paths' sums, not as a recurrence: without ties, and f finite."""
    shape = torch.broadcast_shapes(f.shape, i.shape)
    f, i = f.expand(shape), i.expand(shape)
    first = torch.as_tensor(initial, dtype=i.dtype).expand(shape[:1] + shape[2:])
    states = []
    for t in range(shape[1]):
        paths = [first + f[:, : t + 1].sum(1)]
        paths += [i[:, s] + f[:, s + 1 : t + 1].sum(1) for s in range(t + 1)]
        states.append(torch.stack(paths).amax(0))
    return torch.stack(states, 1) if states else i.clone()


def looped(f: Tensor, i: Tensor, initial: Tensor) -> Tensor:
    """The recurrence by torch.maximum, whose rule for ties is the one to follow."""
    m, states = initial, []
    for f_t, i_t in zip(f.unbind(1), i.unbind(1), strict=True):
        m = torch.maximum(m + f_t, i_t)
        states.append(m)
    return torch.stack(states, 1)


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(map(sum, shapes)))
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes
    ]


def with_gradients(m: Tensor, dm: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return [m, *torch.autograd.grad(m, inputs, dm)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_largest_of_all_paths(shape: tuple[int, ...]) -> None:
    f, i, initial, dm = drawn(shape, shape, shape[:1] + shape[2:], shape)
    inputs = [x.requires_grad_() for x in (f, i, initial)]
    got = with_gradients(max_plus_scan(*inputs), dm, inputs)
    assert got[0].is_contiguous()
    if shape[1] == 0:
        assert all(not x.count_nonzero() for x in got)
        return
    torch.testing.assert_close(got, with_gradients(plain(*inputs), dm, inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("f_shape", "i_shape", "initial_shape"),
    [
        ((2, 5, 3, 1), (2, 5, 3, 4), (3, 1)),
        ((3, 4), (2, 5, 3, 4), ()),
        ((2, 5, 3), (1, 1, 3), (3,)),
    ],
)
def test_operands_broadcast(
    f_shape: tuple[int, ...], i_shape: tuple[int, ...], initial_shape: tuple[int, ...]
) -> None:
    f, i, initial = drawn(f_shape, i_shape, initial_shape)
    inputs = [x.requires_grad_() for x in (f, i, initial)]
    want = plain(*inputs)
    dm = drawn(tuple(want.shape))[0]
    got = with_gradients(max_plus_scan(*inputs), dm, inputs)
    torch.testing.assert_close(got, with_gradients(want, dm, inputs), rtol=0, atol=1e-12)


def test_ties_and_infinities_follow_torch_maximum() -> None:
    generator = torch.Generator().manual_seed(0)
    f, i = (torch.randint(-2, 1, (4, 12, 50), generator=generator).double() for _ in range(2))
    f[:, 3, :10], i[:, 2:5, 5:20] = -INF, -INF
    initial = i[:, 0].clone()
    initial[0] = -INF
    inputs = [x.requires_grad_() for x in (f, i, initial)]
    dm = drawn((4, 12, 50))[0]
    want = looped(*inputs)
    assert (want[:, 1:] == i[:, 1:])[want[:, :-1] + f[:, 1:] == i[:, 1:]].sum() > 100
    got = with_gradients(max_plus_scan(*inputs), dm, inputs)
    torch.testing.assert_close(got, with_gradients(want, dm, inputs), rtol=0, atol=1e-12)


def test_ties_are_those_before_rounding() -> None:
    # In bfloat16 256 + 1 rounds to 256, which would tie with i.
    f = torch.tensor([[1.0]], dtype=torch.bfloat16).requires_grad_()
    i = torch.tensor([[256.0]], dtype=torch.bfloat16).requires_grad_()
    df, di = torch.autograd.grad(max_plus_scan(f, i, 256.0).sum(), (f, i))
    assert (df.item(), di.item()) == (1.0, 0.0)


def test_nan_spreads_as_in_torch_maximum() -> None:
    i = torch.tensor([[0.0, torch.nan, 1.0]])
    m = max_plus_scan(torch.zeros(1, 3), i)
    assert m[0, 0] == 0.0
    assert m[0, 1:].isnan().all()


def test_steps_of_decoding_continue_a_scan() -> None:
    f, i, initial = drawn((2, 6, 3), (2, 6, 3), (2, 3), dtype=torch.float32)
    whole = max_plus_scan(f, i, initial)
    state, steps = initial, []
    for t in range(6):
        steps.append(max_plus_scan(f[:, t : t + 1], i[:, t : t + 1], state))
        state = steps[-1][:, 0]
    assert torch.equal(torch.cat(steps, 1), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    f, i, initial = drawn((2, 40, 3), (2, 40, 3), (2, 3), dtype=dtype)
    m = max_plus_scan(f, i, initial)
    assert m.dtype == dtype
    want = max_plus_scan(f.double(), i.double(), initial.double())
    allowed = 0.5 * torch.finfo(dtype).eps * want.abs()
    allowed += 8 * torch.finfo(torch.float32).eps * want.abs().max()
    assert ((m.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize(
    ("f", "i", "result"),
    [
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float64, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.int64, torch.float32),
    ],
)
def test_dtypes(f: torch.dtype, i: torch.dtype, result: torch.dtype) -> None:
    """The result has that of i unless it is an integer; each gradient has that of its operand."""
    gates = torch.ones(2, 3, dtype=f).requires_grad_()
    m = max_plus_scan(gates, torch.zeros(2, 3, dtype=i), 0.0)
    assert m.dtype == result
    assert m.tolist() == [[1.0, 2.0, 3.0]] * 2
    (df,) = torch.autograd.grad(m.sum(), gates)
    assert df.dtype == f
    assert df.tolist() == [[3.0, 2.0, 1.0]] * 2


@pytest.mark.slow
def test_gradients_and_their_gradients_equal_differences() -> None:
    inputs = tuple(x.requires_grad_() for x in drawn((2, 4, 2), (2, 4, 2), (2, 2)))
    assert torch.autograd.gradcheck(max_plus_scan, inputs)
    assert torch.autograd.gradgradcheck(max_plus_scan, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    ops = torch.ops.gabc
    f, i, initial, dm = drawn((4, 2, 3), (2, 4, 3), (2, 1), (2, 4, 3), dtype=dtype)
    f, state = f.transpose(0, 1).requires_grad_(), initial.expand(2, 3)
    torch.library.opcheck(ops.max_plus_scan.default, (f, i.requires_grad_(), state, True))
    given = (f.detach(), i.detach(), state, False)
    torch.library.opcheck(ops.max_plus_scan.default, given)
    _, share = ops.max_plus_scan(*given[:3], True)
    torch.library.opcheck(ops.max_plus_scan_backward.default, (dm, share, torch.float32, dtype))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_length(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(max_plus_scan, fullgraph=True, dynamic=True, backend=backend)
    for length, stance in ((3, "default"), (7, "fail_on_recompile")):
        f, i, initial, dm = drawn(
            (2, length, 4, 1), (2, length, 4, 6), (2, 4, 6), (2, length, 4, 6)
        )
        inputs = [x.requires_grad_() for x in (f, i, initial)]
        with torch.compiler.set_stance(stance):
            got = with_gradients(compiled(*inputs), dm, inputs)
        want = with_gradients(plain(*inputs), dm, inputs)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: max_plus_scan(x, x[:, :3]), ValueError, r"f and i that broadcast together"),
        (lambda x: max_plus_scan(x[0, 0], x[0, 0]), ValueError, r"a batch and a time"),
        (lambda x: max_plus_scan(x, x, x[0]), ValueError, r"broadcasts to \(2, 4\)"),
        (lambda x: max_plus_scan(x, x * 1j), TypeError, r"real operands"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 5, 4))
