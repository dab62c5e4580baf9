"""Norms over the last axis."""

from __future__ import annotations

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis, in the dtype of `x`.

    x: (..., K); weight: (K,) or None. Computed in float32 at least and rounded once.
    Zhang and Sennrich 2019, arXiv 1910.07467, equation (4).
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    return y.to(x.dtype)
