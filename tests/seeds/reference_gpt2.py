"""GPT2: pre-norm softmax attention with rotary positions, then SwiGLU.

Attention is the sum of arXiv 1706.03762, equation (1), one query at a time.
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
EPS = 1e-5


def shapes(width: int) -> Shapes:
    """Parameters of one block."""
    hidden = round_up(8 * width, 3, 128)
    result: Shapes = {"attn_norm.weight": (width,), "mlp_norm.weight": (width,)}
    for name in ("wq", "wk", "wv", "wo"):
        result[f"attn.{name}.weight"] = (width, width)
        result[f"attn.{name}.bias"] = (width,)
    result["mlp.gate.weight"] = result["mlp.up.weight"] = (hidden, width)
    result["mlp.down.weight"] = (width, hidden)
    return result


def attention(x: Tensor, parameters: Parameters) -> Tensor:
    """Causal multi-head attention, x [B, L, D] -> [B, L, D]."""
    head = x.shape[-1] // HEADS
    positions = torch.arange(x.shape[1])
    q = rotate_pairs(split_heads(linear(x, parameters, "attn.wq"), HEADS), positions)
    k = rotate_pairs(split_heads(linear(x, parameters, "attn.wk"), HEADS), positions)
    v = split_heads(linear(x, parameters, "attn.wv"), HEADS)
    outputs = []
    for t in range(x.shape[1]):
        score = (q[:, t, None] * k[:, : t + 1]).sum(-1) / head**0.5
        weight = torch.exp(score - score.amax(1, keepdim=True))
        weight = weight / weight.sum(1, keepdim=True)
        outputs.append((weight[..., None] * v[:, : t + 1]).sum(1))
    return linear(torch.stack(outputs, 1).flatten(-2), parameters, "attn.wo")


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """One block, x [B, L, D] -> [B, L, D]."""
    x = x + attention(rms_norm(x, parameters["attn_norm.weight"], EPS), parameters)
    return x + gated_mlp(rms_norm(x, parameters["mlp_norm.weight"], EPS), parameters, "mlp")
