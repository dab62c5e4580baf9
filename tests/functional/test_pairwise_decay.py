"""Decays that differ by channel, and the states between chunks, against their definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from gabc.runtime.functional.chunk_states import chunk_states, defined_chunk_states
from gabc.runtime.functional.delta_rule import delta_rule
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.runtime.functional.pairwise_decay import (
    DecayedScores,
    defined_scores_by_key,
    defined_sums_by_value,
    scores_by_key,
    sums_by_value,
)

N, K, V = 3, 5, 4


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def decays(steps: int, width: int) -> Tensor:
    """From 0 to 1.5, with an exact zero, which no quotient of decays survives."""
    x = 1.5 * torch.rand(N, steps, width, dtype=torch.float64)
    x[:, steps // 2, 0] = 0.0
    return x.requires_grad_()


def assert_same(
    form: Callable[..., Sequence[Tensor]],
    definition: Callable[..., Sequence[Tensor]],
    operands: Sequence[Tensor],
) -> None:
    """The same outputs, and the same gradients for random ones of all outputs."""
    found, expected = form(*operands), definition(*operands)
    gradients = [torch.randn_like(x) for x in expected]
    for x, y in zip(
        [*found, *torch.autograd.grad(found, operands, gradients)],
        [*expected, *torch.autograd.grad(expected, operands, gradients)],
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 8, 32])
@pytest.mark.parametrize("reads_before", [(False,), (True,), (True, False), (False, True, False)])
def test_scores_by_key(steps: int, reads_before: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    queries, keys = len(reads_before), 2
    streams = [rand(N, steps, K) for _ in range(queries + keys)]

    def outputs(parts: DecayedScores) -> list[Tensor]:
        return [*(x for row in parts.scores for x in row), *parts.read, *parts.written, parts.total]

    assert_same(
        lambda d, *x: outputs(scores_by_key(x[:queries], x[queries:], d, reads_before)),
        lambda d, *x: outputs(defined_scores_by_key(x[:queries], x[queries:], d, reads_before)),
        [decays(steps, K), *streams],
    )


@pytest.mark.parametrize("steps", [1, 2, 8, 32])
@pytest.mark.parametrize("read_before", [False, True])
def test_sums_by_value(steps: int, read_before: bool) -> None:
    torch.manual_seed(0)
    scores = torch.randn(N, steps, steps, dtype=torch.float64).tril().requires_grad_()
    assert_same(
        lambda *x: sums_by_value(*x, read_before),
        lambda *x: defined_sums_by_value(*x, read_before),
        [scores, rand(N, steps, V), decays(steps, V)],
    )


@pytest.mark.parametrize("kept_width", [1, K])
def test_chunk_states(kept_width: int) -> None:
    torch.manual_seed(0)
    rows, chunks, heads, steps = 2, 4, 3, 8
    lead = (rows, chunks, heads)
    operands = [
        rand(*lead, steps, K),
        rand(*lead, steps, V),
        rand(*lead, kept_width, 1),
        rand(*lead, K, steps),
        rand(*lead, K, V),
        rand(rows, heads, K, V),
    ]

    def by_chunk(*operands: Tensor) -> list[Tensor]:
        """The definition has chunks first."""
        *steps, first = (x.flatten(-4, -3) if x.dim() == 4 else x for x in operands)
        flat = [x.transpose(0, 1).flatten(1, 2) for x in steps]
        parts = defined_chunk_states(*flat, first)
        return [x.unflatten(1, (rows, heads)).transpose(0, 1) for x in parts]  # type: ignore[no-untyped-call]

    assert_same(chunk_states, by_chunk, operands)


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    key = [decays(4, K), rand(N, 4, K), rand(N, 4, K)]
    assert torch.autograd.gradgradcheck(
        lambda d, q, k: scores_by_key((q,), (k,), d, (False,)).scores[0][0], key, fast_mode=True
    )
    value = [rand(N, 4, 4), rand(N, 4, V), decays(4, V)]
    assert torch.autograd.gradgradcheck(
        lambda *x: sums_by_value(*x, False).inside, value, fast_mode=True
    )
    lead = (1, 3, 2)
    states = [
        rand(*lead, 2, K),
        rand(*lead, 2, V),
        rand(*lead, K, 1),
        rand(*lead, K, 2),
        rand(*lead, K, V),
        rand(1, 2, K, V),
    ]
    assert torch.autograd.gradgradcheck(chunk_states, states, fast_mode=True)


@pytest.mark.parametrize("decay", ["head", "key", "none"])
def test_second_derivatives_beside_constants(decay: str) -> None:
    """Operands without gradients, and one tensor in two places."""
    torch.manual_seed(0)
    q, k = (0.5 * torch.randn(1, 5, 1, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    v = torch.randn(1, 5, 1, 2, dtype=torch.float64)
    widths = {"head": (), "key": (3,), "none": ()}[decay]
    g = None if decay == "none" else -torch.rand(1, 5, 1, *widths, dtype=torch.float64)

    def form(q: Tensor, k: Tensor) -> Tensor:
        return delta_rule(q, k, -k, k, v, g, decay="key" if decay == "key" else "head")

    leaves = [x.detach().requires_grad_() for x in (q, k)]
    assert torch.autograd.gradgradcheck(form, leaves)
    value = -torch.rand(1, 5, 1, 2, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(
        lambda q, k: linear_attention(q, k, v, value, decay="value"), leaves
    )
