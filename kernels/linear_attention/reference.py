"""Decayed linear attention in plain torch: the meaning of the operator, and its CPU implementation.

`S_t = exp(g_t) S_{t-1} + k_t v_t^T` and `o_t = q_t S_t`, or `q_t S_{t-1}` with `read_before`, plus
`(q_t . (u * k_t)) v_t` with a bonus u (RWKV). Gated linear attention, Yang et al. 2023
(arXiv:2312.06635); RWKV-6, Peng et al. 2024 (arXiv:2404.05892).

Outputs and gradients are the derivatives of one sum over pairs s <= t (s < t with `read_before`),

    F = sum over t, s of (sum over i of x_ti y_si D_tsi) (z_t . w_s),

where D is the decay from s to the read at t. i runs over the axis that decays: with a decay for
each key, for a head or none, x, y, z, w are q, k, do, v; with a decay for each value do, v, q, k.
Then o, dq, dk, dv are the derivatives of F by do, q, k, v.

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64. No
decay is divided by another and no logarithms are subtracted, so -inf is a decay of exactly zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import widened

CHUNK = 16
"""Steps whose decays are all held at once: CHUNK numbers for each of k or v with such a decay."""


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor]:
    """o [B, L, H, V] in the dtype of v, and the last state [B, H, K, V] in float32 at least.

    q, k [B, L, H, K], v [B, L, H, V], log_decay [B, L, H], [B, L, H, K] or [B, L, H, V] by `decay`,
    initial [B, H, K, V], bonus [H, K]; absent ones are no decay, zero and zero.
    """
    is_value = decay == "value"
    qc, kc, vc = (_in_chunks(x) for x in (q, k, v))
    found = _decays(_factors(log_decay, v), read_before)
    with _exact_products(v):
        if is_value:
            states = _states(found, vc, kc, _first(initial, q, v).mT)
            o = torch.einsum("...ts,...tsi,...si->...ti", qc @ kc.mT, found.between, vc)
            o = o + found.since * (qc @ states[:, :-1].mT)
            last = states[:, -1].mT
        else:
            states = _states(found, kc, vc, _first(initial, q, v))
            o = _scores(qc, kc, found, bonus) @ vc + (qc * found.since) @ states[:, :-1]
            last = states[:, -1]
    return _from_chunks(o, v.shape[1], v.dtype), last.contiguous()


def backward(
    do: Tensor,
    dlast: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, log_decay, initial and bonus; of absent ones, tensors of no elements.

    With S the state before a chunk, R the gradient of the state after it, `since` the decay from
    its start to a read and `to_end` that from a write to its end:
    `R before = total R + (x since)^T z`,
    `dx_t = sum_s (z_t . w_s) D_ts y_s + since_t (S z_t)`,
    `dy_s = sum_t (z_t . w_s) D_ts x_t + to_end_s (R w_s)`,
    `dz_t = sum_s (x_t . D_ts y_s) w_s + (x_t since_t) S`,
    `dw_s = sum_t (x_t . D_ts y_s) z_t + (y_s to_end_s) R`.
    The gradient of g_r is the sum of the terms of F whose decay has r in it: s < r <= t, or
    s < r < t with `read_before`, with s, t or both outside the chunk through S and R. It is
    summed as such: `sum_{t >= r} (x_t dx_t - y_t dy_t)`, which equals it, subtracts the terms
    with s and t on one side of r, which are larger by any factor where r decays strongly.
    """
    is_value, length = decay == "value", v.shape[1]
    qc, kc, vc, doc = (_in_chunks(x) for x in (q, k, v, do))
    x, y, z, w = (doc, vc, qc, kc) if is_value else (qc, kc, doc, vc)
    first, after = _first(initial, q, v), dlast.to(qc.dtype)
    if is_value:
        first, after = first.mT, after.mT
    found = _decays(_factors(log_decay, v), read_before)
    with _exact_products(v):
        dx, dy, dz, dw, dfirst, dg = _gradients(found, x, y, z, w, first, after, bonus, read_before)
    dbonus = q.new_empty(0)
    if bonus is not None:
        u, own = bonus.to(x.dtype).unsqueeze(-2), (z * w).sum(-1, keepdim=True)
        dx, dy = dx + own * u * y, dy + own * u * x
        dbonus = (own * x * y).sum((0, 1, 3)).to(bonus.dtype)
    dlog_decay = q.new_empty(0)
    if log_decay is not None:
        dg = dg.sum(-1, keepdim=True) if decay == "head" else dg
        dlog_decay = _from_chunks(dg, length, log_decay.dtype).view(log_decay.shape)
    dq, dk, dv = (dz, dw, dy) if is_value else (dx, dy, dw)
    dfirst = dfirst.mT if is_value else dfirst
    return (
        _from_chunks(dq, length, q.dtype),
        _from_chunks(dk, length, k.dtype),
        _from_chunks(dv, length, v.dtype),
        dlog_decay,
        q.new_empty(0) if initial is None else dfirst.to(initial.dtype).contiguous(),
        dbonus,
    )


def _exact_products(x: Tensor) -> torch.autocast:
    """Autocast is on inside an operator, and would round what is multiplied here."""
    return torch.autocast(x.device.type, enabled=False)


class _Decays(NamedTuple):
    """D from step s to a read at t [.., t, s, I], zero where t does not see s; since [.., t, I];
    to_end [.., s, I]; that of the whole chunk [.., 1, I]. I is one for a head or none."""

    between: Tensor
    since: Tensor
    to_end: Tensor
    total: Tensor


