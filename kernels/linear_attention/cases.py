"""What the two implementations of linear attention are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors


@dataclass(frozen=True)
class _Shape:
    """One row and head but where it says otherwise. `gates` are what log decays are drawn
    from, None for no decay; without `state` the sequence begins at zero."""

    keys: int
    values: int
    length: int
    decay: str
    gates: tuple[float, ...] | None
    read_before: bool = False
    state: bool = True
    bonus: bool = False
    batch: int = 1
    heads: int = 1

    @property
    def name(self) -> str:
        words = [f"{self.keys} keys", f"{self.values} values", f"{self.length} steps"]
        words.append("no decay" if self.gates is None else f"decay of a {self.decay}")
        words += ["before"] * self.read_before + ["bonus"] * self.bonus
        words += [] if self.state else ["from zero"]
        if self.gates is not None and len(self.gates) > 2:
            words.append("extreme")
        return ", ".join(words)


MILD = (-0.05, -0.6)
EXTREME = (0.0, -1e-4, -50.0, -torch.inf)

# Widths that are no tile or several, lengths that are no chunk or several, a single step.
SHAPES = (
    _Shape(5, 3, 70, "head", None),
    _Shape(40, 17, 34, "head", None, read_before=True, bonus=True, state=False),
    _Shape(1, 1, 1, "head", MILD, read_before=True),
    _Shape(33, 35, 34, "head", MILD),
    _Shape(9, 5, 37, "head", EXTREME, read_before=True, bonus=True, heads=2),
    _Shape(5, 9, 3, "head", EXTREME, batch=2),
    _Shape(7, 5, 1, "key", MILD),
    _Shape(33, 17, 34, "key", MILD, read_before=True, bonus=True),
    _Shape(9, 5, 35, "key", EXTREME, state=False, heads=2),
    _Shape(16, 3, 17, "key", EXTREME, read_before=True, batch=2),
    _Shape(7, 5, 1, "value", MILD, read_before=True),
    _Shape(17, 33, 34, "value", MILD),
    _Shape(5, 9, 40, "value", EXTREME, read_before=True),
    _Shape(6, 16, 18, "value", EXTREME, heads=2),
    _Shape(4, 3, 0, "key", MILD),
)


def _drawn(shape: _Shape, generator: torch.Generator) -> Tensors:
    """Heads before steps in memory for q, one k for all heads: strides that are not the usual."""
    batch, length, heads = shape.batch, shape.length, shape.heads
    keys, values = shape.keys, shape.values

    def draw(*dims: int) -> Tensor:
        return torch.randn(dims, generator=generator, dtype=torch.float64)

    drawn = {
        "q": draw(batch, heads, length, keys).transpose(1, 2),
        "k": draw(batch, length, 1, keys).expand(-1, -1, heads, -1),
        "v": draw(batch, length, heads, values),
        "do": draw(batch, length, heads, values),
        "dlast": draw(batch, heads, keys, values),
    }
    if shape.gates is not None:
        width = {"head": (), "key": (keys,), "value": (values,)}[shape.decay]
        dims = (batch, length, heads, *width)
        uniform = torch.rand(dims, generator=generator, dtype=torch.float64)
        drawn["log_decay"] = _gates(shape.gates, uniform)
    if shape.state:
        drawn["initial"] = draw(batch, heads, keys, values)
    if shape.bonus:
        drawn["bonus"] = draw(heads, keys)
    return drawn


def _gates(gates: tuple[float, ...], uniform: Tensor) -> Tensor:
    """Between the two of MILD; of EXTREME one each, the mild ones most often: of what all steps
    forget nothing is left to compare."""
    if gates == MILD:
        return MILD[0] + (MILD[1] - MILD[0]) * uniform
    bounds = torch.tensor((0.3, 0.86, 0.93), dtype=torch.float64)
    return torch.tensor(gates, dtype=torch.float64)[torch.bucketize(uniform, bounds)]


def _run(shape: _Shape, by: ModuleType, given: Tensors) -> Tensors:
    log_decay, initial, bonus = (given.get(name) for name in ("log_decay", "initial", "bonus"))
    rest = (log_decay, initial, bonus, shape.decay, shape.read_before)
    q, k, v = given["q"], given["k"], given["v"]
    o, last = by.forward(q, k, v, *rest)
    # The last state is float32 or wider, so its gradient is.
    found = by.backward(given["do"], given["dlast"].to(last.dtype), q, k, v, *rest)
    names = ("dq", "dk", "dv", "dlog_decay", "dinitial", "dbonus")
    results = {"o": o, "last": last, **dict(zip(names, found, strict=True))}
    if log_decay is not None:
        # Exactly zero: no term has such a step in it.
        results["dlog_decay of -inf"] = results["dlog_decay"][log_decay == -torch.inf]
    return results


def cases() -> tuple[Case, ...]:
    return tuple(Case(shape.name, partial(_drawn, shape), partial(_run, shape)) for shape in SHAPES)
