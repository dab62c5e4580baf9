"""Linear attention with decay, a chunk at a time: the parallel form of a decayed outer product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.pointwise import wide_dtype


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    per_key: bool = False,
    read_before: bool = False,
) -> Tensor:
    """o_t = q_t S_t with S_t = exp(g_t) S_{t-1} + k_t v_t^T and S_{-1} = 0.

    q, k [B, L, H, K]; v [B, L, H, V]; g = log_decay broadcasts to [B, L, H], or with `per_key` to
    [B, L, H, K]. With `read_before` o_t = q_t S_{t-1}. Returns [B, L, H, V] in v's dtype; sums are
    in float32 at least. Decays are only ever summed, never subtracted, so no gate overflows.
    """
    # Autocast would run every product at its own precision, whatever the operands are cast to.
    with torch.autocast(v.device.type, enabled=False):
        return _by_chunks(q, k, v, log_decay, per_key, read_before)


def _by_chunks(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, per_key: bool, read_before: bool
) -> Tensor:
    batch, length, heads, width = k.shape
    dtype = wide_dtype(v)
    size = min(16 if per_key else 64, length)
    count = -(-length // size)
    decay_shape = (batch, length, heads, width if per_key else 1)
    log_decay = log_decay if per_key else log_decay[..., None]

    def chunked(x: Tensor) -> Tensor:
        x = F.pad(x.to(dtype), (0, 0, 0, 0, 0, count * size - length))
        x = x.reshape(batch, count, size, heads, x.shape[-1])
        return x.transpose(2, 3)  # [B, N, H, C, ...]

    qc, kc, vc = chunked(q), chunked(k), chunked(v)
    gc = chunked(log_decay.expand(decay_shape))
    between = segment_sums(gc)  # [B, N, H, C, C, K or 1]: the decay from s to t
    total = between[..., -1, :, :]  # from s to the end of the chunk
    since_start = gc.cumsum(-2)
    if read_before:
        # One step less: what has happened up to t - 1.
        before_first = torch.full_like(between[..., :1, :, :], float("-inf"))
        between = torch.cat([before_first, between[..., :-1, :, :]], dim=-3)
        since_start = F.pad(since_start[..., :-1, :], (0, 0, 1, 0))
    if per_key:
        scores = torch.einsum("bnhtk,bnhsk,bnhtsk->bnhts", qc, kc, between.exp())
    else:
        scores = (qc @ kc.transpose(-1, -2)) * between.squeeze(-1).exp()
    inside = scores @ vc
    reads = qc * since_start.exp()
    added = (kc * total.exp()).transpose(-1, -2) @ vc  # [B, N, H, K, V]
    kept = gc.sum(-2).exp().unsqueeze(-1)
    S = torch.zeros_like(added[:, 0])
    carried = []
    for n in range(count):
        carried.append(reads[:, n] @ S)
        S = kept[:, n] * S + added[:, n]
    o = inside + torch.stack(carried, dim=1)
    return o.transpose(2, 3).flatten(1, 2)[:, :length].to(v.dtype)


def segment_sums(g: Tensor) -> Tensor:
    """g [..., C, K] to [..., C, C, K]: at (t, s) the sum of g over s < r <= t, -inf where s > t.

    Summed directly and not as a difference of cumulative sums, which would cancel.
    """
    size = g.shape[-2]
    steps = torch.arange(size, device=g.device)
    after = steps[:, None] > steps  # [r, s]
    sums = torch.where(after[..., None], g[..., :, None, :], 0.0).cumsum(-3)
    reached = steps[:, None] >= steps  # [t, s]
    return torch.where(reached[..., None], sums, float("-inf"))
