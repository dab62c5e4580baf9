"""What the two implementations of the short causal convolution are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors
from . import reference

# (batch, length, channels, taps): one element, sequences shorter than the filter and empty, tiles
# that are not full, several tiles of times and of channels, every kind of filter.
SIZES = (
    (1, 1, 1, 2),
    (2, 2, 5, 4),
    (3, 1, 20, 8),
    (2, 0, 7, 4),
    (1, 40, 33, 4),
    (2, 20, 70, 3),
    (1, 35, 20, 8),
    (2, 20, 33, 1),
)

# SiLU, bias, initial state.
FORMS = (
    (False, False, True),
    (True, True, False),
    (True, True, True),
)


def _drawn(
    batch: int, length: int, channels: int, taps: int, generator: torch.Generator
) -> Tensors:
    """x is cut out of a wider projection, channels of dy are not adjacent, some x are large."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = draw(batch, length, channels + 3)[:, :, :channels]
    x[:, 1::5, 1::3] *= 30.0
    return {
        "x": x,
        "weight": draw(channels, taps),
        "bias": draw(channels),
        "initial": draw(batch, taps - 1, channels),
        "dy": draw(batch, channels, length).transpose(1, 2),
        "dfinal": draw(batch, taps - 1, channels),
    }


def _results(by: ModuleType, given: Tensors, silu: bool, form: tuple[bool, bool, bool]) -> Tensors:
    """All outputs and gradients of one form, named after it."""
    _, has_bias, has_initial = form
    bias = given["bias"] if has_bias else None
    initial = given["initial"] if has_initial else None
    rest = given["x"], given["weight"], bias, initial, silu
    names = ("y", "final", "dx", "dweight", "dbias", "dinitial")
    values = (*by.forward(*rest), *by.backward(given["dy"], given["dfinal"], *rest))
    words = zip(("silu", "bias", "initial"), form, strict=True)
    named = "".join(f" {word}" for word, has in words if has)
    return {f"{name}{named}": x for name, x in zip(names, values, strict=True)}


def _run(by: ModuleType, given: Tensors) -> Tensors:
    return {name: x for form in FORMS for name, x in _results(by, given, form[0], form).items()}


def _scales(given: Tensors, exact: Tensors) -> Tensors:
    """Sums of few terms may cancel: their error is relative to the root of the sum of squares,
    which are the results on squared operands, without SiLU."""
    squares = {name: x.square() for name, x in given.items()}
    return {
        name: x.sqrt()
        for form in FORMS
        for name, x in _results(reference, squares, False, form).items()
    }


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{batch} x {length} x {channels}, {taps} taps",
            partial(_drawn, batch, length, channels, taps),
            _run,
            _scales,
        )
        for batch, length, channels, taps in SIZES
    )
