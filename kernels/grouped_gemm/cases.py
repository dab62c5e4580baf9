"""What the two implementations of the grouped product are compared on."""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors

# (rows of each expert, rows of none, D, F): one of each, experts without rows at both ends and
# between, tiles that are full and not, sums of several steps, sizes of the larger tiles.
SIZES = (
    ((1,), 0, 1, 1),
    ((0,), 3, 5, 4),
    ((0, 5, 0, 0, 16, 33, 1, 0), 0, 20, 33),
    ((3, 0, 40), 18, 70, 130),
    ((130, 0, 60), 2, 33, 7),
    ((400,), 0, 17, 9),
)


def _drawn(
    counts: tuple[int, ...], rest: int, depth: int, columns: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Weights as nn.Linear has them, (E, F, D) in memory, and columns of dy that are not adjacent;
    NaN where no expert reads."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = sum(counts) + rest
    x, dy = draw(rows, depth + 3)[:, :depth], draw(columns, rows).t()
    x[sum(counts) :], dy[sum(counts) :] = torch.nan, torch.nan
    return {
        "x": x,
        "weight": draw(len(counts), columns, depth).transpose(1, 2),
        "dy": dy,
        "offsets": torch.tensor([0, *accumulate(counts)]),
        "offsets32": torch.tensor([0, *accumulate(counts)], dtype=torch.int32),
    }


def _run(by: ModuleType, given: Tensors) -> Tensors:
    x, weight, dy, offsets = given["x"], given["weight"], given["dy"], given["offsets"]
    dx, dweight = by.backward(dy, x, weight, offsets, True, True)
    packed = weight.contiguous()
    return {
        "y": by.forward(x, weight, offsets),
        "y of packed weights": by.forward(x, packed, given["offsets32"]),
        "dx": dx,
        "dx of packed weights": by.backward(dy, x, packed, offsets, True, False)[0],
        "dweight": dweight,
        "dweight of packed weights": by.backward(dy, x, packed, offsets, False, True)[1],
    }


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"experts of {counts} rows, {rest} of none, {depth} to {columns}",
            partial(_drawn, counts, rest, depth, columns),
            _run,
            kept=frozenset({"offsets", "offsets32"}),
        )
        for counts, rest, depth, columns in SIZES
    )
