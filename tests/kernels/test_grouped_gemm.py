"""The grouped product on a CPU: values, gradients, registration, compilation, errors, experts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from gabc.kernels.grouped_gemm import grouped_gemm
from torch import Tensor, nn

from gabc.runtime.functional.routing import route

D, F = 5, 4
# Rows of each expert, and rows of none.
COUNTS = [((3,), 0), ((2, 0, 4), 0), ((0, 1, 0), 2), ((0, 0), 3), ((0,), 0)]


def drawn(
    counts: tuple[int, ...], rest: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(counts))
    rows = sum(counts) + rest

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    offsets = torch.tensor([0, *accumulate(counts)])
    x, weight = draw(rows, D).requires_grad_(), draw(len(counts), D, F).requires_grad_()
    return x, weight, offsets, draw(rows, F)


def plain(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Every expert on every row, and a one-hot choice."""
    rows = torch.arange(len(x))
    owns = (rows >= offsets[:-1, None]) & (rows < offsets[1:, None])
    return torch.einsum("td,edf,et->tf", x, weight, owns.to(x.dtype))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(("counts", "rest"), COUNTS)
def test_it_equals_the_dense_choice_in_float64(
    counts: tuple[int, ...], rest: int, dtype: torch.dtype
) -> None:
    x, weight, offsets, dy = drawn(counts, rest)
    got, want = grouped_gemm(x, weight, offsets.to(dtype)), plain(x, weight, offsets)
    dgot, dwant = (torch.autograd.grad(y, (x, weight), dy) for y in (got, want))
    torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=1e-12, atol=1e-12)


def test_rows_of_no_expert_are_not_read() -> None:
    x, weight, offsets, dy = drawn((2, 1), 2)
    with torch.no_grad():
        x[3:], dy[3:] = torch.nan, torch.nan
    y = grouped_gemm(x, weight, offsets)
    dx, dweight = torch.autograd.grad(y, (x, weight), dy)
    assert y[3:].equal(torch.zeros(2, F, dtype=torch.float64))
    assert dx[3:].equal(torch.zeros(2, D, dtype=torch.float64))
    assert dweight.isfinite().all()


@pytest.mark.parametrize("learns", ["x", "weight"])
def test_one_operand_may_be_frozen(learns: str) -> None:
    x, weight, offsets, dy = drawn((2, 0, 4), 0)
    inputs = {"x": x, "weight": weight}
    for name, tensor in inputs.items():
        tensor.requires_grad_(name == learns)
    got, want = grouped_gemm(x, weight, offsets), plain(x, weight, offsets)
    dgot, dwant = (torch.autograd.grad(y, inputs[learns], dy) for y in (got, want))
    torch.testing.assert_close(dgot, dwant, rtol=1e-12, atol=1e-12)


def test_weights_of_linear_layers_and_operands_with_gaps() -> None:
    """The gradient of a transposed weight has the weight's own order in memory."""
    _, _, offsets, _ = drawn((2, 0, 4), 0)
    wide = torch.randn(6, D + 3, dtype=torch.float64)
    stacked = torch.randn(3, F, D, dtype=torch.float64, requires_grad=True)
    x = wide[:, 1 : D + 1].requires_grad_()
    weight = stacked.transpose(1, 2)
    y = grouped_gemm(x, weight, offsets)
    dy = torch.randn(F, 6, dtype=torch.float64).t()
    want = plain(x, weight, offsets)
    got = torch.autograd.grad(y, (x, stacked, weight), dy)
    torch.testing.assert_close(
        got, torch.autograd.grad(want, (x, stacked, weight), dy), rtol=1e-12, atol=1e-12
    )
    assert got[2].stride() == weight.stride()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_float64_rounded_once(dtype: torch.dtype) -> None:
    x, weight, offsets, dy = drawn((20, 0, 30), 0, dtype)
    y = grouped_gemm(x, weight, offsets)
    got = [y, *torch.autograd.grad(y, (x, weight), dy)]
    wide = [tensor.detach().double() for tensor in (x, weight)]
    for tensor in wide:
        tensor.requires_grad_()
    exact = plain(*wide, offsets)
    want = [exact, *torch.autograd.grad(exact, wide, dy.double())]
    # What a sum of products in float32 adds is relative to the size of its terms, here near 1.
    for result, right in zip(got, want, strict=True):
        allowed = 0.5 * torch.finfo(dtype).eps * right.abs() + 3e-6
        assert result.dtype == dtype
        assert ((result.double() - right).abs() <= allowed).all()


