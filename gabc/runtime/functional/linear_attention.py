"""Linear attention with decay, a chunk at a time: the parallel form of a decayed outer product."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.decayed_scores import decayed_scores, pairs
from gabc.runtime.functional.linear_scan import linear_scan
from gabc.runtime.functional.pointwise import wide_dtype

CHUNK = 32
"""Steps in a chunk: of 16, 32, 64 and 128 the fastest on a CPU, for every decay."""


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> Tensor:
    """o_t = q_t S_t with S_t = exp(g_t) S_{t-1} + k_t v_t^T from S_{-1} = `initial`, or zero.

    q, k [B, L, H, K]; v [B, L, H, V]; g = log_decay broadcasts to [B, L, H] (`decay` "head"),
    [B, L, H, K] ("key") or [B, L, H, V] ("value"), or is None: no decay; `initial` broadcasts to
    [B, H, K, V]. With `read_before` o_t = q_t S_{t-1}. Returns [B, L, H, V] in v's dtype; sums are
    in float32 at least. No decay overflows, -inf included; growth (g > 0) must stay finite over a
    chunk. GLA (arXiv 2312.06635).
    """
    return _linear_attention(q, k, v, log_decay, decay, read_before, initial, False)[0]


def linear_attention_state(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`linear_attention` and the last state [B, H, K, V], which stays in float32 at least."""
    return _linear_attention(q, k, v, log_decay, decay, read_before, initial, True)


def _linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    decay: str,
    read_before: bool,
    initial: Tensor | None,
    wants_state: bool,
) -> tuple[Tensor, Tensor]:
    length, dtype = v.shape[1], wide_dtype(v)
    g = full_log_decay(log_decay, decay, k, v)
    size = chunk_size(length, CHUNK)
    # Autocast would run every product at its own precision, whatever the operands are cast to.
    with torch.autocast(v.device.type, enabled=False):
        qc, kc, vc = (in_chunks(x, size, dtype) for x in (q, k, v))
        gc = None if g is None else in_chunks(g, size, dtype)
        parts = _chunk_parts(qc, kc, vc, gc, decay == "value", read_before)
        count = parts.inside.shape[1]
        # What the last chunk adds is no chunk's first state.
        n = count if wants_state else count - 1
        added = parts.written[:, :n].transpose(-1, -2) @ parts.values[:, :n]
        if initial is None and not n:
            return from_chunks(parts.inside, length).to(v.dtype), added
        first = first_state(initial, k, v, dtype)
        states = torch.cat([first.unsqueeze(1), linear_scan(parts.kept[:, :n], added, first)], 1)
        carried = parts.read @ states[:, :count]
        o = parts.inside + (carried if parts.since is None else parts.since * carried)
        return from_chunks(o, length).to(v.dtype), states[:, -1]


class ChunkParts(NamedTuple):
    """What chunks of C steps do, and what they would read of the states before them.

    inside [B, N, H, C, V]: reads of what the chunk itself wrote. Of the state S [K, V] before it
    they read `since` * (`read` S), with read [.., C, K] and since [.., C, V] or None for 1; the
    state after it is `kept` * S + written^T values, with written [.., C, K], values [.., C, V].
    """

    inside: Tensor
    read: Tensor
    since: Tensor | None
    written: Tensor
    values: Tensor
    kept: Tensor


def _chunk_parts(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, is_of_values: bool, read_before: bool
) -> ChunkParts:
    if g is not None and is_of_values:
        return _with_value_decay(q, k, v, g.exp(), read_before)
    parts = decayed_scores(q.unsqueeze(-3), k.unsqueeze(-3), g, (read_before,))
    inside = parts.scores[..., 0, :, 0, :] @ v
    read, written = parts.read.squeeze(-3), parts.written.squeeze(-3)
    return ChunkParts(inside, read, None, written, v, parts.total.unsqueeze(-1))


def _with_value_decay(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, read_before: bool
) -> ChunkParts:
    """A decay for each value, [..., C, V]: as with keys, blocks are joined in pairs, log C times.

    Values of the earlier block carry the decay up to the border, outputs of the later one that
    since it.
    """
    own = (q * k).sum(-1, keepdim=True) * v
    inside, since = (torch.zeros_like(v), torch.ones_like(v)) if read_before else (own, decay)
    inside, since, values, total = (x.unsqueeze(-2) for x in (inside, since, v, decay))
    while (count := total.shape[-3]) > 1:
        blocks = (count, -1)
        inside0, inside1 = pairs(inside, -3)
        since0, since1 = pairs(since, -3)
        values0, values1 = pairs(values, -3)
        total0, total1 = pairs(total, -3)
        _, q1 = pairs(torch.unflatten(q, -2, blocks), -3)
        k0, _ = pairs(torch.unflatten(k, -2, blocks), -3)
        seen = (q1 @ k0.transpose(-1, -2)) @ values0
        inside = torch.cat([inside0, inside1 + since1 * seen], -2)
        since = torch.cat([since0, since1 * total0], -2)
        values = torch.cat([values0 * total1, values1], -2)
        total = total0 * total1
    return ChunkParts(
        inside.squeeze(-3), q, since.squeeze(-3), k, values.squeeze(-3), total.squeeze(-3)
    )


def first_state(initial: Tensor | None, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, H, K, V]: the state before the first step, zero if none is given."""
    shape = (k.shape[0], k.shape[2], k.shape[3], v.shape[3])
    if initial is None:
        return torch.zeros(shape, dtype=dtype, device=v.device)
    return initial.to(dtype).expand(shape)


def full_log_decay(log_decay: Tensor | None, decay: str, k: Tensor, v: Tensor) -> Tensor | None:
    """log_decay [B, L, H, 1, K or V], by `decay`. Raises ValueError for another `decay`."""
    widths = {"head": 1, "key": k.shape[-1], "value": v.shape[-1]}
    if decay not in widths:
        raise ValueError(f'decay must be "head", "key" or "value", not "{decay}"')
    if log_decay is None:
        return None
    log_decay = log_decay.unsqueeze(-1) if decay == "head" else log_decay
    return log_decay.expand(*k.shape[:3], widths[decay])


def chunk_size(length: int, most: int) -> int:
    """A power of two, at most `most`, and no larger than is needed to hold the length."""
    return min(1 << (most.bit_length() - 1), 1 << (length - 1).bit_length())


def in_chunks(x: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """[B, L, H, D] to [B, N, H, size, D], filled up with zeros."""
    x = x.to(dtype)
    if missing := -x.shape[1] % size:
        x = F.pad(x, (0, 0, 0, 0, 0, missing))
    return torch.unflatten(x, 1, (-1, size)).transpose(2, 3)


def from_chunks(x: Tensor, length: int) -> Tensor:
    """[B, N, H, size, D] to [B, length, H, D]."""
    return x.transpose(2, 3).flatten(1, 2)[:, :length]
