"""Gradients that can be differentiated again, where the usual ones are written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiable_gradients(
    definition: Callable[..., Sequence[Tensor]],
    operands: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """What autograd finds for `definition(*operands)`; None for an operand that needs no gradient.

    gradients: of each result of the definition.
    """
    # One tensor may stand for several operands, whose gradients are not to be added up.
    own = [x.view_as(x) for x in operands]
    needed = [x for x in own if x.requires_grad]
    pairs = [(y, dy) for y, dy in zip(definition(*own), gradients, strict=True) if y.requires_grad]
    outputs, slopes = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, needed, slopes, create_graph=True, allow_unused=True))
    return tuple(next(found) if x.requires_grad else None for x in own)
