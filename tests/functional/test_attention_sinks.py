"""`attend_with_sinks` against the softmax written out, with every option and its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.attention_edited import attend_explicit
from gabc.runtime.functional.attention_sinks import attend_with_sinks

from .compare import LargestTensor, assert_equal_to_the_loop, outputs_and_gradients

SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3, 3, 3, 1]])

OPTIONS: dict[str, dict[str, object]] = {
    "alone": {},
    "scale": {"scale": 0.3},
    "a small scale": {"scale": 1e-3},
    "a negative scale": {"scale": -0.7},
    "window": {"window": 3},
    "segments": {"segments": SEGMENTS},
    "window and segments": {"window": 2, "segments": SEGMENTS},
}


def arguments(
    length: int = 9, heads: int = 4, groups: int = 2, width: int = 3, values: int = 5
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = {
        "q": (2, length, heads, width),
        "k": (2, length, groups, width),
        "v": (2, length, groups, values),
        "sinks": (heads,),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def fused(**given: object) -> tuple[Tensor, ...]:
    return (attend_with_sinks(**given),)  # type: ignore[arg-type]


def explicit(**given: object) -> tuple[Tensor, ...]:
    return (attend_explicit(**given),)  # type: ignore[arg-type]


def assert_equal(x: Mapping[str, Tensor], **options: object) -> None:
    assert_equal_to_the_loop(partial(fused, **options), partial(explicit, **options), x, 1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_equals_the_softmax_written_out(name: str) -> None:
    assert_equal(arguments(), **OPTIONS[name])


@pytest.mark.parametrize("length", [1, 2, 33])
@pytest.mark.parametrize(("groups", "width", "values"), [(1, 6, 6), (4, 8, 8), (2, 5, 3)])
def test_shapes(length: int, groups: int, width: int, values: int) -> None:
    assert_equal(arguments(length, 4, groups, width, values))


@pytest.mark.parametrize("shape", [(2, 4, 9, 9), (4, 9, 9), (4, 1, 9), (9, 9), (2, 1, 9, 9), (9,)])
def test_learned_bias(shape: tuple[int, ...]) -> None:
    x = arguments()
    x["bias"] = torch.randn(shape, dtype=torch.float64)
    assert_equal(x, window=5)


def test_rows_without_a_key() -> None:
    """All of their weight is on the sink."""
    keep = torch.ones(9, 9, dtype=torch.bool)
    keep[3] = keep[7] = False
    x = arguments()
    y = attend_with_sinks(**x, keep=keep)
    assert (y[:, [3, 7]] == 0).all()
    written = partial(explicit, keep=lambda b, h, i, j: keep)
    assert_equal_to_the_loop(partial(fused, keep=keep), written, x, 1e-12)


def test_sinks_that_take_all_or_nothing() -> None:
    x = arguments()
    x["sinks"] = torch.tensor([-torch.inf, -1e30, 1e30, torch.inf], dtype=torch.float64)
    y = attend_with_sinks(**x)
    plain = attend_explicit(x["q"], x["k"], x["v"])
    torch.testing.assert_close(y[:, :, :2], plain[:, :, :2])
    assert (y[:, :, 2:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_precision(dtype: torch.dtype) -> None:
    """Sinks are not rounded to the dtype of the queries, in which these would lose digits."""
    x = arguments(64, width=16, values=16)
    x["sinks"] = 3 + x["sinks"]
    q, k, v = (x[name].to(dtype) for name in "qkv")
    exact = attend_explicit(q.double(), k.double(), v.double(), sinks=x["sinks"])
    error = attend_with_sinks(q, k, v, x["sinks"].float()).double() - exact
    plain = attend_explicit(q, k, v, sinks=x["sinks"].float()).double() - exact
    assert error.square().mean() <= (1.5**2) * plain.square().mean()


def test_gradients_in_bfloat16() -> None:
    """At most twice the error of the scores written out in bfloat16."""
    x = arguments(256, width=32, values=32)
    narrow = {name: leaf.bfloat16() for name, leaf in x.items()} | {"sinks": x["sinks"].float()}
    _, exact = outputs_and_gradients(explicit, {n: leaf.double() for n, leaf in narrow.items()})
    _, ours = outputs_and_gradients(fused, narrow)
    _, plain = outputs_and_gradients(explicit, narrow)
    for name, gradient in exact.items():
        error, usual = (g[name].double() - gradient for g in (ours, plain))
        assert error.square().mean() <= 4 * usual.square().mean(), name


def test_nothing_as_large_as_the_scores() -> None:
    x = {name: leaf.float() for name, leaf in arguments(256, 4, 2, 16, 16).items()}
    leaves = {name: leaf.requires_grad_() for name, leaf in x.items()}
    with LargestTensor() as largest:
        attend_with_sinks(**leaves).sum().backward()
    assert largest.numel <= 2 * 257 * 4 * 24  # the queries, two features wider and filled up to 24
    with LargestTensor() as largest:
        attend_with_sinks(**leaves, window=50).sum().backward()
    assert largest.numel <= 257 * 257  # the mask


def test_under_autocast() -> None:
    x = {name: leaf.float() for name, leaf in arguments(20).items()}
    bias = F.pad(torch.full((4, 20, 19), 300.25), (0, 1), value=300.0)
    exact = attend_with_sinks(**x, bias=bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_with_sinks(**x, bias=bias)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05)
