"""The delta rule with decay in plain torch: the meaning of the operator, a loop over time.

DeltaNet (arXiv 2406.06484), Gated DeltaNet (2412.06464), KDA (2510.26692) and RWKV-7 (2503.14456).
float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
Nothing here knows of the WY form; chunks only say which states are kept for the backward. There are
no matrix products, whose precision autocast would change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened
from .chunks import chunk_count, chunk_steps

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def forward(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`u_t = S_{t-1}^T l_t`, `S_t = diag(exp g_t) S_{t-1} + r_t u_t^T + k_t v_t^T`.

    `o_t = S_t^T q_t`, or `S_{t-1}^T q_t` with `read_before`; S_{-1} is `initial` or zero. q, l, r
    and k [B, L, H, K]; v [B, L, H, V]; g [B, L, H], [B, L, H, K] or None for no decay; initial
    [B, H, K, V]. Returns o [B, L, H, V] in v's dtype, the last state [B, H, K, V] and the states
    before each chunk [B, H, N, K, V], both in float32 at least.
    """
    state, o = _first_state(initial, k, v), v.new_empty(v.shape)
    size, count = chunk_steps(k.shape[-1]), chunk_count(v.shape[1], k.shape[-1])
    states = state.new_empty(*state.shape[:2], count, *state.shape[2:])
    wide = [widened(x) for x in (q, l, r, k, v)]
    kept = _kept(g)
    for t in range(v.shape[1]):
        q_t, l_t, r_t, k_t, v_t = (x[:, t] for x in wide)
        if t % size == 0:
            states[:, :, t // size] = state
        before = state
        state = _stepped(state, l_t, r_t, k_t, v_t, None if kept is None else kept[:, t])
        o[:, t] = _read(before if read_before else state, q_t).to(o.dtype)
    return o, state.clone(memory_format=torch.contiguous_format), states


def backward(
    do: Tensor,
    dfinal: Tensor,
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    states: Tensor,
    read_before: bool,
) -> Gradients:
    """Gradients of `forward`: of q, l, r, k, v, g and initial, each in its operand's dtype.

    With D the gradient of S_t (`+ q_t do_t^T` if o_t reads it) and `du_t = D^T r_t`:
    `dk_t = D v_t`, `dv_t = D^T k_t`, `dr_t = D u_t`, `dl_t = S_{t-1} du_t`,
    `dg_t = exp(g_t) sum(D * S_{t-1})` over values, and over keys if the decay is of heads;
    `D <- diag(exp g_t) D + l_t du_t^T` (`+ q_t do_t^T` if o_t reads S_{t-1}). The gradient of an
    absent g or initial has no elements, since an operator cannot return an absent tensor.
    """
    size, length = chunk_steps(k.shape[-1]), v.shape[1]
    wide = [widened(x) for x in (q, l, r, k, v)]
    dq, dl, dr, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in wide)
    kept, wide_do, grad = _kept(g), widened(do), widened(dfinal)
    dkept = None if kept is None else torch.empty_like(kept, memory_format=torch.contiguous_format)
    for n in reversed(range(states.shape[2])):
        steps = range(n * size, min(n * size + size, length))
        inside = [states[:, :, n]]
        for t in steps:
            kept_t = None if kept is None else kept[:, t]
            _, l_t, r_t, k_t, v_t = (x[:, t] for x in wide)
            inside.append(_stepped(inside[-1], l_t, r_t, k_t, v_t, kept_t))
        for t in reversed(steps):
            q_t, l_t, r_t, k_t, v_t = (x[:, t] for x in wide)
            before, after = inside[t - steps.start], inside[t - steps.start + 1]
            read = q_t.unsqueeze(-1) * wide_do[:, t].unsqueeze(-2)
            dq[:, t] = _written(before if read_before else after, wide_do[:, t])
            grad = grad if read_before else grad + read
            du_t = _read(grad, r_t)
            dk[:, t], dv[:, t] = _written(grad, v_t), _read(grad, k_t)
            dr[:, t], dl[:, t] = _written(grad, _read(before, l_t)), _written(before, du_t)
            carried = grad
            if kept is not None and dkept is not None:
                carried = kept[:, t] * grad
                dkept[:, t] = (carried * before).sum_to_size(dkept[:, t].shape)
            grad = carried + l_t.unsqueeze(-1) * du_t.unsqueeze(-2)
            grad = grad + read if read_before else grad
    dinitial = v.new_empty(0)
    if initial is not None:
        # Without steps it would be `dfinal` itself, which an operator must not return.
        dinitial = grad.to(initial.dtype).clone(memory_format=torch.contiguous_format)
    if g is None or dkept is None:
        dg = v.new_empty(0)
    else:
        dg = dkept.reshape(g.shape).to(g.dtype).contiguous()
    found = (x.to(to.dtype) for x, to in zip((dq, dl, dr, dk, dv), (q, l, r, k, v), strict=True))
    dq, dl, dr, dk, dv = found
    return dq, dl, dr, dk, dv, dg, dinitial


def _first_state(initial: Tensor | None, k: Tensor, v: Tensor) -> Tensor:
    if initial is not None:
        return widened(initial)
    shape = (k.shape[0], k.shape[2], k.shape[3], v.shape[3])
    return torch.zeros(shape, dtype=widened(v).dtype, device=v.device)


def _kept(g: Tensor | None) -> Tensor | None:
    """exp g as [B, L, H, K or 1, 1]."""
    if g is None:
        return None
    return widened(g).exp()[(..., *[None] * (5 - g.ndim))]


def _stepped(
    state: Tensor,
    l_t: Tensor,
    r_t: Tensor,
    k_t: Tensor,
    v_t: Tensor,
    kept: Tensor | None,
) -> Tensor:
    added = r_t.unsqueeze(-1) * _read(state, l_t).unsqueeze(-2)
    added = added + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
    return (state if kept is None else kept * state) + added


def _read(state: Tensor, key: Tensor) -> Tensor:
    """[B, H, K, V] and [B, H, K] to [B, H, V]."""
    return (key.unsqueeze(-1) * state).sum(-2)


def _written(state: Tensor, value: Tensor) -> Tensor:
    """[B, H, K, V] and [B, H, V] to [B, H, K]."""
    return (state * value.unsqueeze(-2)).sum(-1)
