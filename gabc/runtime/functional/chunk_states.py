"""The states between chunks whose steps correct what the state holds, one chunk after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gabc.runtime.functional.derivatives import differentiable_gradients


def chunk_states(
    of_state: Tensor, of_chunk: Tensor, kept: Tensor, written: Tensor, added: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """The states between chunks [B, N + 1, H, K, V], and u [B, N, H, C, V].

    u_n = of_state_n S_n + of_chunk_n and S_{n+1} = kept_n S_n + written_n u_n + added_n, from S_0 =
    `first` [B, H, K, V]: of_state [B, N, H, C, K], of_chunk [B, N, H, C, V], kept [B, N, H, K or 1,
    1], written [B, N, H, K, C], added [B, N, H, K, V]. The product written_n of_state_n would make
    a step one matrix product, of K^2 V multiplications instead of 2 C K V, and cost C K^2 itself.
    """
    by_chunk = (x.transpose(0, 1).flatten(1, 2) for x in (of_state, of_chunk, kept, written, added))
    parts = _ChunkStates.apply(*by_chunk, first.flatten(0, 1))  # type: ignore[no-untyped-call]
    states, u = (x.unflatten(1, first.shape[:2]).transpose(0, 1) for x in parts)
    return states, u


def defined_chunk_states(
    of_state: Tensor, of_chunk: Tensor, kept: Tensor, written: Tensor, added: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """The loop as it is defined, for autograd: chunks first, then rows and heads as one axis."""
    states, us = [first], []
    for w_n, z_n, kept_n, written_n, added_n in zip(
        of_state, of_chunk, kept, written, added, strict=True
    ):
        us.append(w_n @ states[-1] + z_n)
        states.append(kept_n * states[-1] + written_n @ us[-1] + added_n)
    return torch.stack(states), torch.stack(us)


# The context of an autograd node has no type of its own in torch.
class _ChunkStates(torch.autograd.Function):
    """By hand, because autograd of the loop stacks the gradients of all its slices."""

    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> tuple[Tensor, Tensor]:
        of_state, of_chunk, kept, written, added, first = operands
        states = torch.empty((len(added) + 1, *first.shape), dtype=first.dtype, device=first.device)
        u = torch.empty_like(of_chunk, memory_format=torch.contiguous_format)
        states[0] = first
        for n in range(len(added)):
            torch.baddbmm(of_chunk[n], of_state[n], states[n], out=u[n])
            torch.addcmul(added[n], kept[n], states[n], out=states[n + 1])
            states[n + 1].baddbmm_(written[n], u[n])
        ctx.save_for_backward(*operands, states, u)
        return states, u

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *operands, states, u = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiable_gradients(defined_chunk_states, operands, gradients)
        of_state, of_chunk, kept, written, added, _ = operands
        dstates, du = gradients
        dadded = torch.empty_like(added, memory_format=torch.contiguous_format)
        du_all = torch.empty_like(of_chunk, memory_format=torch.contiguous_format)
        with torch.autocast(added.device.type, enabled=False):
            dstate = dstates[-1]
            for n in reversed(range(len(added))):
                dadded[n] = dstate
                torch.baddbmm(du[n], written[n].transpose(-1, -2), dstate, out=du_all[n])
                dstate = torch.addcmul(dstates[n], kept[n], dstate)
                dstate.baddbmm_(of_state[n].transpose(-1, -2), du_all[n])
            dof_state = du_all @ states[:-1].transpose(-1, -2)
            dwritten = dadded @ u.transpose(-1, -2)
            dkept = (dadded * states[:-1]).sum_to_size(kept.shape)
        return dof_state, du_all, dkept, dwritten, dadded, dstate
