"""`max_plus_scan` against a loop over time, ties and infinities included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gabc.runtime.functional.max_plus import max_plus_scan

from .compare import LENGTHS, LargestTensor, assert_as_exact_as_the_loop, assert_equal_to_the_loop

INF = torch.inf


def loop(f: Tensor, i: Tensor, initial: Tensor | float = -INF) -> tuple[Tensor]:
    f, i = torch.broadcast_tensors(f, i)
    m, states = torch.as_tensor(initial, dtype=i.dtype), []
    for t in range(i.shape[1]):
        m = torch.maximum(m + f[:, t], i[:, t])
        states.append(m)
    return (torch.stack(states, 1),)


def parallel(f: Tensor, i: Tensor, initial: Tensor | float = -INF) -> tuple[Tensor]:
    return (max_plus_scan(f, i, initial),)


def arguments(length: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(length)
    return {
        "f": torch.randn(2, length, 3, 2, dtype=torch.float64, generator=g),
        "i": torch.randn(2, length, 3, 2, dtype=torch.float64, generator=g),
        "initial": torch.randn(2, 3, 2, dtype=torch.float64, generator=g),
    }


@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int) -> None:
    assert_equal_to_the_loop(parallel, loop, arguments(length))


@pytest.mark.parametrize("length", [1, 2, 65, 257])
def test_ties_are_shared_as_by_a_maximum(length: int) -> None:
    """Small whole numbers: a good part of the maxima is of two equal values."""
    x = {name: value.round() for name, value in arguments(length).items()}
    assert_equal_to_the_loop(parallel, loop, x)


@pytest.mark.parametrize("length", [1, 17, 100])
def test_infinities(length: int) -> None:
    x = arguments(length)
    g = torch.Generator().manual_seed(0)
    for name, value in x.items():
        x[name] = value.masked_fill(torch.rand(value.shape, generator=g) < 0.4, -INF)
    assert_equal_to_the_loop(parallel, loop, x)
    x["i"], x["initial"] = torch.full_like(x["i"], -INF), torch.full_like(x["initial"], -INF)
    assert_equal_to_the_loop(parallel, loop, x)


def test_starts_below_everything() -> None:
    x = arguments(40)
    del x["initial"]
    assert_equal_to_the_loop(parallel, loop, x)


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_long_falls(scale: float) -> None:
    x = arguments(257)
    x["f"] = -x["f"].abs() * scale
    assert_equal_to_the_loop(parallel, loop, x)


@pytest.mark.parametrize(
    ("f", "i", "initial"), [((4,), (2, 37, 4), (4,)), ((37, 1), (2, 37, 4), (2, 1))]
)
def test_broadcasts(f: tuple[int, ...], i: tuple[int, ...], initial: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    shapes = {"f": f, "i": i, "initial": initial}
    x = {n: torch.randn(s, dtype=torch.float64, generator=g) for n, s in shapes.items()}
    assert_equal_to_the_loop(parallel, loop, x)


@pytest.mark.parametrize("length", [1, 2, 19])
def test_first_and_second_derivatives(length: int) -> None:
    x = [v[:1, ..., :1, 0].clone().requires_grad_() for v in arguments(length).values()]
    assert torch.autograd.gradcheck(max_plus_scan, x)
    assert torch.autograd.gradgradcheck(max_plus_scan, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_precision(dtype: torch.dtype) -> None:
    x = arguments(257)
    x["f"] = -x["f"].abs()
    assert_as_exact_as_the_loop(parallel, loop, x, dtype)


def test_nothing_larger_than_its_arguments() -> None:
    f, i = (torch.randn(2, 100, 8).requires_grad_() for _ in range(2))
    with LargestTensor() as largest:
        max_plus_scan(f, i).sum().backward()
    assert largest.numel == i.numel()
