"""What the two implementations of the linear head's cross-entropy are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors
from ..cross_entropy.options import Options

PLAIN = Options()
FULL = Options(ignore_index=2, label_smoothing=0.1, z_loss=1e-2, softcap=3.0)

# (rows, width, vocabulary, rows of a chunk, options): one of each, chunks that do and do not
# divide the rows, a single chunk.
SIZES = (
    (1, 1, 1, 1, PLAIN),
    (7, 5, 130, 3, FULL),
    (6, 33, 1000, 3, PLAIN),
    (5, 16, 4500, 8, FULL),
)


def _drawn(
    rows: int, width: int, vocabulary: int, options: Options, generator: torch.Generator
) -> dict[str, Tensor]:
    """Columns of hidden that are not adjacent; logits of about one."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    target = torch.randint(0, vocabulary, (rows,), generator=generator)
    if rows > 1:
        target[1] = options.ignore_index
    return {
        "hidden": draw(width, rows).t(),
        "weight": draw(vocabulary, width) * width**-0.5,
        "target": target,
        "dtotal": draw(1)[0] / rows,
    }


def _run(chunk: int, options: Options, by: ModuleType, given: Tensors) -> Tensors:
    hidden, weight, target = given["hidden"], given["weight"], given["target"]
    total, *gradients = by.forward(hidden, weight, target, options, chunk, True, True)
    dhidden, dweight = by.backward(given["dtotal"], *gradients, weight.dtype)
    return {
        "total": total,
        "total without gradients": by.forward(hidden, weight, target, options, chunk, False, False)[
            0
        ],
        "dhidden alone": by.forward(hidden, weight, target, options, chunk, True, False)[1],
        "dweight alone": by.forward(hidden, weight, target, options, chunk, False, True)[2],
        "dhidden": dhidden,
        "dweight": dweight,
    }


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{rows} rows of {width}, {vocabulary} classes, {chunk} at a time, {options}",
            partial(_drawn, rows, width, vocabulary, options),
            partial(_run, chunk, options),
            kept=frozenset({"target"}),
        )
        for rows, width, vocabulary, chunk, options in SIZES
    )
