"""TTT: causal convolution, TTT-Linear, SwiGLU (arXiv 2407.04620).

TTT-Linear is the primal form: the inner gradient is taken by autograd from the loss of equation
(4), token by token, and W_t is built for every t. The design states the dual form of section 2.5
with the gradient worked out by hand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .plain import (
    Parameters,
    Shapes,
    causal_depthwise,
    gated_mlp,
    layer_norm,
    linear,
    rms_norm,
    rotate_pairs,
    split_heads,
)

MINI_BATCH = 16
KERNEL = 4
EPS = 1e-6


def heads_of(width: int) -> int:
    """Heads of 64, and at least four."""
    return max(4, width // 64)


def shapes(width: int) -> Shapes:
    """Parameters of one block."""
    heads = heads_of(width)
    head = width // heads
    hidden = 5 * width // 2
    return {
        "conv_norm.weight": (width,),
        "conv.weight": (width, KERNEL),
        "conv.bias": (width,),
        "ttt_norm.weight": (width,),
        "ttt.wq.weight": (width, width),
        "ttt.wk.weight": (width, width),
        "ttt.wv.weight": (width, width),
        "ttt.wo.weight": (width, width),
        "ttt.lr.weight": (heads, width),
        "ttt.lr.bias": (heads,),
        "ttt.post_norm.weight": (width,),
        "ttt.post_norm.bias": (width,),
        "ttt.step_scale": (MINI_BATCH,),
        "ttt.W0": (heads, head, head),
        "ttt.b0": (heads, head),
        "ttt.norm_weight": (heads, head),
        "ttt.norm_bias": (heads, head),
        "mlp_norm.weight": (width,),
        "mlp.gate.weight": (hidden, width),
        "mlp.up.weight": (hidden, width),
        "mlp.down.weight": (width, hidden),
    }


def inner_model(x: Tensor, w: Tensor, b: Tensor, parameters: Parameters) -> Tensor:
    """f(x) = x + LayerNorm(x W + b); x [B, H, K], w [B, H, K, K], b [B, H, K]."""
    z = (x[..., :, None] * w).sum(-2) + b
    return x + layer_norm(z, parameters["ttt.norm_weight"], parameters["ttt.norm_bias"], EPS)


def inner_gradient(
    k: Tensor, v: Tensor, w: Tensor, b: Tensor, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    """Gradient of 1/2 |f(k) - v|^2 in W and b, for one token of every row and head."""
    with torch.enable_grad():
        if not w.requires_grad:
            w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
        loss = 0.5 * (inner_model(k, w, b, parameters) - v).pow(2).sum()
        grad_w, grad_b = torch.autograd.grad(loss, (w, b), create_graph=True)
    return grad_w, grad_b


def ttt_linear(x: Tensor, parameters: Parameters) -> Tensor:
    """x [B, L, D] -> [B, L, D]."""
    batch, length, width = x.shape
    heads = heads_of(width)
    head = width // heads
    place = torch.arange(length) % MINI_BATCH
    q = rotate_pairs(split_heads(linear(x, parameters, "ttt.wq"), heads), place)
    k = rotate_pairs(split_heads(linear(x, parameters, "ttt.wk"), heads), place)
    v = split_heads(linear(x, parameters, "ttt.wv"), heads)
    rate = torch.sigmoid(linear(x, parameters, "ttt.lr")) / head
    scale = torch.clamp(parameters["ttt.step_scale"], min=0)

    w0 = parameters["ttt.W0"].expand(batch, heads, head, head)
    b0 = parameters["ttt.b0"].expand(batch, heads, head)
    outputs = []
    for start in range(0, length, MINI_BATCH):
        sum_w, sum_b = torch.zeros_like(w0), torch.zeros_like(b0)
        w, b = w0, b0
        for t in range(start, min(start + MINI_BATCH, length)):
            grad_w, grad_b = inner_gradient(k[:, t], v[:, t], w0, b0, parameters)
            sum_w = sum_w + rate[:, t, :, None, None] * grad_w
            sum_b = sum_b + rate[:, t, :, None] * grad_b
            w = w0 - scale[t - start] * sum_w
            b = b0 - scale[t - start] * sum_b
            outputs.append(inner_model(q[:, t], w, b, parameters))
        w0, b0 = w, b
    o = torch.stack(outputs, 1).flatten(-2)
    o = layer_norm(o, parameters["ttt.post_norm.weight"], parameters["ttt.post_norm.bias"], EPS)
    return linear(o, parameters, "ttt.wo")


def block(x: Tensor, parameters: Parameters) -> Tensor:
    """One block, x [B, L, D] -> [B, L, D]."""
    normed = rms_norm(x, parameters["conv_norm.weight"], EPS)
    x = x + causal_depthwise(normed, parameters["conv.weight"], parameters["conv.bias"])
    x = x + ttt_linear(rms_norm(x, parameters["ttt_norm.weight"], EPS), parameters)
    return x + gated_mlp(rms_norm(x, parameters["mlp_norm.weight"], EPS), parameters, "mlp")
