"""Several delta rules a step: products of generalised Householder matrices (arXiv 2502.10297)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gabc.runtime.functional.delta_rule import delta_rule_state


def delta_product(
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
    """o_t = q_t S_t, where S_t is S_{t-1} after N updates, one after another.

    S <- diag(exp g_t) S + r_t0 (l_t0^T S) + k_t0 v_t0^T, S <- S + r_tj (l_tj^T S) + k_tj v_tj^T for
    the rest; l, r, k [B, L, N, H, K]; v [B, L, N, H, V]; the others as in `delta_rule`. Returns
    [B, L, H, V].
    """
    return delta_product_state(
        q, l, r, k, v, log_decay, decay=decay, read_before=read_before, initial=initial
    )[0]


def delta_product_state(
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
    """`delta_product` and the last state [B, H, K, V]: the delta rule over N L steps.

    The first of a step's updates decays, the last one is read (or the state before the first).
    Raises ValueError for a decay that is neither of heads nor of keys.
    """
    if decay not in ("head", "key"):
        raise ValueError(f'decay must be "head" or "key", not "{decay}"')
    count = k.shape[2]
    place = 0 if read_before else count - 1
    if log_decay is not None:
        widths = k.shape[-1:] if decay == "key" else ()
        log_decay = _at(log_decay.expand(*q.shape[:3], *widths), 0, count)
    o, state = delta_rule_state(
        _at(q, place, count),
        l.flatten(1, 2),
        r.flatten(1, 2),
        k.flatten(1, 2),
        v.flatten(1, 2),
        log_decay,
        decay=decay,
        read_before=read_before,
        initial=initial,
    )
    return o[:, place::count], state


def _at(x: Tensor, place: int, count: int) -> Tensor:
    """[B, L, ...] to [B, L * count, ...]: at `place` in every `count`, zeros elsewhere."""
    later = x.dim() - 2
    return F.pad(x.unsqueeze(2), (0, 0) * later + (place, count - 1 - place)).flatten(1, 2)
