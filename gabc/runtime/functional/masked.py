"""Reductions of one axis over the elements that a mask keeps.

x: any shape; mask: bool, broadcasts against x; axis: counted from 0 or from the end. A row of which
the mask keeps nothing gives zeros, with zero gradient; what stands outside the mask, be it infinite
or NaN, reaches neither values nor gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_softmax(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """The softmax along `axis` over the kept elements; zero elsewhere. The shape of `x`."""
    filled, _ = _filled(x, mask, -torch.inf, axis)
    return torch.softmax(filled, axis).masked_fill(~mask, 0.0)


def masked_logsumexp(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The logarithm of the sum of the exponentials of the kept elements."""
    filled, has_any = _filled(x, mask, -torch.inf, axis)
    result = torch.logsumexp(filled, axis, keepdim=True).masked_fill(~has_any, 0.0)
    return result if keepdim else result.squeeze(axis)


def masked_max(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The largest kept element."""
    lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return _filled(x, mask, lowest, axis)[0].amax(axis, keepdim=keepdim)


def masked_min(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The smallest kept element."""
    highest = torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).max
    return _filled(x, mask, highest, axis)[0].amin(axis, keepdim=keepdim)


def masked_mean(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The mean of the kept elements."""
    mask = mask.expand_as(x)
    count = mask.sum(axis, keepdim=keepdim).clamp(min=1)
    return torch.where(mask, x, 0.0).sum(axis, keepdim=keepdim) / count


def masked_var(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The biased variance of the kept elements."""
    # Zeros first: NaN - NaN outside the mask would come back as a NaN gradient.
    kept = torch.where(mask, x, 0.0)
    centred = kept - masked_mean(kept, mask, axis, keepdim=True)
    return masked_mean(centred.square(), mask, axis, keepdim=keepdim)


def _filled(x: Tensor, mask: Tensor, value: float, axis: int) -> tuple[Tensor, Tensor]:
    """`x` with `value` outside the mask, or 0 where nothing of the row is kept; and where some is.

    A whole row of infinities would give NaN gradients.
    """
    mask = mask.expand_as(x)
    has_any = mask.any(axis, keepdim=True)
    return x.masked_fill(~mask, value).masked_fill(~has_any, 0), has_any
