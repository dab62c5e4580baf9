"""The delta rule with decay, a chunk at a time: a decay and a low-rank change of the state.

DeltaNet (arXiv 2406.06484), Gated DeltaNet (2412.06464), KDA (2510.26692) and RWKV-7 (2503.14456)
are instances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gabc.runtime.functional.chunk_states import chunk_states
from gabc.runtime.functional.decayed_scores import decayed_scores
from gabc.runtime.functional.linear_attention import (
    CHUNK,
    chunk_size,
    first_state,
    from_chunks,
    full_log_decay,
    in_chunks,
)
from gabc.runtime.functional.pointwise import wide_dtype


def delta_rule(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> Tensor:
    """o_t = q_t S_t with S_t = diag(exp g_t) S_{t-1} + r_t (l_t^T S_{t-1}) + k_t v_t^T.

    S_{-1} is `initial`, which broadcasts to [B, H, K, V], or zero. q, l, r, k [B, L, H, K]; v
    [B, L, H, V]; g = log_decay broadcasts to [B, L, H] (`decay` "head") or [B, L, H, K] ("key"), or
    is None: no decay. With `read_before` o_t = q_t S_{t-1}. Returns [B, L, H, V] in v's dtype; sums
    are in float32 at least. DeltaNet has l = k, r = -beta k, k = beta k.
    """
    return delta_rule_state(
        q, l, r, k, v, log_decay, decay=decay, read_before=read_before, initial=initial
    )[0]


def delta_rule_state(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`delta_rule` and the last state [B, H, K, V], which stays in float32 at least.

    Within a chunk the u_t = l_t^T S_{t-1} solve a unit lower triangular system: u = W S + Z for the
    chunk's first state S (the WY form of arXiv 2406.06484, section 3). Raises ValueError for a
    decay that is neither of heads nor of keys.
    """
    if decay not in ("head", "key"):
        raise ValueError(f'decay must be "head" or "key", not "{decay}"')
    length, width, dtype = k.shape[1], k.shape[-1], wide_dtype(v)
    g = full_log_decay(log_decay, decay, k, v)
    # With many more updates than keys a chunk's system is worse conditioned than the loop.
    size = chunk_size(length, max(8, min(CHUNK, 2 * width)))
    # Autocast would run every product at its own precision, whatever the operands are cast to.
    with torch.autocast(v.device.type, enabled=False):
        qc, lc, rc, kc, vc = (in_chunks(x, size, dtype) for x in (q, l, r, k, v))
        parts = decayed_scores(
            (lc, qc),
            (rc, kc),
            None if g is None else in_chunks(g, size, dtype),
            (True, read_before),
        )
        ((lr, lk), (qr, qk)), (read_l, read_q), (written_r, written_k) = parts[:3]
        inverse = torch.linalg.solve_triangular(
            -lr, torch.eye(size, dtype=dtype, device=v.device), upper=False, unitriangular=True
        )
        states, u = chunk_states(
            inverse @ read_l,
            inverse @ (lk @ vc),
            parts.total.unsqueeze(-1),
            written_r.transpose(-1, -2),
            written_k.transpose(-1, -2) @ vc,
            first_state(initial, k, v, dtype),
        )
        o = read_q @ states[:, :-1] + qr @ u + qk @ vc
        return from_chunks(o, length).to(v.dtype), states[:, -1]
