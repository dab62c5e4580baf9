"""RetNet: retention and SwiGLU (arXiv 2307.08621).

Retention is the parallel form, equation (5): o_t = sum_{s <= t} gamma^{t - s} (q_t . k_s) v_s. The
design states the recurrent one, equation (6).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .plain import (
    Parameters,
    Shapes,
    gated_mlp,
    linear,
    rms_norm,
    rotate_pairs,
    round_up,
    split_heads,
)

HEADS = 8
BLOCK_EPS = 1e-6
HEAD_EPS = 1e-5


def shapes(width: int) -> Shapes:
    """Parameters of one block."""
    hidden = round_up(4 * width, 3, 256)
    return {
        "retention_norm.weight": (width,),
        "retention.wq.weight": (width, width),
        "retention.wk.weight": (width, width),
        "retention.wv.weight": (2 * width, width),
        "retention.wg.weight": (2 * width, width),
        "retention.wo.weight": (width, 2 * width),
        "retention.head_norm.weight": (2 * width // HEADS,),
        "mlp_norm.weight": (width,),
        "mlp.gate.weight": (hidden, width),
        "mlp.up.weight": (hidden, width),
        "mlp.down.weight": (width, hidden),
    }


def retention(x: Tensor, parameters: Parameters) -> Tensor:
    """Gated multi-scale retention, x [B, L, D] -> [B, L, D] (equations 5 and 8)."""
    length, head = x.shape[1], x.shape[-1] // HEADS
    positions = torch.arange(length)
    q = rotate_pairs(split_heads(linear(x, parameters, "retention.wq"), HEADS), positions)
    k = rotate_pairs(split_heads(linear(x, parameters, "retention.wk"), HEADS), positions)
    v = split_heads(linear(x, parameters, "retention.wv"), HEADS)
    distance = (positions[:, None] - positions).to(x.dtype)
    outputs = []
    for h in range(HEADS):
        gamma = 1 - 2.0 ** (-5 - h)
        decay = torch.where(distance >= 0, gamma ** distance.clamp(min=0), 0)
        score = q[:, :, h] @ k[:, :, h].transpose(1, 2) / head**0.5
        o = (score * decay) @ v[:, :, h]
        outputs.append(rms_norm(o, parameters["retention.head_norm.weight"], HEAD_EPS))
    gate = linear(x, parameters, "retention.wg")
    y = gate * torch.sigmoid(gate) * torch.cat(outputs, -1)
    return linear(y, parameters, "retention.wo")


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """One block, x [B, L, D] -> [B, L, D] (equation 9)."""
    x = x + retention(rms_norm(x, parameters["retention_norm.weight"], BLOCK_EPS), parameters)
    return x + gated_mlp(rms_norm(x, parameters["mlp_norm.weight"], BLOCK_EPS), parameters, "mlp")
