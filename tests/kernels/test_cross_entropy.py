"""The cross-entropy operators on a CPU: values, gradients, registration, compilation, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gabc.kernels.cross_entropy import cross_entropy, reference
from gabc.kernels.cross_entropy.options import Options
from torch import Tensor
from torch.nn import functional

V = 9
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.2},
    {"z_loss": 0.3},
    {"softcap": 1.5},
    {"label_smoothing": 0.2, "z_loss": 0.3, "softcap": 1.5, "ignore_index": 4},
]


def formula(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> list[Tensor]:
    """The losses of the rows that count, each from the probabilities of its classes."""
    losses = []
    for row, label in zip(logits, target.tolist(), strict=True):
        if label == ignore_index:
            continue
        z = row if softcap is None else softcap * (2 * torch.sigmoid(2 * row / softcap) - 1)
        whole = z.exp().sum()
        wanted = torch.full_like(z, label_smoothing / len(z))
        wanted[label] += 1 - label_smoothing
        losses.append(-(wanted * (z.exp() / whole).log()).sum() + z_loss * whole.log() ** 2)
    return losses


def drawn(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    logits = 2.0 * torch.randn(rows, V, generator=generator, dtype=torch.float64)
    target = torch.randint(0, V, (rows,), generator=generator)
    target[: rows // 3] = 4
    return logits.to(dtype).requires_grad_(), target


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", [1, 7])
def test_it_equals_the_formula_in_float64(
    rows: int, reduction: str, options: dict[str, Any], overwrite: bool
) -> None:
    logits, target = drawn(rows)
    losses = torch.stack(formula(logits, target, **options))
    want = losses.mean() if reduction == "mean" else losses.sum()
    dwant = torch.autograd.grad(want, logits)[0]
    memory = logits * 1.0  # a tensor that is not a leaf, as the product with the head is
    got = cross_entropy(memory, target, reduction=reduction, overwrite_logits=overwrite, **options)
    dgot = torch.autograd.grad(got, logits)[0]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dgot, dwant, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(memory, dwant if overwrite else logits, rtol=1e-12, atol=1e-12)


def test_losses_of_rows_keep_the_shape_of_the_targets_and_ignored_rows_have_none() -> None:
    logits, target = drawn(6)
    target[1], target[3] = -100, 8
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    got = cross_entropy(logits.view(2, 3, V), target.view(2, 3), reduction="none", z_loss=0.1)
    losses = formula(logits, target, z_loss=0.1)
    losses.insert(1, logits.new_zeros(()))
    want = torch.stack(losses)
    torch.testing.assert_close(got, want.view(2, 3), rtol=1e-12, atol=1e-12)
    dgot = torch.autograd.grad((got.flatten() * weights).sum(), logits)[0]
    dwant = torch.autograd.grad((want * weights).sum(), logits)[0]
    torch.testing.assert_close(dgot, dwant, rtol=1e-12, atol=1e-12)
    assert not dgot[1].any()


def test_the_gradient_of_the_logsumexp_is_counted() -> None:
    logits, target = drawn(5)
    losses, lse = torch.ops.gabc.cross_entropy(logits, target, 4, 0.1, 0.2, 2.0, False)
    dgot = torch.autograd.grad((lse**2).sum() + losses.sum(), logits)[0]
    z = 2.0 * torch.tanh(logits / 2.0)
    losses = formula(logits, target, 4, 0.1, 0.2, 2.0)
    want = z.exp().sum(1).log().square().sum() + torch.stack(losses).sum()
    torch.testing.assert_close(dgot, torch.autograd.grad(want, logits)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mean_and_classes_of_no_probability_are_those_of_torch(smoothing: float) -> None:
    """Impossible classes make a smoothed loss infinite; without targets the mean is NaN."""
    logits, target = drawn(7)
    with torch.no_grad():
        logits[5, (target[5] + 1) % V] = -torch.inf
    for labels in (target, torch.full_like(target, -100)):
        got = cross_entropy(logits, labels, label_smoothing=smoothing)
        want = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12, equal_nan=True)
        if not smoothing:
            dgot, dwant = (torch.autograd.grad(loss, logits)[0] for loss in (got, want))
            torch.testing.assert_close(dgot, dwant, rtol=1e-12, atol=1e-12)


def test_an_ignored_row_of_nan_gives_no_gradient() -> None:
    logits, target = drawn(3)
    with torch.no_grad():
        logits[1] = torch.nan
    target[1] = -100
    got = cross_entropy(logits, target, softcap=2.0, label_smoothing=0.1, z_loss=0.1)
    gradient = torch.autograd.grad(got, logits)[0]
    assert got.isfinite()
    assert gradient.isfinite().all()
    assert not gradient[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    logits, target = drawn(20, dtype)
    got = cross_entropy(logits, target, reduction="sum", z_loss=0.1)
    dgot = torch.autograd.grad(got, logits)[0]
    wide = logits.detach().double().requires_grad_()
    want = torch.stack(formula(wide, target, z_loss=0.1)).sum()
    dwant = torch.autograd.grad(want, wide)[0]
    assert (got.dtype, dgot.dtype) == (torch.float32, dtype)
    assert abs(got.item() - want.item()) <= 16 * torch.finfo(torch.float32).eps * want.item()
    # Half a unit of dtype, and the few units of float32 by which terms that cancel are wrong.
    allowed = 0.5 * torch.finfo(dtype).eps * dwant.abs() + 8 * torch.finfo(torch.float32).eps
    assert ((dgot.double() - dwant).abs() <= allowed).all()


def test_a_wrong_target_is_nan_where_no_error_can_be_raised() -> None:
    """As on a GPU; on a CPU the operator looks first."""
    logits, target = drawn(3)
    target[1] = V
    loss, lse = reference.forward(logits, target, Options())
    assert loss.isnan().tolist() == lse.isnan().tolist() == [False, True, False]
    gradient = reference.backward(torch.ones(3), None, logits, target, lse, Options(), False)
    assert gradient.isnan().any(1).tolist() == [False, True, False]
    with pytest.raises(IndexError, match=r"targets of 0 to 8, or -100 .* got 9"):
        cross_entropy(logits, target)


def test_no_rows() -> None:
    logits, target = drawn(0)
    total = cross_entropy(logits, target, reduction="sum")
    assert total.item() == 0.0
    assert torch.autograd.grad(total, logits)[0].shape == (0, V)
    assert cross_entropy(logits, target, reduction="none").shape == (0,)
    assert cross_entropy(logits, target).isnan()


def test_overwritten_logits_have_one_backward() -> None:
    logits, target = drawn(4)
    loss = cross_entropy(logits * 1.0, target, overwrite_logits=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_opcheck(dtype: torch.dtype, softcap: float | None) -> None:
    ops, options = torch.ops.gabc, (4, 0.1, 0.2, softcap)
    target = drawn(5)[1]
    logits = torch.randn(V, 5, dtype=dtype).t().requires_grad_()
    torch.library.opcheck(ops.cross_entropy.default, (logits, target, *options, False))
    loss, lse = ops.cross_entropy(logits.detach(), target, *options, False)
    backward = (torch.ones_like(loss), torch.ones_like(lse), logits.detach(), target, lse, *options)
    torch.library.opcheck(ops.cross_entropy_backward.default, backward)
    torch.library.opcheck(ops.cross_entropy_backward_.default, backward)


def head(x: Tensor, weight: Tensor, target: Tensor, overwrite: bool) -> Tensor:
    return cross_entropy(
        x @ weight, target, ignore_index=4, z_loss=0.1, softcap=3.0, overwrite_logits=overwrite
    )


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_whole_and_for_any_number_of_rows(backend: str, overwrite: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, dynamic=True, backend=backend)
    weight = torch.randn(6, V, dtype=torch.float64, requires_grad=True)
    for rows, stance in ((3, "default"), (11, "fail_on_recompile")):
        x = torch.randn(rows, 6, dtype=torch.float64, requires_grad=True)
        target = drawn(rows)[1]
        with torch.compiler.set_stance(stance):
            got = compiled(x, weight, target, overwrite)
            dgot = torch.autograd.grad(got, (x, weight))
        want = head(x, weight, target, False)
        dwant = torch.autograd.grad(want, (x, weight))
        torch.testing.assert_close([got, *dgot], [want, *dwant], rtol=1e-12, atol=1e-12)


def test_autocast_changes_nothing() -> None:
    logits, target = drawn(6, torch.bfloat16)
    plain = cross_entropy(logits, target)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(logits, target)
    assert loss.dtype == torch.float32
    assert loss.equal(plain)
    assert torch.autograd.grad(loss, logits)[0].equal(torch.autograd.grad(plain, logits)[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, t: cross_entropy(x.long(), t), TypeError, "floating-point logits"),
        (lambda x, t: cross_entropy(x, t.float()), TypeError, "integer targets"),
        (lambda x, t: cross_entropy(x, t > 0), TypeError, "integer targets"),
        (lambda x, t: cross_entropy(x, t[:1]), ValueError, r"one target per row.*target is \(1,\)"),
        (lambda x, t: cross_entropy(x[:, :0], t), ValueError, r"a last dim of logits.*\(3, 0\)"),
        (lambda x, t: cross_entropy(x, t, reduction="max"), ValueError, "'none', not 'max'"),
        (lambda x, t: cross_entropy(x, t, label_smoothing=1.5), ValueError, "label_smoothing <= 1"),
        (lambda x, t: cross_entropy(x, t, z_loss=-1.0), ValueError, "z_loss >= 0, got -1"),
        (lambda x, t: cross_entropy(x, t, softcap=0.0), ValueError, "softcap > 0, or None"),
        (lambda x, t: cross_entropy(x, t - 1), IndexError, "targets of 0 to 8"),
        (
            lambda x, t: cross_entropy(torch.ones(9, 3).t(), t, overwrite_logits=True),
            ValueError,
            r"adjacent in memory, got strides \(1, 3\)",
        ),
    ],
)
def test_bad_arguments(
    call: Callable[[Tensor, Tensor], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(3, V), torch.tensor([0, 1, 2]))
