"""`delta_rule` against a loop over its states, and against the papers' own forms."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from gabc.codegen.helpers import pasted
from gabc.runtime.functional.delta_rule import delta_rule, delta_rule_state

from .compare import (
    LENGTHS,
    Function,
    LargestTensor,
    assert_as_exact_as_the_loop,
    assert_equal_to_the_loop,
)
from .states import state_arguments, state_loop, with_extreme_gates

KINDS = (None, "head", "key")


def both(decay: str | None, read_before: bool) -> tuple[Function, Function]:
    options = {"decay": decay or "head", "read_before": read_before}
    parallel = partial(delta_rule_state, **options)
    if decay is None:
        parallel = partial(parallel, log_decay=None)
    return parallel, partial(state_loop, **options)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int, decay: str | None, read_before: bool) -> None:
    x = state_arguments(length, decay, delta=True)
    assert_equal_to_the_loop(*both(decay, read_before), x)


@pytest.mark.parametrize("length", [1, 64, 65])
def test_from_zero_and_without_a_state(length: int) -> None:
    x = state_arguments(length, "key", delta=True)
    del x["initial"]
    parallel, loop = both("key", False)
    assert_equal_to_the_loop(parallel, loop, x)
    expected = loop(**x)[0]
    torch.testing.assert_close(delta_rule(**x, decay="key"), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", ["head", "key"])
@pytest.mark.parametrize("length", [1, 17, 130])
def test_gates_that_shut_beside_some_that_never_do(
    length: int, decay: str, read_before: bool
) -> None:
    x = state_arguments(length, decay, delta=True)
    with_extreme_gates(x)
    assert_equal_to_the_loop(*both(decay, read_before), x)


@pytest.mark.parametrize("decay", ["head", "key"])
@pytest.mark.parametrize("gate", [0.0, -1e4, -torch.inf, 0.1])
def test_one_gate_at_every_step(gate: float, decay: str) -> None:
    x = state_arguments(70, decay, delta=True)
    x["log_decay"] = torch.full_like(x["log_decay"], gate)
    assert_equal_to_the_loop(*both(decay, False), x)


def test_delta_net() -> None:
    """S_t = S_{t-1} (I - beta k k^T) + beta v k^T, with the transposed state of the paper."""
    x = state_arguments(100, None, delta=True)
    k, beta = x["l"], torch.rand(2, 100, 2, 1, dtype=torch.float64)
    S, expected = torch.zeros(2, 2, 5, 4, dtype=torch.float64), []
    for t in range(100):
        k_t, v_t, b_t = k[:, t].unsqueeze(-1), x["v"][:, t].unsqueeze(-1), beta[:, t].unsqueeze(-1)
        S = S @ (torch.eye(4) - b_t * k_t @ k_t.mT) + b_t * v_t @ k_t.mT
        expected.append((S @ x["q"][:, t].unsqueeze(-1)).squeeze(-1))
    actual = delta_rule(x["q"], k, -beta * k, beta * k, x["v"], None)
    torch.testing.assert_close(actual, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)


def test_gated_delta_net() -> None:
    """The decay comes before the correction, S_t = a S_{t-1} (I - beta k k^T) + beta v k^T."""
    x = state_arguments(100, "head", delta=True)
    k, beta = x["l"], torch.rand(2, 100, 2, 1, dtype=torch.float64)
    a = x["log_decay"].exp().unsqueeze(-1)
    S, expected = torch.zeros(2, 2, 5, 4, dtype=torch.float64), []
    for t in range(100):
        k_t, v_t, b_t = k[:, t].unsqueeze(-1), x["v"][:, t].unsqueeze(-1), beta[:, t].unsqueeze(-1)
        S = a[:, t].unsqueeze(-1) * S @ (torch.eye(4) - b_t * k_t @ k_t.mT) + b_t * v_t @ k_t.mT
        expected.append((S @ x["q"][:, t].unsqueeze(-1)).squeeze(-1))
    actual = delta_rule(x["q"], k, -a * beta * k, beta * k, x["v"], x["log_decay"])
    torch.testing.assert_close(actual, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(2,), (1, 1, 1), (37, 2)])
def test_broadcasts(shape: tuple[int, ...]) -> None:
    x = state_arguments(37, "head", delta=True)
    x["log_decay"] = -torch.rand(shape, dtype=torch.float64)
    x["initial"] = x["initial"][:1, :, :, :1].clone()
    assert_equal_to_the_loop(*both("head", False), x)


@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("length", [1, 5])
def test_derivatives(length: int, decay: str | None) -> None:
    x = {name: v[:1, :, :1] for name, v in state_arguments(length, decay, delta=True).items()}
    x["initial"] = state_arguments(length, decay, delta=True)["initial"][:1, :1]
    names = list(x)
    parallel, _ = both(decay, False)

    def ordered(*values: Tensor) -> tuple[Tensor, ...]:
        return parallel(**dict(zip(names, values, strict=True)))

    leaves = [v.clone().requires_grad_() for v in x.values()]
    assert torch.autograd.gradcheck(ordered, leaves)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("decay", KINDS)
def test_precision(decay: str | None, dtype: torch.dtype) -> None:
    x = state_arguments(257, decay, delta=True)
    assert_as_exact_as_the_loop(*both(decay, False), x, dtype)


@pytest.mark.parametrize("decay", KINDS)
def test_no_state_for_each_step(decay: str | None) -> None:
    """At realistic widths nothing is larger than eight times the keys, forward and backward."""
    rows, width = (1, 256, 2), 64
    q, l, v = (torch.randn(*rows, width).requires_grad_() for _ in range(3))  # noqa: E741
    k = torch.nn.functional.normalize(l, dim=-1)
    gate = None
    if decay is not None:
        gate = -torch.rand(*rows, *(() if decay == "head" else (width,)))
        gate.requires_grad_()
    with LargestTensor() as largest:
        delta_rule(q, k, -0.5 * k, 0.5 * k, v, gate, decay=decay or "head").sum().backward()
    assert largest.numel <= 8 * q.numel()


def test_dtypes() -> None:
    x = {n: v.bfloat16() for n, v in state_arguments(20, "key", delta=True).items()}
    o, S = delta_rule_state(**x, decay="key")
    assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = delta_rule_state(**x, decay="key")
    assert torch.equal(o, again[0])
    assert torch.equal(S, again[1])


def test_unknown_decay() -> None:
    x = state_arguments(3, "head", delta=True)
    with pytest.raises(ValueError, match='"head" or "key", not "value"'):
        delta_rule(**x, decay="value")


def test_pasted_text_stands_alone() -> None:
    imports, texts = pasted(["delta_rule"])
    assert not any("gabc" in line for line in imports)
    scope: dict[str, object] = {}
    text = "\n\n".join(["from __future__ import annotations", *imports, *texts])
    exec(compile(text, "pasted", "exec"), scope)
    alone = scope["delta_rule"]
    assert callable(alone)
    x = state_arguments(65, "key", delta=True)
    expected, _ = state_loop(**x, decay="key")
    torch.testing.assert_close(alone(**x, decay="key"), expected, rtol=1e-10, atol=1e-10)
