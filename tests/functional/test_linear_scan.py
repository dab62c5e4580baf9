"""`linear_scan` against a loop over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from gabc.codegen.helpers import pasted
from gabc.runtime.functional.blocked_scan import WIDE_STEP
from gabc.runtime.functional.linear_scan import linear_scan

from .compare import LENGTHS, LargestTensor, assert_as_exact_as_the_loop, assert_equal_to_the_loop


def loop(a: Tensor, b: Tensor, initial: Tensor | float = 0.0) -> tuple[Tensor]:
    a, b = torch.broadcast_tensors(a, b)
    h, states = initial, []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return (torch.stack(states, 1),)


def parallel(a: Tensor, b: Tensor, initial: Tensor | float = 0.0) -> tuple[Tensor]:
    return (linear_scan(a, b, initial),)


def arguments(length: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(length)
    shape = (2, length, 3, 2)
    return {
        "a": torch.randn(shape, dtype=dtype, generator=g),
        "b": torch.randn(shape, dtype=dtype, generator=g),
        "initial": torch.randn(2, 3, 2, dtype=dtype, generator=g),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int, dtype: torch.dtype) -> None:
    assert_equal_to_the_loop(parallel, loop, arguments(length, dtype))


@pytest.mark.parametrize(
    "values", [[0.0], [-1.0, 1.0], [0.0, 1.7, -1.3, 1e-200], [1e-300, 1.0]], ids=str
)
@pytest.mark.parametrize("length", [16, 65, 257])
def test_any_coefficient(length: int, values: list[float]) -> None:
    x = arguments(length)
    g = torch.Generator().manual_seed(0)
    x["a"] = torch.tensor(values, dtype=torch.float64)[
        torch.randint(len(values), x["a"].shape, generator=g)
    ]
    assert_equal_to_the_loop(parallel, loop, x)


def test_no_overflow_that_the_loop_has_not() -> None:
    """Products of a block are infinite, in some also its own sums; every state is finite."""
    x = arguments(257)
    x["a"] = torch.full_like(x["a"], 1e30)
    x["b"], x["initial"] = torch.zeros_like(x["b"]), torch.zeros_like(x["initial"])
    assert torch.equal(linear_scan(**x), x["b"])
    # The state before step 100 is undone by it: from zero, the steps after it overflow.
    x["b"][:, 100], x["b"][:, 101] = 1.0, -1e30
    (expected,) = loop(**x)
    assert torch.isfinite(expected).all()
    assert torch.equal(linear_scan(**x), expected)


def test_steps_wider_than_a_pass_is_worth() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 33, WIDE_STEP + 1, dtype=torch.float64, generator=g) for _ in range(2))
    assert_equal_to_the_loop(parallel, loop, {"a": a, "b": b})


@pytest.mark.parametrize(
    ("a", "b", "initial"),
    [
        ((4,), (2, 37, 4), (4,)),
        ((37, 1), (2, 37, 4), (2, 1)),
        ((2, 37, 1, 4), (1, 37, 3, 1), (1,)),
        ((2, 37, 4), (4,), (1, 4)),
    ],
)
def test_broadcasts(a: tuple[int, ...], b: tuple[int, ...], initial: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    shapes = {"a": a, "b": b, "initial": initial}
    x = {n: torch.randn(s, dtype=torch.float64, generator=g) for n, s in shapes.items()}
    assert_equal_to_the_loop(parallel, loop, x)


def test_a_real_coefficient_of_a_complex_state() -> None:
    x = arguments(65, torch.complex128)
    x["a"] = x["a"].real.clone()
    assert_equal_to_the_loop(parallel, loop, x)
    x["b"], x["a"], x["initial"] = x["a"], x["b"], x["initial"].real.clone()
    assert_equal_to_the_loop(parallel, loop, x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", [1, 2, 9, 19])
def test_first_and_second_derivatives(length: int, dtype: torch.dtype) -> None:
    x = [v[:1, ..., :1, 0].clone().requires_grad_() for v in arguments(length, dtype).values()]
    assert torch.autograd.gradcheck(linear_scan, x)
    assert torch.autograd.gradgradcheck(linear_scan, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_precision(dtype: torch.dtype) -> None:
    x = arguments(257)
    x["a"] = x["a"].tanh()
    assert_as_exact_as_the_loop(parallel, loop, x, dtype)


def test_dtypes() -> None:
    a, b = torch.rand(1, 20, 2).bfloat16(), torch.randn(1, 20, 2)
    assert linear_scan(a, b).dtype == torch.float32
    assert linear_scan(b, a).dtype == torch.bfloat16
    assert linear_scan(b.to(torch.complex64), a).dtype == torch.complex64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear_scan(a, b), linear_scan(a.float(), b))


def test_no_step() -> None:
    assert linear_scan(torch.ones(2, 0, 3), torch.ones(2, 0, 3)).shape == (2, 0, 3)


def test_nothing_larger_than_its_arguments() -> None:
    a, b = (torch.randn(2, 100, 8).requires_grad_() for _ in range(2))
    with LargestTensor() as largest:
        linear_scan(a, b).sum().backward()
    assert largest.numel == b.numel()


def test_pasted_text_stands_alone() -> None:
    """As `gabc compile --standalone` writes it, classes with gradients included."""
    imports, _ = pasted(["linear_scan"])
    assert not any("gabc" in line for line in imports)
    alone = pasted_scan()
    assert_equal_to_the_loop(lambda **x: (alone(**x),), loop, arguments(65))


def test_modules_that_stand_alone_leave_each_other_alone() -> None:
    """Each defines the operators of its scans; torch would free those defined before."""
    operator = torch.ops.gabc.linear_states.default
    alone = pasted_scan()
    assert torch.ops.gabc.linear_states.default is operator
    assert_equal_to_the_loop(lambda **x: (alone(**x),), loop, arguments(65))
    assert_equal_to_the_loop(parallel, loop, arguments(65))


def pasted_scan() -> Callable[..., Tensor]:
    imports, texts = pasted(["linear_scan"])
    scope: dict[str, object] = {}
    text = "\n\n".join(["from __future__ import annotations", *imports, *texts])
    exec(compile(text, "pasted", "exec"), scope)
    return cast("Callable[..., Tensor]", scope["linear_scan"])
