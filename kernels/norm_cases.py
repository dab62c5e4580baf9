"""What the implementations of RMSNorm and LayerNorm are compared on.

Both have the same forms; LayerNorm has a bias besides the weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from types import ModuleType

import torch
from torch import Tensor

from .cases import Case, Tensors
from .norm_operands import activated, activation_slope

EPS = 1e-3

# (rows, width): powers of two and not, one element, rows that are no multiple of a tile. The last
# has a slab for each row, more than a tile of the second stage of a sum.
PLAIN = ((1, 1), (300, 3), (1, 7), (5, 7), (20, 100), (1, 129), (9, 1000), (37, 2100))


@dataclass(frozen=True)
class Gated:
    """Rows of heads, whether each head has a weight of its own, and the size of the gates."""

    rows: int
    heads: int
    width: int
    per_head: bool
    gates: float = 1.0

    @property
    def name(self) -> str:
        weights = " with weights" if self.per_head else ""
        return (
            f"{self.rows} rows of {self.heads} heads of {self.width}{weights}, gates {self.gates}"
        )


# At gates of 40 their exponentials are far outside the range of their activations.
GATED = (
    Gated(1, 1, 1, False),
    Gated(9, 1, 130, False, 40.0),
    Gated(5, 3, 7, True),
    Gated(70, 2, 100, True),
    Gated(9, 4, 7, False),
)

# The activation, and whether it is before the norm.
GATES = (("silu", False), ("silu", True), ("sigmoid", False))

# Columns between the rows in memory that belong to no operand.
GAP = 3


@dataclass(frozen=True)
class Norm:
    """The names of the parameters of a norm, and whether it subtracts the mean."""

    parameters: tuple[str, ...]
    is_centred: bool

    def sizes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The size of the terms of the normal rows, and the factor that made the rows normal."""
        mean = u.mean(-1, keepdim=True) if self.is_centred else torch.zeros_like(u[..., :1])
        r = ((u - mean).square().mean(-1, keepdim=True) + EPS).rsqrt()
        return (u.abs() + mean.abs()) * r, r

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """All choices of present parameters."""
        for count in range(len(self.parameters) + 1):
            yield from combinations(self.parameters, count)

    def affine(self, given: Tensors, present: tuple[str, ...]) -> list[Tensor | None]:
        """The parameters as arguments, None for what is absent."""
        return [given[name] if name in present else None for name in self.parameters]


def cases(norm: Norm) -> tuple[Case, ...]:
    plain = (
        Case(
            f"{rows} rows of {width}",
            partial(_drawn, norm, Gated(rows, 1, width, False)),
            partial(_run_plain, norm, width),
            partial(_plain_scales, norm, width),
        )
        for rows, width in PLAIN
    )
    gated = (
        Case(
            shape.name,
            partial(_drawn, norm, shape),
            partial(_run_gated, norm, shape.width),
            partial(_gated_scales, norm, shape.width),
        )
        for shape in GATED
    )
    return (*plain, *gated)


def _drawn(norm: Norm, shape: Gated, generator: torch.Generator) -> Tensors:
    rows, heads, width = shape.rows, shape.heads, shape.width

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    return {
        "x": draw(rows, heads * width + GAP),
        "residual": draw(rows, heads, width),
        "gate": draw(rows, heads * width + GAP) * shape.gates,
        "dy": draw(width, rows, heads),
        "dsum": draw(rows, heads, width),
        **{name: draw(heads, width) if shape.per_head else draw(width) for name in norm.parameters},
    }


def _rows(given: Tensors, name: str, width: int) -> Tensor:
    """(rows, heads, width), of memory with gaps."""
    rows = given[name][:, :-GAP]
    return rows.view(len(rows), -1, width)


def _gradient(given: Tensors) -> Tensor:
    """(rows, heads, width) whose columns are not adjacent."""
    return given["dy"].movedim(0, -1)