def test_autocast_casts_as_for_a_product_and_keeps_the_gradient_of_the_weight() -> None:
    x, weight, offsets, dy = drawn((20, 0, 30), 0, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = grouped_gemm(x, weight, offsets)
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in (x, weight)]
    want = grouped_gemm(*low, offsets)
    assert y.dtype == torch.bfloat16
    assert y.equal(want)
    dx, dweight = torch.autograd.grad(y, (x, weight), dy.bfloat16())
    dwant = torch.autograd.grad(want, low, dy.bfloat16())
    assert (dx.dtype, dweight.dtype) == (torch.float32, torch.float32)
    assert dx.bfloat16().equal(dwant[0])
    assert dweight.bfloat16().equal(dwant[1])
    assert not dweight.equal(dwant[1].float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("is_packed", [True, False])
def test_opcheck(dtype: torch.dtype, is_packed: bool) -> None:
    ops = torch.ops.gabc
    x, weight, offsets, dy = (tensor.detach() for tensor in drawn((2, 0, 4), 1, dtype))
    if not is_packed:
        x, dy = x.t().contiguous().t(), dy.t().contiguous().t()
        weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
    learned = (x.clone().requires_grad_(), weight.clone().requires_grad_())
    torch.library.opcheck(ops.grouped_gemm.default, (*learned, offsets))
    for needs in ((True, True), (False, True), (True, False)):
        torch.library.opcheck(ops.grouped_gemm_backward.default, (dy, x, weight, offsets, *needs))


def gated(x: Tensor, up: Tensor, down: Tensor, offsets: Tensor) -> Tensor:
    return grouped_gemm(torch.relu(grouped_gemm(x, up, offsets)), down, offsets)


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_number_of_rows(backend: str, is_autocast: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(gated, fullgraph=True, dynamic=True, backend=backend)
    dtype = torch.float32 if is_autocast else torch.float64
    for counts, stance in (((4, 0, 2), "default"), ((0, 8, 5), "fail_on_recompile")):
        x, up, offsets, _ = drawn(counts, 0, dtype)
        down = torch.randn(3, F, D, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
            with torch.compiler.set_stance(stance):
                got = compiled(x, up, down, offsets)
            want = gated(x, up, down, offsets)
        dgot, dwant = (
            torch.autograd.grad(y.float().square().sum(), (x, up, down)) for y in (got, want)
        )
        torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
def test_sorted_experts_equal_the_routed_loop(normalise: bool) -> None:
    """Sort by expert, three grouped products, put back: what a sparse gated MLP would call."""
    experts, top, hidden = 4, 2, 6
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, scores = draw(2, 7, D), draw(2, 7, experts)
    gate, up, down = draw(experts, hidden, D), draw(experts, hidden, D), draw(experts, D, hidden)

    def expert(e: int) -> Callable[[Tensor], Tensor]:
        def run(z: Tensor) -> Tensor:
            inner = nn.functional.silu(z @ gate[e].t()) * (z @ up[e].t())
            return inner @ down[e].t()

        return run

    want = route([expert(e) for e in range(experts)], x, scores.softmax(-1), top, normalise)

    weights, chosen = scores.softmax(-1).flatten(0, 1).topk(top)
    if normalise:
        weights = weights / weights.sum(-1, keepdim=True)
    order = chosen.flatten().argsort(stable=True)
    counts = torch.bincount(chosen.flatten(), minlength=experts)
    offsets = nn.functional.pad(counts.cumsum(0), (1, 0))
    rows = x.flatten(0, 1)[order // top]
    inner = nn.functional.silu(grouped_gemm(rows, gate.transpose(1, 2), offsets))
    inner = inner * grouped_gemm(rows, up.transpose(1, 2), offsets)
    y = grouped_gemm(inner, down.transpose(1, 2), offsets) * weights.flatten()[order, None]
    got = torch.zeros(14, D, dtype=torch.float64).index_add(0, order // top, y).view_as(x)

    inputs = (x, scores, gate, up, down)
    dgot, dwant = (torch.autograd.grad(z.square().sum(), inputs) for z in (got, want))
    torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w, o: grouped_gemm(x.long(), w, o), TypeError, "floating-point x and weight"),
        (lambda x, w, o: grouped_gemm(x, w.int(), o), TypeError, "torch.int32"),
        (lambda x, w, o: grouped_gemm(x, w, o.float()), TypeError, "offsets in int32 or int64"),
        (lambda x, w, o: grouped_gemm(x[0], w, o), ValueError, r"x \(T, D\).*x is \(5,\)"),
        (lambda x, w, o: grouped_gemm(x, w.transpose(1, 2), o), ValueError, r"weight is \(2, 4, 5"),
        (lambda x, w, o: grouped_gemm(x, w[..., :0], o), ValueError, "no dim but T being 0"),
        (lambda x, w, o: grouped_gemm(x, w, o[1:]), ValueError, r"E \+ 1 offsets"),
        (lambda x, w, o: grouped_gemm(x, w, o + 1), ValueError, r"from 0 .* got \[1, 3, 6\]"),
        (
            lambda x, w, o: grouped_gemm(x[:3], w, o),
            ValueError,
            r"at most T = 3 .* got \[0, 2, 5\]",
        ),
        (lambda x, w, o: grouped_gemm(x, w, o.flip(0) - o[-1]), ValueError, "never decrease"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor, Tensor, Tensor], object], error: type[Exception], message: str
) -> None:
    x, weight, offsets, _ = drawn((2, 3), 0)
    with pytest.raises(error, match=message):
        call(x, weight, offsets)
