"""Mamba2: two pre-norm Mamba-2 mixers (arXiv 2405.21060, equation 2 and section 7.1).

The recurrence runs over time with one state per head. `mixer` also computes the paper's own block
(gated RMSNorm, skip), which the tests hold against an implementation by others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .plain import Parameters, Shapes, causal_depthwise, layer_norm, linear, rms_norm, split_heads

STATE = 64
HEAD = 128
EXPAND = 2
KERNEL = 4
EPS = 1e-5


def shapes(width: int) -> Shapes:
    """Parameters of one block."""
    inner = EXPAND * width
    heads = inner // HEAD
    channels = inner + 2 * STATE
    result: Shapes = {"norm1.weight": (width,), "norm2.weight": (width,)}
    for mixer_name in ("mixer1", "mixer2"):
        own: Shapes = {
            "in_proj.weight": (2 * inner + 2 * STATE + heads, width),
            "in_proj.bias": (2 * inner + 2 * STATE + heads,),
            "conv.weight": (channels, KERNEL),
            "conv.bias": (channels,),
            "out_proj.weight": (width, inner),
            "out_proj.bias": (width,),
            "norm.weight": (inner,),
            "norm.bias": (inner,),
            "A_log": (heads,),
            "dt_bias": (heads,),
        }
        result |= {f"{mixer_name}.{name}": shape for name, shape in own.items()}
    return result


def mixer(
    x: Tensor, parameters: Parameters, name: str, state: int = STATE, head: int = HEAD
) -> Tensor:
    """One mixer, x [B, L, D] -> [B, L, D].

    Without `norm.bias` the norm is an RMSNorm; with `skip` the input is added to the output of the
    recurrence.
    """
    own = {key[len(name) + 1 :]: p for key, p in parameters.items() if key.startswith(name + ".")}
    heads = own["A_log"].shape[0]
    inner = heads * head
    projected = linear(x, own, "in_proj")
    z = projected[..., :inner]
    mixed = projected[..., inner : 2 * inner + 2 * state]
    dt = softplus(projected[..., 2 * inner + 2 * state :] + own["dt_bias"])
    mixed = causal_depthwise(mixed, own["conv.weight"], own["conv.bias"])
    mixed = mixed * torch.sigmoid(mixed)
    u = split_heads(mixed[..., :inner], heads)
    b = mixed[..., inner : inner + state]
    c = mixed[..., inner + state :]
    a = -torch.exp(own["A_log"])

    h = x.new_zeros(x.shape[0], heads, head, state)
    outputs = []
    for t in range(x.shape[1]):
        step = dt[:, t]
        h = torch.exp(a * step)[..., None, None] * h
        h = h + (step[..., None] * u[:, t])[..., None] * b[:, t, None, None, :]
        y = (h * c[:, t, None, None, :]).sum(-1)
        outputs.append(y + own["skip"][:, None] * u[:, t] if "skip" in own else y)
    y = torch.stack(outputs, 1).flatten(-2) * z * torch.sigmoid(z)
    if "norm.bias" in own:
        y = layer_norm(y, own["norm.weight"], own["norm.bias"], EPS)
    else:
        y = rms_norm(y, own["norm.weight"], EPS)
    return linear(y, own, "out_proj")


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """One block, x [B, L, D] -> [B, L, D]."""
    x = x + mixer(rms_norm(x, parameters["norm1.weight"], EPS), parameters, "mixer1")
    return x + mixer(rms_norm(x, parameters["norm2.weight"], EPS), parameters, "mixer2")
