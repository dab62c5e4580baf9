"""What the two implementations of cross-entropy are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors
from .options import Options

PLAIN = Options()
FULL = Options(ignore_index=2, label_smoothing=0.1, z_loss=1e-2, softcap=3.0)

# (vocabulary, rows, options): one class, one row, several tiles of the vocabulary, a last tile that
# is not full, an ignored class that is in the vocabulary.
SIZES = (
    (1, 1, PLAIN),
    (7, 37, PLAIN),
    (7, 37, FULL),
    (130, 1, FULL),
    (300, 5, Options(softcap=30.0)),
    (1000, 5, Options(label_smoothing=0.5)),
    (4097, 3, PLAIN),
    (9000, 4, FULL),
    (9000, 4, Options(z_loss=1e-3)),
)


def _drawn(
    vocabulary: int, rows: int, options: Options, generator: torch.Generator
) -> dict[str, Tensor]:
    """Logits with gaps between rows, some impossible, and one row of NaN that is ignored."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    logits = 4.0 * draw(rows, vocabulary + 3)[:, :vocabulary]
    target = torch.randint(0, vocabulary, (rows,), generator=generator)
    dlse = draw(rows)
    if rows > 2:
        target[1] = options.ignore_index
        target[2], dlse[2] = options.ignore_index, 0.0
        logits[2] = torch.nan
    if rows > 2 and not options.label_smoothing:
        impossible = torch.rand(rows, vocabulary, generator=generator) < 0.3
        logits[impossible & (torch.arange(vocabulary) != target[:, None])] = -torch.inf
        if vocabulary > 8000:  # the first tile has no class that is possible
            logits[0, :-1000], target[0] = -torch.inf, vocabulary - 1
    return {"logits": logits, "target": target, "dloss": draw(rows), "dlse": dlse}


def _run(options: Options, by: ModuleType, given: Tensors) -> Tensors:
    logits, target, dloss = given["logits"], given["target"], given["dloss"]
    loss, lse = by.forward(logits, target, options)
    both = by.backward(dloss, given["dlse"], logits, target, lse, options, False)
    memory = logits.new_zeros(len(logits), logits.shape[1] + 3)[:, :-3].copy_(logits)
    over = by.backward(dloss, None, memory, target, lse, options, True)
    lse = lse[~logits.isnan().any(1)]
    return {"loss": loss, "lse": lse, "dlogits": both, "dlogits of loss": over}


def _scales(given: Tensors, exact: Tensors) -> Tensors:
    """The loss is a difference; a gradient that cancels is one of terms as large as dloss, of
    which half of a probability is the size at one class, and the same at the target."""
    rows, vocabulary = given["logits"].shape
    size = 0.5 * given["dloss"].square().mean().sqrt() * (2.0 / vocabulary) ** 0.5
    terms = size.expand(rows, vocabulary)
    return {"loss": exact["lse"], "dlogits": terms, "dlogits of loss": terms}


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{rows} rows of {vocabulary}, {options}",
            partial(_drawn, vocabulary, rows, options),
            partial(_run, options),
            _scales,
            frozenset({"target"}),
        )
        for vocabulary, rows, options in SIZES
    )
