"""Recurrences in parallel form, and the spreading of initial values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gabc.ops import PRIMITIVES

from .harness import T, check

Q, K, V = T("B L H K"), T("B L H K"), T("B L H V")
NEGATIVE = {"lo": -3.0, "hi": 0.0}
DECAYS = [
    (None, "head"),
    ("H", "head"),
    ("B L H", "head"),
    ("H K", "key"),
    ("B L H K", "key"),
]


def decay_args(shape: str | None, decay: str, initial: str | None) -> dict[str, object]:
    return {
        "log_decay": None if shape is None else T(shape, **NEGATIVE),
        "decay": decay,
        "initial": None if initial is None else T(initial),
    }


@pytest.mark.parametrize("initial", [None, "B H K V", "H K 1"])
@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(("shape", "decay"), [*DECAYS, ("B L H V", "value")])
def test_linear_attention(
    shape: str | None, decay: str, read_before: bool, initial: str | None
) -> None:
    args = {"q": Q, "k": K, "v": V, **decay_args(shape, decay, initial)}
    check("linear_attention", {**args, "read_before": read_before})


@pytest.mark.parametrize("initial", [None, "B H K V"])
@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(("shape", "decay"), DECAYS)
def test_delta_product(
    shape: str | None, decay: str, read_before: bool, initial: str | None
) -> None:
    small = {"lo": -0.5, "hi": 0.5}
    many = {name: T("B L N H K", **small) for name in "lrk"}
    args = {"q": Q, **many, "v": T("B L N H V"), **decay_args(shape, decay, initial)}
    check("delta_product", {**args, "read_before": read_before})


@pytest.mark.parametrize("initial", [None, "B H K V"])
@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(("shape", "decay"), DECAYS)
def test_delta_rule(shape: str | None, decay: str, read_before: bool, initial: str | None) -> None:
    small = T("B L H K", lo=-0.5, hi=0.5)
    args = {"q": Q, "l": small, "r": small, "k": K, "v": V, **decay_args(shape, decay, initial)}
    check("delta_rule", {**args, "read_before": read_before})


@pytest.mark.parametrize("initial", [0.0, 0.5, T("B H K"), T("K")])
@pytest.mark.parametrize("a", [T("B L H K"), T("H K"), T("B L H 1")])
def test_linear_scan(a: T, initial: float | T) -> None:
    check("linear_scan", {"a": a, "b": T("B L H K"), "initial": initial})


@pytest.mark.parametrize("initial", [float("-inf"), 0.5, T("B H")])
def test_max_plus_scan(initial: float | T) -> None:
    check("max_plus_scan", {"f": T("B L H"), "i": T("B L H"), "initial": initial})


@pytest.mark.parametrize("initial", [0.0, 0.5, T("B H"), T("H")])
def test_previous(initial: float | T) -> None:
    check("previous", {"x": T("B L H"), "initial": initial})


@pytest.mark.parametrize(("re", "im"), [(T("B L H"), T("H")), (T("B L H"), 0.5), (0.0, T("H"))])
def test_complex(re: float | T, im: float | T) -> None:
    check("complex", {"re": re, "im": im})


def test_narrow() -> None:
    check("narrow", {"x": T("B L H"), "like": T("B L")})


def test_real() -> None:
    check("real", {"x": T("B L H", "complex"), "like": T("B L H")})


def test_imag() -> None:
    check("imag", {"x": T("B L H", "complex"), "like": T("B L H")})


def test_references_are_the_recurrences() -> None:
    """By hand: two steps of each, in numbers."""

    def of(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64).reshape(1, -1, 1, 1)

    log = torch.tensor([0.5, 0.25], dtype=torch.float64).log().reshape(1, 2, 1)
    args = {"q": of(1, 10), "k": of(2, 3), "v": of(5, 7), "log_decay": log}
    options = {"decay": "head", "read_before": False, "initial": None}
    read = PRIMITIVES["linear_attention"].reference({**args, **options})
    assert read.flatten().tolist() == [10.0, 10 * (0.25 * 10.0 + 21.0)]
    read = PRIMITIVES["linear_attention"].reference({**args, **options, "read_before": True})
    assert read.flatten().tolist() == [0.0, 100.0]
    delta = {**args, **options, "l": of(2, 2), "r": of(1, -0.5)}
    read = PRIMITIVES["delta_rule"].reference(delta)
    # The second step: 0.25 * 10 - 0.5 * (2 * 10) + 21.
    torch.testing.assert_close(read.flatten(), torch.tensor([10.0, 135.0], dtype=torch.float64))


@pytest.mark.parametrize("value", [1.5, T("K"), T("H 1")])
def test_spread(value: float | T) -> None:
    check("spread", {"value": value, "dims": ("H", "K")})
