"""Causal softmax attention with grouped heads: query head h reads key head h // (H / G)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window: int | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """Causal softmax attention, fused.

    q [B, L, H, K], k [B, L, G, K], v [B, L, G, V] -> [B, L, H, V]; `scale` defaults to K ** -0.5.
    window: over the last `window` positions only. bias: added to the scores, broadcasts to
    [B, H, L, L]. segments [B, L]: a position sees its own segment only. keep: bool, broadcasts to
    the scores; a query with no key left gives zeros.
    """
    mask = attend_mask(q, window, segments, keep)
    empty = None if keep is None or mask is None else ~mask.any(-1).transpose(1, 2)[..., None]
    dtype = autocast_dtype(q)
    # Autocast would round the bias, too, whose differences may be small beside it.
    with torch.autocast(q.device.type, enabled=False):
        if bias is not None or empty is not None:
            mask = attend_bias(q, mask, bias)
        y = F.scaled_dot_product_attention(
            q.to(dtype).transpose(1, 2),
            k.to(dtype).transpose(1, 2),
            v.to(dtype).transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        ).transpose(1, 2)
    return y if empty is None else y.masked_fill(empty, 0.0)


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `x` are computed here."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def attend_mask(
    q: Tensor, window: int | None, segments: Tensor | None, keep: Tensor | None
) -> Tensor | None:
    """Which keys each query sees, bool of rank 4; None where that is all of its past."""
    mask = None if window is None else window_mask(q.shape[1], window, q.device)[None, None]
    if segments is not None:
        same = segments[:, None, :, None] == segments[:, None, None, :]
        mask = same if mask is None else same & mask
    if keep is not None:
        keep = keep[(None,) * (4 - keep.dim())]
        mask = keep if mask is None else keep & mask
    if mask is not None and window is None:
        mask = mask & window_mask(q.shape[1], q.shape[1], q.device)
    return mask


def attend_bias(q: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """What is added to the scores, of rank 4, in float32 at least: very low where masked.

    The lowest number, not -inf, which would make the gradient of a fully masked row NaN.
    """
    length = q.shape[1]
    if mask is None:
        mask = window_mask(length, length, q.device)[None, None]
    dtype = torch.promote_types(q.dtype, torch.float32)
    if bias is None:
        bias = q.new_zeros((), dtype=dtype)
    bias = bias.to(dtype)[(None,) * (4 - bias.dim())]
    return torch.where(mask, bias, torch.finfo(dtype).min)


def attend_logits(q: Tensor, k: Tensor, scale: float | None = None) -> Tensor:
    """Scaled scores of every query with every key: [B, L, H, K], [B, L, G, K] -> [B, H, L, L]."""
    grouped = torch.unflatten(q, 2, (k.shape[2], -1))
    score = torch.einsum("bigrk,bjgk->bgrij", grouped, k).flatten(1, 2)
    return score * (q.shape[-1] ** -0.5 if scale is None else scale)


def attend_scores(
    score: Tensor, keep: Tensor | None, v: Tensor, sinks: Tensor | None = None
) -> Tensor:
    """Softmax over the keys that are kept and not in the future, then the mean of the values.

    score [B, H, L, L], keep broadcasts to it, v [B, L, G, V], sinks [H] -> [B, L, H, V]. Softmax
    is in float32 or better; a query with no key left gives zeros.
    """
    causal = window_mask(score.shape[-1], score.shape[-1], score.device)
    keep = causal if keep is None else causal & keep
    score = score.to(torch.promote_types(score.dtype, torch.float32))
    # The lowest number, not -inf, which would make the gradient of a fully masked row NaN.
    score = score.masked_fill(~keep, torch.finfo(score.dtype).min)
    if sinks is not None:
        sink = sinks.to(score.dtype)[:, None, None].expand(*score.shape[:-1], 1)
        score = torch.cat([score, sink], dim=-1)
    weights = score.softmax(-1)[..., : keep.shape[-1]].masked_fill(~keep, 0.0)
    grouped = torch.unflatten(weights.to(v.dtype), 1, (v.shape[2], -1))
    return torch.einsum("bgrij,bjgv->bigrv", grouped, v).flatten(2, 3)


def attend_indices(score: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices (b, h, i, j) of batch row, head, query and key, each broadcasting to [B, H, L, L]."""
    b, h, i, j = (torch.arange(size, device=score.device) for size in score.shape)
    return b[:, None, None, None], h[:, None, None], i[:, None], j


def attend_grid(q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The indices of the scores of q [B, L, H, K], as `attend_indices`."""
    batch, length, heads, _ = q.shape
    return attend_indices(q.new_empty(()).expand(batch, heads, length, length))


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """The bool mask [L, L] that keeps keys with 0 <= query - key < window."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)
