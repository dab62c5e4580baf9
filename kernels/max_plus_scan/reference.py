"""The max-plus recurrence of single elements in plain torch: the meaning of the operator.

float16, bfloat16 and float32 are computed in float32 and rounded once where a result is returned;
float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened


def forward(f: Tensor, i: Tensor, initial: Tensor, needs_share: bool) -> tuple[Tensor, Tensor]:
    """`m_t = max(m_{t-1} + f_t, i_t)` for t = 0 .. L-1, with `m_{-1} = initial`.

    f, i: [B, L, *S]; initial: [B, *S]; all may be -inf. Returns every m_t, [B, L, *S] in the dtype
    of i, and the share of its gradient that goes to `m_{t-1} + f_t`: 1, 0, or 1/2 where both are
    equal or one is NaN, in float16, which has these numbers. The share is of the maxima before
    they are rounded. Without `needs_share` it has no elements.
    """
    m = widened(initial)
    states = torch.empty(i.shape, dtype=m.dtype, device=i.device)
    share = torch.empty(i.shape if needs_share else (0,), dtype=torch.float16, device=i.device)
    for t, (f_t, i_t) in enumerate(zip(widened(f).unbind(1), widened(i).unbind(1), strict=True)):
        past = m + f_t
        m = torch.maximum(past, i_t)
        states[:, t] = m
        if needs_share:
            share[:, t] = 0.5 + 0.5 * (past > i_t).to(m.dtype) - 0.5 * (past < i_t).to(m.dtype)
    return states.to(i.dtype), share


def backward(
    dm: Tensor, share: Tensor, f_dtype: torch.dtype, initial_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to f, i and initial, in their dtypes; that of i as dm.

    With `u_L = 0`, backwards in time: `g_t = dm_t + u_{t+1}` and `u_t = share_t g_t`. Then
    `df_t = u_t`, `di_t = g_t - u_t` and `dinitial = u_0`.
    """
    wide = widened(dm)
    u = wide.new_zeros(dm.shape[:1] + dm.shape[2:])
    df, di = torch.empty_like(wide), torch.empty_like(wide)
    for t in reversed(range(dm.shape[1])):
        g = wide[:, t] + u
        u = share[:, t].to(u.dtype) * g
        df[:, t], di[:, t] = u, g - u
    return df.to(f_dtype).contiguous(), di.to(dm.dtype).contiguous(), u.to(initial_dtype)
