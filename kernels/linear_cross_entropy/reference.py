"""Cross-entropy of a linear head in plain torch: the meaning of the operator, and its CPU
implementation.

It is `hidden @ weight.T` followed by `gabc.kernels.cross_entropy`, chunk of rows by chunk of rows:
what the product and the gradient of the logits are rounded to is the dtype of `hidden`, in which
the two steps written apart would store them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..cross_entropy import reference as cross_entropy
from ..cross_entropy.options import Options
from ..dispatch import widened
from .chunks import chunks


def forward(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    options: Options,
    rows: int,
    needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the losses, and its gradients: hidden [N, D], weight [V, D], target [N] -> [],
    [N, D] in the dtype of hidden, [V, D] in float32 (all float64 if hidden is).

    With x = H W^T [N, V] and the losses of `cross_entropy.reference`,

        total = sum_n loss_n(x_n) ;  G = d total / d x ;  dH = G W ;  dW = G^T H

    of which `rows` rows are computed at a time. The weight is rounded to the dtype of hidden first.
    A gradient that is not needed has no elements.
    """
    h, w = widened(hidden), widened(weight.to(hidden.dtype))
    total = h.new_zeros(())
    dhidden = torch.zeros(hidden.shape if needs_hidden else 0, dtype=hidden.dtype, device=h.device)
    dweight = w.new_zeros(weight.shape if needs_weight else 0)
    for chunk in chunks(len(h), rows):
        logits = (h[chunk] @ w.t()).to(hidden.dtype)
        losses, lse = cross_entropy.forward(logits, target[chunk], options)
        total = total + losses.sum()
        if not (needs_hidden or needs_weight):
            continue
        one = torch.ones_like(losses)
        dlogits = cross_entropy.backward(one, None, logits, target[chunk], lse, options, True)
        if needs_hidden:
            dhidden[chunk] = (widened(dlogits) @ w).to(hidden.dtype)
        if needs_weight:
            dweight += widened(dlogits).t() @ h[chunk]
    return total, dhidden, dweight


def backward(
    dtotal: Tensor, dhidden: Tensor, dweight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The gradients of `forward` times that of its total, the weight's in `dtype`."""
    scale = widened(dtotal)
    return (widened(dhidden) * scale).to(dhidden.dtype), (dweight * scale).to(dtype)
