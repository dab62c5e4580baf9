"""`linear_attention` with every kind of decay against a loop over its states."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from gabc.codegen.helpers import pasted
from gabc.runtime.functional.linear_attention import linear_attention, linear_attention_state

from .compare import (
    LENGTHS,
    Function,
    LargestTensor,
    assert_as_exact_as_the_loop,
    assert_equal_to_the_loop,
)
from .states import DECAYS, state_arguments, state_loop, with_extreme_gates

KINDS = (None, *DECAYS)


def both(decay: str | None, read_before: bool) -> tuple[Function, Function]:
    """The parallel form with its last state, and the loop."""
    options = {"decay": decay or "head", "read_before": read_before}
    parallel = partial(linear_attention_state, **options)
    if decay is None:
        parallel = partial(parallel, log_decay=None)
    return parallel, partial(state_loop, **options)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int, decay: str | None, read_before: bool) -> None:
    assert_equal_to_the_loop(*both(decay, read_before), state_arguments(length, decay))


@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("length", [1, 64, 65])
def test_without_states(length: int, decay: str | None) -> None:
    """From zero, and with the output alone: the last chunk's state is then not computed."""
    x = state_arguments(length, decay)
    del x["initial"]
    parallel, loop = both(decay, False)
    assert_equal_to_the_loop(parallel, loop, x)
    gate = x.get("log_decay")
    o = linear_attention(x["q"], x["k"], x["v"], gate, decay=decay or "head")
    torch.testing.assert_close(o, loop(**x)[0], rtol=1e-10, atol=1e-10)
    initial = state_arguments(length, decay)["initial"]
    o = linear_attention(x["q"], x["k"], x["v"], gate, decay=decay or "head", initial=initial)
    torch.testing.assert_close(o, loop(**x, initial=initial)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("length", [1, 17, 65, 130])
def test_gates_that_shut_beside_some_that_never_do(
    length: int, decay: str, read_before: bool
) -> None:
    x = state_arguments(length, decay)
    with_extreme_gates(x)
    assert_equal_to_the_loop(*both(decay, read_before), x)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("gate", [0.0, -1e4, -torch.inf])
def test_one_gate_at_every_step(gate: float, decay: str) -> None:
    x = state_arguments(70, decay)
    x["log_decay"] = torch.full_like(x["log_decay"], gate)
    assert_equal_to_the_loop(*both(decay, False), x)


@pytest.mark.parametrize("decay", DECAYS)
def test_growth(decay: str) -> None:
    """States that grow by e^300 and shrink again, several times in a chunk."""
    x = state_arguments(130, decay)
    with_extreme_gates(x, (1.0, -1.5, 0.0, -torch.inf))
    x["log_decay"][:, 3::7], x["log_decay"][:, 5::7] = 300.0, -300.0
    assert_equal_to_the_loop(*both(decay, False), x)


@pytest.mark.parametrize(
    ("decay", "shape"),
    [
        ("head", (2,)),
        ("head", (1, 1, 1)),
        ("head", (37, 2)),
        ("key", (4,)),
        ("key", (2, 37, 1, 4)),
        ("key", (2, 1)),
        ("value", (2, 5)),
        ("value", (1, 37, 1, 1)),
    ],
)
def test_broadcasts(decay: str, shape: tuple[int, ...]) -> None:
    x = state_arguments(37, decay)
    g = torch.Generator().manual_seed(0)
    x["log_decay"] = -torch.rand(shape, dtype=torch.float64, generator=g)
    x["initial"] = x["initial"][:1, :, :, :1].clone()
    assert_equal_to_the_loop(*both(decay, False), x)


@pytest.mark.parametrize("decay", KINDS)
@pytest.mark.parametrize("length", [1, 5])
def test_first_and_second_derivatives(length: int, decay: str | None) -> None:
    x = {name: v[:1] for name, v in state_arguments(length, decay).items()}
    names = list(x)
    parallel, _ = both(decay, False)

    def ordered(*values: Tensor) -> tuple[Tensor, ...]:
        return parallel(**dict(zip(names, values, strict=True)))

    leaves = [v.clone().requires_grad_() for v in x.values()]
    assert torch.autograd.gradcheck(ordered, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(ordered, leaves, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("decay", KINDS)
def test_precision(decay: str | None, dtype: torch.dtype) -> None:
    assert_as_exact_as_the_loop(*both(decay, False), state_arguments(257, decay), dtype)


@pytest.mark.parametrize("decay", KINDS)
def test_no_state_for_each_step(decay: str | None) -> None:
    """At realistic widths nothing is larger than four times the keys, forward and backward."""
    rows, width = (1, 256, 2), 64
    leaves = [torch.randn(*rows, width).requires_grad_() for _ in range(3)]
    gate = None
    if decay is not None:
        gate = -torch.rand(*rows, *(() if decay == "head" else (width,)))
        gate.requires_grad_()
    with LargestTensor() as largest:
        linear_attention(*leaves, gate, decay=decay or "head").sum().backward()
    assert largest.numel <= 4 * leaves[1].numel()


def test_dtypes() -> None:
    x = {name: v.bfloat16() for name, v in state_arguments(20, "key").items()}
    o, S = linear_attention_state(**x, decay="key")
    assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o_in_autocast, S_in_autocast = linear_attention_state(**x, decay="key")
    assert torch.equal(o, o_in_autocast)
    assert torch.equal(S, S_in_autocast)


def test_unknown_decay() -> None:
    x = state_arguments(3, "head")
    with pytest.raises(ValueError, match='"head", "key" or "value", not "heads"'):
        linear_attention(x["q"], x["k"], x["v"], x["log_decay"], decay="heads")


def test_pasted_text_stands_alone() -> None:
    imports, texts = pasted(["linear_attention_state"])
    assert not any("gabc" in line for line in imports)
    scope: dict[str, object] = {}
    text = "\n\n".join(["from __future__ import annotations", *imports, *texts])
    exec(compile(text, "pasted", "exec"), scope)
    alone = scope["linear_attention_state"]
    assert callable(alone)
    x = state_arguments(65, "key")
    assert_equal_to_the_loop(partial(alone, decay="key"), partial(state_loop, decay="key"), x)
