"""What the two implementations of gated activations are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors
from .op import ACTIVATIONS

# (rows, width): one element, narrower and wider than a tile, and no multiple of one.
SIZES = ((1, 1), (130, 1), (3, 7), (21, 100), (9, 257), (1, 600))


def _drawn(rows: int, width: int, generator: torch.Generator) -> Tensors:
    """Rows with gaps between them for the gate, columns that are not adjacent for dy.

    Some gates are so large that their activation is at an end.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    gate = draw(rows, width + 3)[:, :width]
    gate[::3, ::7] *= 60.0
    return {
        "gate": gate,
        "up": draw(rows, width),
        "x": draw(rows, 2 * width + 1)[:, : 2 * width],
        "dy": draw(width, rows).t(),
    }


def _run(activation: str, by: ModuleType, given: Tensors) -> Tensors:
    gate, up, x, dy = given["gate"], given["up"], given["x"], given["dy"]
    dgate, dup = by.backward(dy, gate, up, activation)
    results = {"y": by.forward(gate, up, activation), "dgate": dgate, "dup": dup}
    for order, gate_first in (("gate first", True), ("gate second", False)):
        results[f"y, {order}"] = by.packed_forward(x, activation, gate_first)
        results[f"dx, {order}"] = by.packed_backward(dy, x, activation, gate_first)
    return results


def cases() -> tuple[Case, ...]:
    """Every size with one activation, every activation with one size."""
    pairs = [(size, "silu") for size in SIZES]
    pairs += [((21, 100), activation) for activation in ACTIVATIONS if activation != "silu"]
    return tuple(
        Case(
            f"{activation}, {rows} rows of {width}",
            partial(_drawn, rows, width),
            partial(_run, activation),
        )
        for (rows, width), activation in pairs
    )
