"""The linear head's cross-entropy on a CPU: values, gradients, chunks, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gabc.kernels.cross_entropy.options import Options
from gabc.kernels.linear_cross_entropy import linear_cross_entropy, reference
from gabc.kernels.linear_cross_entropy.chunks import chunk_size, chunks
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

N, D, V = 7, 5, 11
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.2},
    {"z_loss": 0.3},
    {"softcap": 1.5},
    {"label_smoothing": 0.2, "z_loss": 0.3, "softcap": 1.5, "ignore_index": 4},
]


def plain(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Torch's own product, cap and cross-entropy, differentiated by autograd."""
    x = hidden @ weight.t()
    z = x if softcap is None else softcap * torch.tanh(x / softcap)
    losses = functional.cross_entropy(
        z.flatten(0, -2),
        target.flatten(),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    counted = target.flatten() != ignore_index
    losses = losses + z_loss * z.flatten(0, -2).logsumexp(1).square() * counted
    return losses.sum() / (counted.sum() if reduction == "mean" else 1)


def drawn(rows: int = N, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, D, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(V, D, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(0, V, (rows,), generator=generator)
    target[: rows // 3] = 4
    return hidden.requires_grad_(), weight.requires_grad_(), target


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("rows", "chunk"), [(1, 1), (7, 3), (7, 7), (7, None), (8, 4)])
def test_it_equals_the_two_steps_in_float64(
    rows: int, chunk: int | None, reduction: str, options: dict[str, Any]
) -> None:
    hidden, weight, target = drawn(rows)
    got = linear_cross_entropy(
        hidden, weight, target, reduction=reduction, chunk_rows=chunk, **options
    )
    want = plain(hidden, weight, target, reduction=reduction, **options)
    dgot = torch.autograd.grad(3.0 * got, (hidden, weight))
    dwant = torch.autograd.grad(3.0 * want, (hidden, weight))
    torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=1e-12, atol=1e-12)


def test_leading_axes_and_views() -> None:
    """As training has them: all positions but the last, and a weight that is the embedding's."""
    _, weight, _ = drawn()
    tokens = torch.randint(0, V, (3, 5), generator=torch.Generator().manual_seed(0))
    results = []
    for by in (linear_cross_entropy, plain):
        hidden = functional.embedding(tokens, weight).tanh()[:, :-1]
        loss = by(hidden, weight, tokens[:, 1:])
        results.append([loss, *torch.autograd.grad(loss, weight)])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("learns", ["hidden", "weight", "neither", "no_grad"])
def test_only_wanted_gradients_are_computed(learns: str) -> None:
    class Sizes(TorchDispatchMode):
        """What the operator returned, which autograd does not show."""

        found: list[int]

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func is torch.ops.gabc.linear_cross_entropy.default:
                self.found = [x.numel() for x in result[1:]]
            return result

    hidden, weight, target = drawn()
    want = plain(hidden, weight, target).detach()
    inputs = {"hidden": hidden, "weight": weight}
    for name, x in inputs.items():
        x.requires_grad_(learns in (name, "no_grad"))
    with torch.set_grad_enabled(learns != "no_grad"), Sizes() as sizes:
        got = linear_cross_entropy(hidden, weight, target, chunk_rows=3)
    torch.testing.assert_close(got.detach(), want, rtol=1e-12, atol=1e-12)
    assert sizes.found == [N * D if learns == "hidden" else 0, V * D if learns == "weight" else 0]
    assert got.requires_grad == (learns in inputs)
    if learns in inputs:
        x = inputs[learns]
        dwant = torch.autograd.grad(plain(hidden, weight, target), x)
        torch.testing.assert_close(torch.autograd.grad(got, x), dwant, rtol=1e-12, atol=1e-12)


def test_logits_of_all_rows_never_exist() -> None:
    """Of every tensor that is made on the way, none has more rows of V than a chunk."""

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.elements = max(self.elements, result.numel())
            return result

    hidden, weight, target = (x.detach() for x in drawn(64))
    with Largest() as largest:
        reference.forward(hidden, weight, target, Options(z_loss=0.1), 8, True, True)
    assert largest.elements == max(64 * D, 8 * V)


def test_chunks_cover_the_rows_within_their_budget() -> None:
    for rows in (1, 127, 128, 1024, 4097, 16384, 100_000):
        for vocabulary in (256, 32_000, 256_000):
            size = chunk_size(rows, vocabulary, 2)
            parts = list(chunks(rows, size))
            assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
            assert parts[-1].stop == rows
            assert size % 128 == 0
            assert size <= max(1024, 2**28 // (2 * vocabulary)) + 127
    assert chunk_size(16384, 32_000, 2) == 4096
    assert chunk_size(0, 32_000, 2) >= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_rounds_what_the_two_steps_round(dtype: torch.dtype) -> None:
    """The logits, their gradient and the results; the sums over rows and chunks are wide."""
    hidden, weight, target = drawn(40, dtype)
    got = linear_cross_entropy(hidden, weight, target, reduction="sum", chunk_rows=9)
    dhidden, dweight = torch.autograd.grad(got, (hidden, weight))
    h, w = hidden.detach().double(), weight.detach().double()
    logits = (h @ w.t()).to(dtype).double().requires_grad_()
    want = functional.cross_entropy(logits, target, reduction="sum")
    dlogits = torch.autograd.grad(want, logits)[0].to(dtype).double()
    assert (got.dtype, dhidden.dtype, dweight.dtype) == (torch.float32, dtype, dtype)
    # Where float32 and float64 lie on two sides of a tie, one logit in thousands differs.
    unit, narrow = torch.finfo(dtype).eps, torch.finfo(torch.float32).eps
    assert abs(got.item() - want.item()) <= (0.01 * unit + 8 * narrow) * want.item()
    for gradient, exact in ((dhidden, dlogits @ w), (dweight, dlogits.t() @ h)):
        error = (gradient.double() - exact).abs().square().mean().sqrt()
        assert error <= (0.5 * unit + 2 * narrow) * exact.square().mean().sqrt()


def test_a_float32_weight_beside_bfloat16_rows_gets_a_gradient_that_is_not_rounded() -> None:
    hidden, _, target = drawn(40, torch.bfloat16)
    weight = drawn()[1].detach().float().requires_grad_()
    dweight = torch.autograd.grad(linear_cross_entropy(hidden, weight, target), weight)[0]
    assert dweight.dtype == torch.float32
    assert not dweight.equal(dweight.bfloat16().float())
    low = weight.detach().bfloat16().requires_grad_()
    rounded = torch.autograd.grad(linear_cross_entropy(hidden, low, target), low)[0]
    assert rounded.equal(dweight.bfloat16())


@pytest.mark.parametrize("chunk", [3, None])
def test_autocast_casts_as_for_a_product(chunk: int | None) -> None:
    hidden, weight, target = drawn(9, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, target, chunk_rows=chunk)
    low = hidden.bfloat16()
    want = linear_cross_entropy(low, weight, target, chunk_rows=chunk)
    assert loss.equal(want)
    assert not loss.equal(linear_cross_entropy(hidden, weight, target))
    got = torch.autograd.grad(loss, (hidden, weight))
    assert all(
        a.equal(b) for a, b in zip(got, torch.autograd.grad(want, (hidden, weight)), strict=True)
    )


def test_no_rows() -> None:
    hidden, weight, target = drawn(0)
    total = linear_cross_entropy(hidden, weight, target, reduction="sum")
    dhidden, dweight = torch.autograd.grad(total, (hidden, weight))
    assert total.item() == 0.0
    assert dhidden.shape == (0, D)
    assert dweight.equal(torch.zeros(V, D, dtype=torch.float64))
    assert linear_cross_entropy(hidden, weight, target).isnan()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("needs", [(True, True), (False, True)])
def test_opcheck(dtype: torch.dtype, needs: tuple[bool, bool]) -> None:
    ops = torch.ops.gabc
    hidden, weight, target = drawn(N, dtype)
    hidden, weight = hidden.detach().requires_grad_(needs[0]), weight.detach().requires_grad_()
    arguments = (target, 4, 0.1, 0.2, 2.0, 3, *needs)
    torch.library.opcheck(ops.linear_cross_entropy.default, (hidden, weight, *arguments))
    total, *gradients = ops.linear_cross_entropy(hidden.detach(), weight.detach(), *arguments)
    torch.library.opcheck(
        ops.linear_cross_entropy_backward.default, (total, *gradients, torch.float32)
    )


def head(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return linear_cross_entropy(hidden.tanh(), weight, target, ignore_index=4, z_loss=0.1)


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_number_of_rows(backend: str, is_autocast: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, dynamic=True, backend=backend)
    dtype = torch.float32 if is_autocast else torch.float64
    for rows, stance in ((3, "default"), (11, "fail_on_recompile")):
        hidden, weight, target = drawn(rows, dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
            with torch.compiler.set_stance(stance):
                got = compiled(hidden, weight, target)
            want = head(hidden, weight, target)
        dgot, dwant = (torch.autograd.grad(loss, (hidden, weight)) for loss in (got, want))
        allowed = 1e-6 if is_autocast else 1e-12
        torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=allowed, atol=allowed)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda h, w, t: linear_cross_entropy(h.long(), w, t), TypeError, "floating-point hidden"),
        (lambda h, w, t: linear_cross_entropy(h, w.int(), t), TypeError, "torch.int32"),
        (lambda h, w, t: linear_cross_entropy(h, w, t.float()), TypeError, "integer targets"),
        (lambda h, w, t: linear_cross_entropy(h, w.t(), t), ValueError, r"weight \(V, D\) for"),
        (lambda h, w, t: linear_cross_entropy(h, w[:0], t), ValueError, r"weight is \(0, 5\)"),
        (lambda h, w, t: linear_cross_entropy(h, w, t[1:]), ValueError, "one target per row"),
        (
            lambda h, w, t: linear_cross_entropy(h, w, t, reduction="none"),
            ValueError,
            "for losses of rows use cross_entropy",
        ),
        (
            lambda h, w, t: linear_cross_entropy(h, w, t, chunk_rows=0),
            ValueError,
            "chunk_rows >= 1",
        ),
        (lambda h, w, t: linear_cross_entropy(h, w, t, z_loss=-1.0), ValueError, "z_loss >= 0"),
        (lambda h, w, t: linear_cross_entropy(h, w, t + V), IndexError, "targets of 0 to 10"),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor, Tensor, Tensor], object], error: type[Exception], message: str
) -> None:
    hidden, weight, target = drawn()
    with pytest.raises(error, match=message):
        call(hidden, weight, target)
