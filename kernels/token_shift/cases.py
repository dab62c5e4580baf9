"""What the two implementations of token shift are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors

# (batch, length, channels, blends): one element, one token, no token, tiles that are not full,
# several tiles of times and of channels.
SIZES = (
    (1, 1, 1, 1),
    (3, 1, 20, 2),
    (2, 0, 7, 3),
    (2, 70, 9, 6),
    (2, 20, 150, 5),
    (1, 16, 64, 4),
)


def _drawn(
    batch: int, length: int, channels: int, blends: int, generator: torch.Generator
) -> Tensors:
    """x is cut out of a wider tensor, the blends of dy lie after its times."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "x": draw(batch, length, channels + 3)[:, :, :channels],
        "mu": draw(blends, channels),
        "initial": draw(batch, channels),
        "dy": draw(batch, length, blends, channels).permute(2, 0, 1, 3),
    }


def _run(by: ModuleType, given: Tensors) -> Tensors:
    x, mu, dy = given["x"], given["mu"], given["dy"]
    results = {}
    for initial, named in ((None, ""), (given["initial"], " initial")):
        results[f"y{named}"] = by.forward(x, mu, initial)
        gradients = by.backward(dy, x, mu, initial)
        for name, gradient in zip(("dx", "dmu", "dinitial"), gradients, strict=True):
            results[f"{name}{named}"] = gradient
    return results


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{blends} blends of {batch} x {length} x {channels}",
            partial(_drawn, batch, length, channels, blends),
            _run,
        )
        for batch, length, channels, blends in SIZES
    )
