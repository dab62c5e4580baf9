"""`delta_product` against a loop over tokens and updates, and against the product of matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from gabc.codegen.helpers import pasted
from gabc.runtime.functional.delta_product import delta_product, delta_product_state

from .compare import LENGTHS, Function, assert_as_exact_as_the_loop, assert_equal_to_the_loop
from .states import HEADS, KEYS, VALUES, state_arguments, with_extreme_gates

KINDS = (None, "head", "key")


def arguments(length: int, updates: int, decay: str | None) -> dict[str, Tensor]:
    """One set of vectors for every update; one query and one decay for every token."""
    many = state_arguments(length * updates, None, delta=True)
    x = state_arguments(length, decay)
    for name in "lrkv":
        x[name] = many[name].unflatten(1, (length, updates))
    return x


def product_loop(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S = exp(g) S, then S = S + r (l^T S) + k v^T; the first l reads S before it decays."""
    shape = (*q[:, 0].shape, v.shape[-1])
    S = torch.zeros(shape, dtype=v.dtype) if initial is None else initial.expand(shape)
    outputs = []
    for t in range(q.shape[1]):
        before = S
        for j in range(k.shape[2]):
            kept = S
            if j == 0 and log_decay is not None:
                g = log_decay.expand(*q.shape[:3], *q.shape[3 : 3 + (decay == "key")])[:, t]
                kept = g.exp()[(..., *[None] * (4 - g.dim()))] * S
            old = torch.einsum("bhk,bhkv->bhv", l[:, t, j], S)
            S = kept + torch.einsum("bhk,bhv->bhkv", r[:, t, j], old)
            S = S + torch.einsum("bhk,bhv->bhkv", k[:, t, j], v[:, t, j])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], before if read_before else S))
    return torch.stack(outputs, 1), S


def both(decay: str | None, read_before: bool) -> tuple[Function, Function]:
    options = {"decay": decay or "head", "read_before": read_before}
    parallel = partial(delta_product_state, **options)
    if decay is None:
        parallel = partial(parallel, log_decay=None)
    return parallel, partial(product_loop, **options)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("updates", [1, 2, 3])
@pytest.mark.parametrize("length", LENGTHS[:-1])
def test_equals_the_loop(length: int, updates: int, decay: str | None, read_before: bool) -> None:
    assert_equal_to_the_loop(*both(decay, read_before), arguments(length, updates, decay))


@pytest.mark.parametrize("length", [1, 64, 65])
def test_from_zero_and_without_a_state(length: int) -> None:
    x = arguments(length, 2, "key")
    del x["initial"]
    parallel, loop = both("key", False)
    assert_equal_to_the_loop(parallel, loop, x)
    expected = loop(**x)[0]
    torch.testing.assert_close(delta_product(**x, decay="key"), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", ["head", "key"])
@pytest.mark.parametrize("length", [1, 17, 70])
def test_gates_that_shut_beside_some_that_never_do(
    length: int, decay: str, read_before: bool
) -> None:
    x = arguments(length, 3, decay)
    with_extreme_gates(x)
    assert_equal_to_the_loop(*both(decay, read_before), x)


@pytest.mark.parametrize("decay", ["head", "key"])
@pytest.mark.parametrize("gate", [0.0, -1e4, -torch.inf])
def test_one_gate_at_every_step(gate: float, decay: str) -> None:
    x = arguments(40, 2, decay)
    x["log_decay"] = torch.full_like(x["log_decay"], gate)
    assert_equal_to_the_loop(*both(decay, False), x)


@pytest.mark.parametrize("shape", [(HEADS,), (1, 1, 1), (37, HEADS)])
def test_broadcasts(shape: tuple[int, ...]) -> None:
    x = arguments(37, 2, "head")
    x["log_decay"] = -torch.rand(shape, dtype=torch.float64)
    x["initial"] = x["initial"][:1, :, :, :1].clone()
    assert_equal_to_the_loop(*both("head", False), x)


def test_gated_delta_product() -> None:
    """S_t = (prod_j (I - beta_j k_j k_j^T)) (a S_{t-1}) + ..., by matrices, with rates up to 2."""
    length, updates = 50, 3
    x = arguments(length, updates, "head")
    k, a = x["l"], x["log_decay"].exp()
    beta = 2 * torch.rand(2, length, updates, HEADS, 1, dtype=torch.float64)
    S, expected = torch.zeros(2, HEADS, KEYS, VALUES, dtype=torch.float64), []
    for t in range(length):
        S = a[:, t, :, None, None] * S
        for j in range(updates):
            k_j, b_j = k[:, t, j].unsqueeze(-1), beta[:, t, j].unsqueeze(-1)
            S = (torch.eye(KEYS) - b_j * k_j @ k_j.mT) @ S
            S = S + b_j * k_j @ x["v"][:, t, j].unsqueeze(-2)
        expected.append((x["q"][:, t].unsqueeze(-2) @ S).squeeze(-2))
    r = -beta * k
    first = a[:, :, None, :, None] * r[:, :, :1]
    r = torch.cat([first, r[:, :, 1:]], 2)
    actual = delta_product(x["q"], k, r, beta * k, x["v"], x["log_decay"])
    torch.testing.assert_close(actual, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("decay", KINDS)
def test_precision(decay: str | None, dtype: torch.dtype) -> None:
    assert_as_exact_as_the_loop(*both(decay, False), arguments(100, 2, decay), dtype)


def test_dtypes() -> None:
    x = {n: v.bfloat16() for n, v in arguments(20, 2, "key").items()}
    o, S = delta_product_state(**x, decay="key")
    assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = delta_product_state(**x, decay="key")
    assert torch.equal(o, again[0])
    assert torch.equal(S, again[1])


def test_unknown_decay() -> None:
    with pytest.raises(ValueError, match='"head" or "key", not "value"'):
        delta_product(**arguments(3, 2, "head"), decay="value")


def test_pasted_text_stands_alone() -> None:
    imports, texts = pasted(["delta_product"])
    assert not any("gabc" in line for line in imports)
    scope: dict[str, object] = {}
    text = "\n\n".join(["from __future__ import annotations", *imports, *texts])
    exec(compile(text, "pasted", "exec"), scope)
    alone = scope["delta_product"]
    assert callable(alone)
    x = arguments(33, 2, "key")
    expected, _ = product_loop(**x, decay="key")
    torch.testing.assert_close(alone(**x, decay="key"), expected, rtol=1e-10, atol=1e-10)
