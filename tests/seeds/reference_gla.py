"""Gated linear attention (arXiv 2312.06635): no seed, but the form most others specialise.

The parallel form of section 4.1: o_t = sum_{s <= t} (q_t * prod_{s < j <= t} alpha_j . k_s) v_s.
The standard library states the recurrent one, equation (3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .plain import Parameters, Shapes, linear, rms_norm, split_heads

HEADS = 4
RANK = 16
TEMPERATURE = 16.0
EPS = 1e-5


def shapes(width: int) -> Shapes:
    """Parameters of one mixer."""
    return {
        "wq.weight": (width // 2, width),
        "wk.weight": (width // 2, width),
        "wv.weight": (width, width),
        "wr.weight": (width, width),
        "wr.bias": (width,),
        "wo.weight": (width, width),
        "decay_down.weight": (RANK, width),
        "decay_up.weight": (width // 2, RANK),
        "decay_up.bias": (width // 2,),
        "head_norm.weight": (width // HEADS,),
    }


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """The mixer alone, x [B, L, D] -> [B, L, D]."""
    q = split_heads(linear(x, parameters, "wq"), HEADS)
    k = split_heads(linear(x, parameters, "wk"), HEADS)
    v = split_heads(linear(x, parameters, "wv"), HEADS)
    decay = linear(linear(x, parameters, "decay_down"), parameters, "decay_up")
    alpha = split_heads(torch.sigmoid(decay) ** (1 / TEMPERATURE), HEADS)
    outputs = []
    for t in range(x.shape[1]):
        o = torch.zeros_like(v[:, t])
        forget = torch.ones_like(k[:, t])
        for s in range(t, -1, -1):
            o = o + (q[:, t] * forget * k[:, s]).sum(-1, keepdim=True) * v[:, s]
            forget = forget * alpha[:, s]
        outputs.append(rms_norm(o, parameters["head_norm.weight"], EPS))
    gate = linear(x, parameters, "wr")
    y = gate * torch.sigmoid(gate) * torch.stack(outputs, 1).flatten(-2)
    return linear(y, parameters, "wo")
