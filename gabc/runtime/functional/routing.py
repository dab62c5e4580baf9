"""Sparse choice of experts: each token is seen by the few that scored highest for it.

Shazeer et al. 2017, arXiv 1701.06538, equation 1; the choice is made token by token, without a
capacity, so no token depends on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from gabc.runtime.functional.structure import topk_mask


def route(
    experts: Iterable[Callable[[Tensor], Tensor]],
    x: Tensor,
    scores: Tensor,
    top: int,
    normalise: bool = False,
) -> Tensor:
    """The sum of scores[..., e] * expert_e(x) over each token's `top` largest scores.

    x [B, L, ...], scores [B, L, E] -> [B, L, ...]. Of equal scores the lower index wins. An expert
    gets its tokens as one sequence [1, N, ...]; N may be 0.
    """
    weights, chosen = chosen_weights(scores.flatten(0, 1), top, normalise)
    tokens = x.flatten(0, 1)
    total: Tensor | None = None
    for place, expert in enumerate(experts):
        rows = chosen[:, place].nonzero().squeeze(1)
        y = expert(tokens.index_select(0, rows).unsqueeze(0)).squeeze(0)
        weight = weights[:, place].index_select(0, rows)
        weighted = y * weight.reshape(-1, *(1,) * (y.dim() - 1))
        if total is None:
            total = weighted.new_zeros(len(tokens), *y.shape[1:])
        total = total.index_add(0, rows, weighted.to(total.dtype))
    assert total is not None, "there are experts"
    return total.reshape(*scores.shape[:2], *total.shape[1:])


def routed_sum(xs: Sequence[Tensor], scores: Tensor, top: int, normalise: bool = False) -> Tensor:
    """`route` for results that are there already: xs E times [*A, *F], scores [*A, E]."""
    weights, chosen = chosen_weights(scores, top, normalise)
    shape = (*scores.shape[:-1], *(1,) * (xs[0].dim() - scores.dim() + 1))
    terms = [
        torch.where(chosen[..., place].reshape(shape), x, 0.0) * weights[..., place].reshape(shape)
        for place, x in enumerate(xs)
    ]
    return torch.stack(terms).sum(0)


def chosen_weights(scores: Tensor, top: int, normalise: bool) -> tuple[Tensor, Tensor]:
    """The scores [..., E] that are among the `top` largest, zero elsewhere; and where they are.

    `normalise` divides them by their sum.
    """
    chosen = topk_mask(scores, top, -1)
    weights = scores.masked_fill(~chosen, 0.0)
    return (weights / weights.sum(-1, keepdim=True) if normalise else weights), chosen
