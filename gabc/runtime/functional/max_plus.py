"""The recurrence m_t = max(m_{t-1} + f_t, i_t): running maxima, and stabilisers of exponentials."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from gabc.runtime.functional.blocked_scan import run_scan, states_operator
from gabc.runtime.functional.linear_scan import reversed_linear_scan_of, scan_operands


def max_plus_scan(f: Tensor, i: Tensor, initial: Tensor | float = -torch.inf) -> Tensor:
    """m_t = max(m_{t-1} + f_t, i_t) for t = 0 .. L-1 with m_{-1} = `initial`; returns every m_t.

    f, i broadcast together to [B, L, *S]; `initial` is a number or broadcasts to [B, *S]. Returns
    [B, L, *S] in i's dtype, computed in float32 at least. `initial`, f and i may be -inf. The
    gradient goes to the larger operand of each maximum, half to each where they are equal, as that
    of torch.maximum does.
    """
    f, i, state, dtype = scan_operands(f, i, initial)
    with torch.autocast(i.device.type, enabled=False):
        if not i.shape[1]:
            return i.to(dtype)
        m = MaxPlusScan.apply(f, i, state)  # type: ignore[no-untyped-call]
        return cast("Tensor", m).to(dtype)


# The context of an autograd node has no type of its own in torch.
class MaxPlusScan(torch.autograd.Function):
    """The gradient with respect to m_t is a reversed linear scan, over the shares of the past."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, i: Tensor, initial: Tensor) -> Tensor:
        m = max_plus_states(f, i, initial)
        ctx.save_for_backward(f, i, initial, m)
        return m

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        share = _share_of_the_past(*(x.detach() for x in ctx.saved_tensors))
        dm = reversed_linear_scan_of(share, gradients[0])
        if torch.is_grad_enabled():
            df = dm * share
            return df, dm - df, df[:, 0]
        df = share.mul_(dm)
        return df, dm.sub_(df), df[:, 0]


def _share_of_the_past(f: Tensor, i: Tensor, initial: Tensor, m: Tensor) -> Tensor:
    """What of the gradient of m_t goes to m_{t-1} + f_t: 1, 1/2 or 0."""
    lead = torch.cat([initial.unsqueeze(1), m[:, :-1]], 1).add_(f).sub_(i)
    # Two operands of -inf are equal, and their difference is NaN.
    # Half of 1 + sign: `heaviside` says the same, and takes twenty times as long on a CPU.
    return lead.nan_to_num_(0.0).sign_().add_(1.0).mul_(0.5)


def _max_plus_step(f: Tensor, i: Tensor, m: Tensor, out: Tensor) -> None:
    torch.maximum(torch.add(m, f, out=out), i, out=out)


def _max_plus_states(f: Tensor, i: Tensor, initial: Tensor) -> Tensor:
    m = torch.empty(i.shape, dtype=i.dtype, device=i.device)
    run_scan(_max_plus_step, torch.add, f, i, initial, m)
    return m


max_plus_states = states_operator("max_plus_states", _max_plus_states)