def _decays(factors: Tensor, read_before: bool) -> _Decays:
    """factors [.., C, I]."""
    steps = torch.arange(factors.shape[-2], device=factors.device)
    later = (steps[:, None] > steps)[..., None]  # [r, s, 1]
    seen = (steps[:, None] >= steps)[..., None]
    between = torch.where(later, factors.unsqueeze(-2), 1.0).cumprod(-3) * seen
    since = factors.cumprod(-2)
    to_end, total = between[..., -1, :, :], since[..., -1:, :]
    if read_before:
        between = F.pad(between[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
        since = F.pad(since[..., :-1, :], (0, 0, 1, 0), value=1.0)
    return _Decays(between, since, to_end, total)


def _gradients(
    found: _Decays,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    w: Tensor,
    first: Tensor,
    after: Tensor,
    bonus: Tensor | None,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of x, y, z, w, the first state and the log decays [.., C, I], as in `backward`; the bonus is
    in the gradient of w only."""
    S = _states(found, y, w, first)[:, :-1]
    R = _gradients_of_states(found, x, z, after)
    dfirst, R = R[:, 0], R[:, 1:]
    plain, scores = z @ w.mT, _scores(x, y, found, bonus)
    of_start, of_end = found.since * (z @ S.mT), found.to_end * (w @ R.mT)
    dx = torch.einsum("...ts,...tsi,...si->...ti", plain, found.between, y) + of_start
    dy = torch.einsum("...ts,...tsi,...ti->...si", plain, found.between, x) + of_end
    dz = scores @ w + (x * found.since) @ S
    dw = scores.mT @ z + (y * found.to_end) @ R
    pairs = torch.einsum("...ts,...ti,...si,...tsi->...tsi", plain, x, y, found.between)
    both = found.total * (S * R).sum(-1).unsqueeze(-2)
    dg = _from_regions(pairs, x * of_start, y * of_end, both, read_before)
    return dx, dy, dz, dw, dfirst, dg


def _scores(x: Tensor, y: Tensor, found: _Decays, bonus: Tensor | None) -> Tensor:
    """x_t . D_ts y_s [.., C, C], and on the diagonal the bonus x_t . (u * y_t)."""
    scores = torch.einsum("...ti,...si,...tsi->...ts", x, y, found.between)
    if bonus is not None:
        own = (x * bonus.to(x.dtype).unsqueeze(-2) * y).sum(-1)
        scores = scores + torch.diag_embed(own)
    return scores


def _states(found: _Decays, y: Tensor, w: Tensor, first: Tensor) -> Tensor:
    """States before each chunk, and the last: [B, N + 1, H, I, J]."""
    added, states = ((y * found.to_end).mT @ w).unbind(1), [first]
    for kept, new in zip(_totals(found, len(added)), added, strict=True):
        states.append(kept * states[-1] + new)
    return torch.stack(states, 1)


def _gradients_of_states(found: _Decays, x: Tensor, z: Tensor, after: Tensor) -> Tensor:
    """Gradients of the states before each chunk, and of the last: [B, N + 1, H, I, J]."""
    added, states = ((x * found.since).mT @ z).unbind(1), [after]
    for kept, new in zip(_totals(found, len(added))[::-1], added[::-1], strict=True):
        states.append(kept * states[-1] + new)
    return torch.stack(states[::-1], 1)


def _totals(found: _Decays, chunks: int) -> tuple[Tensor, ...]:
    """The decay of each chunk, [B, H, I, 1]."""
    return found.total.mT.expand(-1, chunks, -1, -1, -1).unbind(1)


def _from_regions(
    pairs: Tensor, of_start: Tensor, of_end: Tensor, both: Tensor, read_before: bool
) -> Tensor:
    """[.., C, I]: for each step r the terms whose decay has r in it.

    pairs [.., t, s, I] are those within the chunk; of_start [.., t, I] those from before it,
    of_end [.., s, I] those to after it, both [.., 1, I] those across it.
    """
    steps = torch.arange(pairs.shape[-2], device=pairs.device)
    written = (steps[:, None] > steps).to(pairs.dtype)  # [r, s]
    read = written.mT if read_before else 1.0 - written  # [r, t]
    within = torch.einsum("rt,rs,...tsi->...ri", read, written, pairs)
    return within + read @ of_start + written @ of_end + both


def _factors(log_decay: Tensor | None, v: Tensor) -> Tensor:
    """exp(log_decay) as [B, N, H, C, I]; ones, with I = 1, if there is none."""
    if log_decay is None:
        return _in_chunks(v[..., :1]).new_ones(1, 1, 1, CHUNK, 1)
    log_decay = log_decay.unsqueeze(-1) if log_decay.dim() == 3 else log_decay
    return _in_chunks(log_decay.to(widened(v[:0]).dtype)).exp()


def _first(initial: Tensor | None, q: Tensor, v: Tensor) -> Tensor:
    shape = (q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    dtype = widened(v[:0]).dtype
    return q.new_zeros(shape, dtype=dtype) if initial is None else initial.to(dtype)


def _in_chunks(x: Tensor) -> Tensor:
    """[B, L, H, D] to [B, N, H, C, D], filled up with zeros: writes nothing, decays by one."""
    x = F.pad(widened(x), (0, 0, 0, 0, 0, -x.shape[1] % CHUNK))
    batch, length, heads, width = x.shape
    return x.reshape(batch, length // CHUNK, CHUNK, heads, width).transpose(2, 3)


def _from_chunks(x: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """[B, N, H, C, D] to [B, length, H, D]."""
    batch, chunks, heads, steps, width = x.shape
    whole = x.transpose(2, 3).reshape(batch, chunks * steps, heads, width)
    return whole[:, :length].to(dtype).contiguous()
