"""Linear attention with decay, a chunk at a time: the parallel form of a decayed outer product."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.decayed_scores import decayed_scores
from gabc.runtime.functional.linear_scan import linear_scan
from gabc.runtime.functional.pairwise_decay import sums_by_value
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
    parts = decayed_scores((q,), (k,), g, (read_before,))
    ((scores,),), (read,), (written,) = parts.scores, parts.read, parts.written
    return ChunkParts(scores @ v, read, None, written, v, parts.total.unsqueeze(-1))


def _with_value_decay(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, read_before: bool
) -> ChunkParts:
    """A decay for each value, [..., C, V]."""
    lead, scores = v.shape[:-2], q @ k.transpose(-1, -2)
    scores, v, decay = (x.reshape(-1, *x.shape[-2:]) for x in (scores, v, decay))
    parts = sums_by_value(scores, v, decay, read_before)
    inside, since, values, total = (x.view(*lead, *x.shape[1:]) for x in parts)
    return ChunkParts(inside, q, since, k, values, total.unsqueeze(-2))


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
    """[B, L, H, D] to [B, N, H, size, D] in one piece of memory, filled up with zeros."""
    x = x.to(dtype)
    if missing := -x.shape[1] % size:
        x = F.pad(x, (0, 0, 0, 0, 0, missing))
    # Every matrix product would copy it by itself.
    return torch.unflatten(x, 1, (-1, size)).transpose(2, 3).contiguous()


def from_chunks(x: Tensor, length: int) -> Tensor:
    """[B, N, H, size, D] to [B, length, H, D]."""
    return x.transpose(2, 3).flatten(1, 2)[:, :length]