def _run_plain(norm: Norm, width: int, by: ModuleType, given: Tensors) -> Tensors:
    x, dy, results = _rows(given, "x", width), _gradient(given), {}
    for present in norm.subsets():
        affine, label = norm.affine(given, present), ", ".join(present) or "alone"
        results[f"y {label}"] = by.forward(x, *affine, EPS)
        results |= _named(norm, present, label, by.backward(dy, x, *affine, EPS))
    affine = norm.affine(given, norm.parameters)
    y, h = by.add_forward(x, given["residual"], *affine, EPS)
    results |= {"y of sum": y, "sum": h}
    gradients = by.backward(dy, h, *affine, EPS, given["dsum"])
    return results | _named(norm, norm.parameters, "of sum", gradients)


def _run_gated(norm: Norm, width: int, by: ModuleType, given: Tensors) -> Tensors:
    x, dy, results = _rows(given, "x", width), _gradient(given), {}
    gate = _rows(given, "gate", width)
    for activation, first in GATES:
        for present in ((), norm.parameters):
            affine, label = norm.affine(given, present), _label(activation, first, present)
            gated = (gate, activation, first)
            results[f"y {label}"] = by.forward(x, *affine, EPS, *gated)
            gradients = by.backward(dy, x, *affine, EPS, None, *gated)
            results |= _named(norm, present, label, gradients)
            results[f"dgate {label}"] = gradients[-1]
    return results


def _label(activation: str, first: bool, present: tuple[str, ...]) -> str:
    return f"{activation} {'first' if first else 'after'}{', '.join(('', *present))}"


def _named(
    norm: Norm, present: tuple[str, ...], label: str, gradients: tuple[Tensor, ...]
) -> dict[str, Tensor]:
    named = dict(zip(norm.parameters, gradients[1:], strict=False))
    return {f"dx {label}": gradients[0]} | {f"d{name} {label}": named[name] for name in present}


def _plain_scales(norm: Norm, width: int, given: Tensors, exact: Tensors) -> Tensors:
    x, dy = _rows(given, "x", width), _gradient(given)
    scales: dict[str, Tensor] = {}
    for present in norm.subsets():
        label = ", ".join(present) or "alone"
        scales |= _sizes(norm, given, present, label, x, dy)
    summed = _sizes(norm, given, norm.parameters, "of sum", exact["sum"], dy)
    return scales | summed | {"dx of sum": summed["dx of sum"] + given["dsum"].abs()}


def _gated_scales(norm: Norm, width: int, given: Tensors, exact: Tensors) -> Tensors:
    x, dy = _rows(given, "x", width), _gradient(given)
    scales: dict[str, Tensor] = {}
    gate = _rows(given, "gate", width)
    for activation, first in GATES:
        a = activated(gate, activation, gate.dtype)
        slope = activation_slope(gate, activation, gate.dtype).abs()
        for present in ((), norm.parameters):
            label = _label(activation, first, present)
            u, c = (x * a, dy) if first else (x, dy * a)
            sizes = _sizes(norm, given, present, label, u, c)
            y, dx = sizes[f"y {label}"], sizes[f"dx {label}"]
            moved = dx * x.abs() if first else dy.abs() * y
            scales |= sizes | {f"dgate {label}": moved * slope}
            if first:
                scales[f"dx {label}"] = dx * a.abs()
            else:
                scales[f"y {label}"] = y * a.abs()
    return scales


def _sizes(
    norm: Norm, given: Tensors, present: tuple[str, ...], label: str, u: Tensor, c: Tensor
) -> dict[str, Tensor]:
    """The norm of `u` and its gradients by `c`, with the absolute value of every term.

    The terms of a difference or a sum may cancel; the error is set by their size.
    """
    n, r = norm.sizes(u)
    one = torch.ones((), dtype=u.dtype, device=u.device)
    weight = given["weight"].abs() if "weight" in present else one
    bias = given["bias"].abs() if "bias" in present else 0.0 * one
    g = c.abs() * weight
    terms = g + n * (g * n).mean(-1, keepdim=True)
    if norm.is_centred:
        terms = terms + g.mean(-1, keepdim=True)
    of = {"weight": c.abs() * n, "bias": c.abs()}
    summed = {f"d{name} {label}": of[name].sum_to_size(given[name].shape) for name in present}
    return {f"y {label}": n * weight + bias, f"dx {label}": r * terms} | summed
