"""What the two implementations of rotary position embedding are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors
from .op import rope_tables

EPS = 1e-3


@dataclass(frozen=True)
class Shape:
    """Sizes of q (batch, length, heads, width) and k (batch, length, groups, width)."""

    batch: int
    length: int
    heads: int
    groups: int
    width: int
    rotary: int
    interleaved: bool = False
    own_positions: bool = False

    def __str__(self) -> str:
        sizes = f"{self.batch} x {self.length}, {self.heads} and {self.groups} heads"
        pairs = "neighbours" if self.interleaved else "halves"
        tables = ", own positions" if self.own_positions else ""
        return f"{sizes}, {self.rotary} of {self.width} in {pairs}{tables}"


SHAPES = (
    Shape(1, 1, 1, 1, 2, 2),
    Shape(2, 9, 6, 2, 64, 64),
    Shape(2, 9, 6, 2, 64, 64, interleaved=True, own_positions=True),
    Shape(3, 12, 5, 1, 20, 8, own_positions=True),
    Shape(1, 37, 2, 3, 20, 6, interleaved=True),
    Shape(2, 35, 1, 1, 34, 34),
    Shape(1, 5, 9, 4, 200, 200),
    Shape(0, 3, 2, 1, 4, 4),
)


def _drawn(shape: Shape, generator: torch.Generator) -> Tensors:
    """q is cut out of a wider projection, k has its heads before time, dy time before the batch."""

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, dtype=torch.float64)

    batch, length, width = shape.batch, shape.length, shape.width
    heads, groups = shape.heads, shape.groups
    positions = torch.arange(length)
    if shape.own_positions:
        positions = torch.randint(0, 3000, (batch, length), generator=generator)
    cos, sin = rope_tables(positions, shape.rotary, dtype=torch.float64)
    return {
        "q": draw(batch, length, heads + 2, width)[:, :, :heads],
        "k": draw(batch, groups, length, width).transpose(1, 2),
        "q_weight": draw(width),
        "k_weight": draw(width),
        "cos": cos,
        "sin": sin,
        "dyq": draw(length, batch, heads, width).transpose(0, 1),
        "dyk": draw(batch, length, groups, width),
    }


def _run(interleaved: bool, by: ModuleType, given: Tensors) -> Tensors:
    q, k, dyq, dyk = given["q"], given["k"], given["dyq"], given["dyk"]
    weights = given["q_weight"], given["k_weight"]
    tables = given["cos"], given["sin"]
    none = (None, None)
    results = {}
    results["q'"], results["k'"] = by.forward(q, k, *none, *tables, None, interleaved)
    results["q' alone"], _ = by.forward(q, None, *none, *tables, None, interleaved)
    turned_back = by.backward(dyq, dyk, *none, *none, *tables, None, interleaved)
    results["dq"], results["dk"] = turned_back[:2]
    results["normal q'"], results["normal k'"] = by.forward(
        q, k, *weights, *tables, EPS, interleaved
    )
    gradients = by.backward(dyq, dyk, q, k, *weights, *tables, EPS, interleaved)
    results |= {
        f"normal {name}": x
        for name, x in zip(("dq", "dk", "dq_weight", "dk_weight"), gradients, strict=True)
    }
    mixed = (None, weights[1])
    results["plain q'"], results["weighted k'"] = by.forward(
        q, k, *mixed, *tables, EPS, interleaved
    )
    gradients = by.backward(dyq, dyk, q, k, *mixed, *tables, EPS, interleaved)
    results["plain dq"], results["weighted dk"], _, results["weighted dk_weight"] = gradients
    alone = by.backward(dyq, None, q, None, weights[0], None, *tables, EPS, interleaved)
    results["dq alone"], _, results["dq_weight alone"], _ = alone
    return results


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(str(shape), partial(_drawn, shape), partial(_run, shape.interleaved))
        for shape in SHAPES
    )
