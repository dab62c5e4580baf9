"""Cross-entropy in plain torch: the meaning of the operator, and its CPU implementation.

float16, bfloat16 and float32 are computed in float32, gradients rounded once; float64 stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened
from .options import Options


def forward(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Loss and logsumexp of each row: logits [N, V], target [N] -> two [N], float32 or float64.

    With `z = c tanh(x / c)` for a soft cap c (Gemma 2, arXiv:2408.00118, section 2), else `z = x`,
    smoothing e (Szegedy et al. 2016, arXiv:1512.00567, section 7) and the weight w of the z-loss
    (PaLM, arXiv:2204.02311, section 5):

        lse  = log sum_v exp(z_v)
        loss = lse - (1 - e) z_target - e mean_v(z_v) + w lse^2

    The loss of a row with target `ignore_index` is 0. A target outside of 0 .. V - 1 makes both
    results NaN: on a GPU raising an error would wait for the device.
    """
    z = _capped(widened(logits), options.softcap)
    ignored, known = _kinds(target, options, z.shape[1])
    lse = torch.logsumexp(z, 1).masked_fill(~(ignored | known), torch.nan)
    at_target = z.gather(1, torch.where(known, target, 0).long()[:, None]).squeeze(1)
    loss = lse - (1.0 - options.label_smoothing) * at_target
    if options.label_smoothing:
        loss = loss - options.label_smoothing * z.mean(1)
    if options.z_loss:
        loss = loss + options.z_loss * lse.square()
    return loss.masked_fill(ignored, 0.0), lse


def backward(
    dloss: Tensor,
    dlse: Tensor | None,
    logits: Tensor,
    target: Tensor,
    lse: Tensor,
    options: Options,
    overwrite: bool,
) -> Tensor:
    """The gradient of the logits, [N, V] in their dtype, from those of both results of `forward`.

    With `p_v = exp(z_v - lse)`, and dloss taken for 0 where the row is ignored:

        dz_v = (dloss (1 + 2 w lse) + dlse) p_v - dloss ((1 - e) [v = target] + e / V)
        dx_v = dz_v (1 - tanh^2(x_v / c))

    With `overwrite` it is written to `logits`, which is returned.
    """
    x = widened(logits)
    z = _capped(x, options.softcap)
    vocabulary = z.shape[1]
    ignored, known = _kinds(target, options, vocabulary)
    dloss = dloss.to(z.dtype).masked_fill(ignored, 0.0)
    slope = (dloss * (1.0 + 2.0 * options.z_loss * lse)).masked_fill(ignored, 0.0)
    if dlse is not None:
        slope = slope + dlse
    # In place, since a tensor of the size of the logits costs as much as a pass over them.
    dz = (z - lse[:, None]).exp_().mul_(slope[:, None])
    if options.label_smoothing:
        dz.sub_((dloss * options.label_smoothing / vocabulary)[:, None])
    hit = torch.where(known, target, 0).long()[:, None]
    at_target = torch.where(known, dloss * (1.0 - options.label_smoothing), 0.0)
    dz.scatter_add_(1, hit, -at_target[:, None])
    if options.softcap is not None:
        dz.mul_(1.0 - torch.tanh(x / options.softcap).square())
    # A row without a gradient has none whatever its logits are.
    dz.masked_fill_(((slope == 0.0) & (dloss == 0.0))[:, None], 0.0)
    if overwrite:
        return logits.copy_(dz)
    return dz.to(logits.dtype).contiguous()


def _capped(x: Tensor, softcap: float | None) -> Tensor:
    return x if softcap is None else softcap * torch.tanh(x / softcap)


def _kinds(target: Tensor, options: Options, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Which rows are ignored, and which others have a target in the vocabulary."""
    ignored = target == options.ignore_index
    return ignored, ~ignored & (target >= 0) & (target < vocabulary)
