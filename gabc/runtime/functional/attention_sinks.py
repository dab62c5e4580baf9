"""Causal softmax attention with sinks: logits that join the denominator, fused."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.attention import attend_bias, attend_mask, autocast_dtype


def attend_with_sinks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor,
    scale: float | None = None,
    window: int | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """`attend` with sinks [H], the logits of a key that every query of a head sees: its value is 0.

    OpenAI 2025, arXiv 2508.10925, section 2.3.
    """
    mask, width = attend_mask(q, window, segments, keep), v.shape[-1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    dtype = autocast_dtype(q)
    with torch.autocast(q.device.type, enabled=False):
        if bias is not None:
            mask = F.pad(attend_bias(q, mask, bias), (1, 0, 1, 0))
        elif mask is not None:
            mask = F.pad(mask, (1, 0, 1, 0), value=True)
        q, k, v = with_sink(q.to(dtype), k.to(dtype), v.to(dtype), sinks, scale)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        )
    return y.transpose(1, 2)[:, 1:, :, :width]


def with_sink(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v with one more position in front, a sink for all that follow.

    Its value is zero, and the logit of head h with it `sinks[h]`, so that the rest of the softmax
    loses exp(sinks[h]) to it. Being first it is in the past of every query: causal attention needs
    no mask for it. The logits stand in two more features of the queries, which are 1 in the sink's
    key and 0 in all others: a bias would have to be learned, and then no kernel is fused. The
    second holds what the dtype rounds off the first. Kernels want widths that 8 divides, and most
    of them one for keys and values.
    """
    width = q.shape[-1]
    more = -(width + 2) % 8
    limit = torch.finfo(q.dtype).max
    logit = (sinks / scale).clamp(-limit, limit)
    high = logit.to(q.dtype)
    logits = torch.stack([high, (logit - high).to(q.dtype)], dim=-1).expand(*q.shape[:3], 2)
    q = F.pad(torch.cat([q, logits], dim=-1), (0, more, 0, 0, 1, 0))
    sink = F.pad(k.new_ones(2), (width, more)).expand(k.shape[0], 1, k.shape[2], -1)
    k = torch.cat([sink, F.pad(k, (0, 2 + more))], dim=1)
    v = F.pad(v, (0, 2 + more if v.shape[-1] == width else 0, 0, 0, 1, 0))
    return q, k, v
