"""RWKV6: time mix and channel mix (arXiv 2404.05892, section 4).

The recurrence is the paper's: wkv_t = S_{t-1} + diag(u) k_t^T v_t and
S_t = diag(w_t) S_{t-1} + k_t^T v_t, with w_t = exp(-exp(d_t)). The norm after it is PyTorch's
GroupNorm, one group per head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import group_norm

from .plain import Parameters, Shapes, layer_norm, linear, round_up, split_heads

HEADS = 4
SHIFT_RANK = 32
RANK = 64
MIXES = 5
EPS = 1e-5


def shapes(width: int) -> Shapes:
    """Parameters of one block."""
    key, hidden = width // 2, round_up(7 * width, 2, 32)
    time_mix: Shapes = {
        "token_shift.mu": (width,),
        "token_shift.down.weight": (MIXES * SHIFT_RANK, width),
        "token_shift.up": (MIXES, SHIFT_RANK, width),
        "token_shift.base": (MIXES, width),
        "wr.weight": (key, width),
        "wk.weight": (key, width),
        "wv.weight": (width, width),
        "wo.weight": (width, width),
        "decay.down.weight": (RANK, width),
        "decay.up.weight": (key, RANK),
        "decay_base": (key,),
        "gate.down.weight": (RANK, width),
        "gate.up.weight": (width, RANK),
        "gate.up.bias": (width,),
        "bonus": (HEADS, key // HEADS),
        "head_norm.weight": (HEADS, width // HEADS),
        "head_norm.bias": (HEADS, width // HEADS),
    }
    channel_mix: Shapes = {
        "mu_key": (width,),
        "mu_receptance": (width,),
        "key.down.weight": (RANK, width),
        "key.up.weight": (hidden, RANK),
        "key.up.bias": (hidden,),
        "receptance.down.weight": (RANK, width),
        "receptance.up.weight": (width, RANK),
        "receptance.up.bias": (width,),
        "value.weight": (width, hidden),
    }
    norms: Shapes = {
        f"{norm}.{part}": (width,)
        for norm in ("time_norm", "channel_norm")
        for part in ("weight", "bias")
    }
    return (
        norms
        | {f"time_mix.{name}": shape for name, shape in time_mix.items()}
        | {f"channel_mix.{name}": shape for name, shape in channel_mix.items()}
    )


def previous(x: Tensor) -> Tensor:
    """x_{t-1}, with zero before the first position."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def lora(x: Tensor, parameters: Parameters, name: str) -> Tensor:
    """tanh(x A) B + bias."""
    return linear(torch.tanh(linear(x, parameters, f"{name}.down")), parameters, f"{name}.up")


def shifted(x: Tensor, parameters: Parameters) -> list[Tensor]:
    """The five data-dependent blends of x_t and x_{t-1} (ddlerp)."""
    name = "time_mix.token_shift"
    delta = previous(x) - x
    hidden = torch.tanh(linear(x + delta * parameters[f"{name}.mu"], parameters, f"{name}.down"))
    blends = []
    for i in range(MIXES):
        own = hidden[..., i * SHIFT_RANK : (i + 1) * SHIFT_RANK]
        mix = own @ parameters[f"{name}.up"][i] + parameters[f"{name}.base"][i]
        blends.append(x + delta * mix)
    return blends


def time_mix(x: Tensor, parameters: Parameters) -> Tensor:
    """x [B, L, D] -> [B, L, D]."""
    batch, length, width = x.shape
    for_r, for_k, for_v, for_w, for_g = shifted(x, parameters)
    r = split_heads(linear(for_r, parameters, "time_mix.wr"), HEADS)
    k = split_heads(linear(for_k, parameters, "time_mix.wk"), HEADS)
    v = split_heads(linear(for_v, parameters, "time_mix.wv"), HEADS)
    d = lora(for_w, parameters, "time_mix.decay") + parameters["time_mix.decay_base"]
    w = split_heads(torch.exp(-torch.exp(d)), HEADS)
    g = lora(for_g, parameters, "time_mix.gate")
    u = parameters["time_mix.bonus"]

    state = x.new_zeros(batch, HEADS, k.shape[-1], v.shape[-1])
    outputs = []
    for t in range(length):
        outer = k[:, t, :, :, None] * v[:, t, :, None, :]
        wkv = state + u[:, :, None] * outer
        outputs.append((r[:, t, :, :, None] * wkv).sum(-2))
        state = w[:, t, :, :, None] * state + outer
    o = torch.stack(outputs, 1).reshape(batch * length, width)
    o = group_norm(
        o,
        HEADS,
        parameters["time_mix.head_norm.weight"].flatten(),
        parameters["time_mix.head_norm.bias"].flatten(),
        EPS,
    )
    return linear(g * torch.sigmoid(g) * o.view(batch, length, width), parameters, "time_mix.wo")


def channel_mix(x: Tensor, parameters: Parameters) -> Tensor:
    """x [B, L, D] -> [B, L, D]."""
    delta = previous(x) - x
    k = lora(x + delta * parameters["channel_mix.mu_key"], parameters, "channel_mix.key")
    r = lora(
        x + delta * parameters["channel_mix.mu_receptance"], parameters, "channel_mix.receptance"
    )
    return torch.sigmoid(r) * linear(torch.relu(k) ** 2, parameters, "channel_mix.value")


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """One block, x [B, L, D] -> [B, L, D]."""
    for name, mix in (("time", time_mix), ("channel", channel_mix)):
        weight, bias = parameters[f"{name}_norm.weight"], parameters[f"{name}_norm.bias"]
        x = x + mix(layer_norm(x, weight, bias, EPS), parameters)
    return x
