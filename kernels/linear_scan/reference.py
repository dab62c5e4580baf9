"""The linear recurrence of single elements in plain torch: the meaning of the operator.

float16, bfloat16 and float32 are computed in float32 and complex64 in complex64, rounded once where
a result is returned; float64 and complex128 stay.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forward(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """`h_t = a_t h_{t-1} + b_t` for t = 0 .. L-1, with `h_{-1} = initial`.

    a, b: [B, L, *S]; initial: [B, *S]. Returns every h_t, [B, L, *S] in the dtype of b.
    """
    h = _wide(initial)
    states = torch.empty(b.shape, dtype=h.dtype, device=b.device)
    for a_t, b_t, out in zip(_steps(a), _steps(b), states.unbind(1), strict=True):
        h = a_t * h + b_t
        out.copy_(h)
    return states.to(b.dtype)


def backward(
    dh: Tensor, a: Tensor, h: Tensor, initial: Tensor, needs_da: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to a, b and initial, in their dtypes.

    With `u_L = 0`, backwards in time: `db_t = dh_t + u_{t+1}`, `da_t = db_t conj(h_{t-1})` and
    `u_t = conj(a_t) db_t`; `dinitial = u_0` (Martin and Cundy 2018, arXiv:1709.04057, equation 9).
    h are the states as `forward` returned them, rounded. Without `needs_da` the first result has no
    elements, since an operator cannot return an absent tensor.
    """
    u = torch.zeros_like(_wide(initial), memory_format=torch.contiguous_format)
    db = torch.empty(dh.shape, dtype=u.dtype, device=dh.device)
    steps = zip(_steps(dh), _steps(a), db.unbind(1), strict=True)
    for dh_t, a_t, out in reversed(list(steps)):
        db_t = dh_t + u
        u = a_t.conj_physical() * db_t
        out.copy_(db_t)
    da = a.new_empty(0)
    if needs_da:
        before = torch.cat([initial.unsqueeze(1).to(u.dtype), h[:, :-1].to(u.dtype)], 1)
        da = (db * before.conj_physical()).to(a.dtype) if db.numel() else a.new_empty(a.shape)
    return da, db.to(dh.dtype), u.to(initial.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _steps(x: Tensor) -> tuple[Tensor, ...]:
    return _wide(x).unbind(1)
