"""Token shift in plain torch: the meaning of the operator, and its CPU implementation.

    y[m]_t = x_t + mu[m] (x_{t-1} - x_t)

for every channel; before the first token stands `initial`, or zero. x is (B, L, D), mu (M, D),
initial (B, D), y (M, B, L, D). RWKV: Peng et al. 2023, arXiv 2305.13048, equations (11) to (13);
with mu seen from the other side, Peng et al. 2024, arXiv 2404.05892, equation (3).

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened


def forward(x: Tensor, mu: Tensor, initial: Tensor | None) -> Tensor:
    """All blends, (M, B, L, D), in the dtype of x."""
    wide = widened(x)
    delta = _past(wide, initial) - wide
    y = wide + mu.to(wide.dtype)[:, None, None] * delta
    return y.to(x.dtype).contiguous()


def backward(
    dy: Tensor, x: Tensor, mu: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to x, mu and initial.

    With `h_t`, the sum over m of `mu[m] dy[m]_t`: `dx_t = sum over m of dy[m]_t - h_t + h_{t+1}`,
    `dinitial = h_1` at the first token, and `dmu[m]` is the sum of `dy[m]_t (x_{t-1} - x_t)`.
    Without an initial token the last result has no elements.
    """
    wide, dy = widened(x), widened(dy)
    delta = _past(wide, initial) - wide
    weight = mu.to(wide.dtype)[:, None, None]
    dx = ((1.0 - weight) * dy).sum(0)
    to_past = (weight * dy).sum(0)
    dx[:, :-1] += to_past[:, 1:]
    dmu = (dy * delta).sum((1, 2)).to(mu.dtype).contiguous()
    dx = dx.to(x.dtype).contiguous()
    if initial is None:
        return dx, dmu, x.new_empty(0)
    return dx, dmu, to_past[:, :1].sum(1).to(x.dtype).contiguous()


def _past(x: Tensor, initial: Tensor | None) -> Tensor:
    """x one position later."""
    first = x.new_zeros(x[:, :1].shape) if initial is None else initial.to(x.dtype)[:, None]
    return torch.cat((first, x), dim=1)[:, : x.shape[1]]
