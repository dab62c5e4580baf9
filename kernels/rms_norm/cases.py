"""What the two implementations of RMSNorm are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors

EPS = 1e-3

# (width, rows): powers of two and not, one row, rows that are no multiple of a tile.
SIZES = ((1, 1), (1, 130), (7, 1), (7, 5), (100, 20), (129, 1), (129, 13), (1000, 13), (1000, 45))


def _drawn(width: int, rows: int, generator: torch.Generator) -> Tensors:
    """Rows with gaps between them for x, columns that are not adjacent for dy."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "x": draw(rows, width + 3)[:, :width],
        "residual": draw(rows, width),
        "weight": draw(width),
        "dy": draw(width, rows).t(),
        "dsum": draw(rows, width),
    }


def _run(by: ModuleType, given: Tensors) -> Tensors:
    x, weight, dy = given["x"], given["weight"], given["dy"]
    y, h = by.add_forward(x, given["residual"], weight, EPS)
    dx, dweight = by.backward(dy, x, weight, EPS, given["dsum"])
    return {
        "y": by.forward(x, weight, EPS),
        "y unweighted": by.forward(x, None, EPS),
        "y of sum": y,
        "sum": h,
        "dx": dx,
        "dweight": dweight,
        "dx unweighted": by.backward(dy, x, None, EPS, None)[0],
    }


def _scales(given: Tensors, exact: Tensors) -> Tensors:
    """A difference or a sum of few terms may cancel; its error is set by the size of its terms."""
    dy, n = given["dy"], exact["y unweighted"]
    term = dy * n / given["x"]
    return {
        "dx": term * given["weight"],
        "dx unweighted": term,
        "dweight": (dy * n).square().sum(0).sqrt(),
    }


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(f"{rows} rows of {width}", partial(_drawn, width, rows), _run, _scales)
        for width, rows in SIZES
    )
