"""Recurrences with a matrix per head as the state, from their papers, one step at a time.

Each function is one mixer, x [B, L, D] -> y [B, L, D], with the parameters named as the unit's.
They are written unlike the units: transition matrices are built and multiplied, gradients of inner
losses are taken by torch. A `core` is the recurrence alone: the naive references of fla-core can
stand in for those here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from seeds.plain import Parameters, causal_depthwise, linear, rms_norm, rotate_pairs, split_heads
from torch import Tensor
from torch.nn.functional import gelu, logsigmoid, normalize, silu, softplus

Core = Callable[..., Tensor]
"""A recurrence: keyword arguments q, k, v, ... [B, L, H, ...] -> o [B, L, H, V]; it scales q."""


def states(a: Tensor, b: Tensor) -> Tensor:
    """S_t = A_t S_{t-1} + B_t for a [B, L, H, K, K], b [B, L, H, K, V]; all S, [B, L, H, K, V]."""
    state, rows = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        state = a[:, t] @ state + b[:, t]
        rows.append(state)
    return torch.stack(rows, dim=1)


def outer(k: Tensor, v: Tensor) -> Tensor:
    return k[..., :, None] * v[..., None, :]


def read_out(q: Tensor, s: Tensor) -> Tensor:
    return (q[..., None] * s).sum(-2)


def delta_rule(*, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None) -> Tensor:
    """S_t = (I - beta k k^T) diag(exp g) S_{t-1} + beta k v^T, read by q over sqrt(K).

    g is [B, L, H] or [B, L, H, K] (arXiv 2412.06464, equation (10); 2510.26692, equation (1)).
    """
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    a = eye - beta[..., None, None] * outer(k, k)
    if g is not None:
        decay = g if g.ndim == k.ndim else g[..., None].expand_as(k)
        a = a @ torch.diag_embed(decay.exp())
    s = states(a, beta[..., None, None] * outer(k, v))
    return read_out(q, s) * k.shape[-1] ** -0.5


def unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def conv_silu(x: Tensor, p: Parameters, name: str = "conv") -> Tensor:
    weight = p[f"{name}.weight"]
    bias = p.get(f"{name}.bias", torch.zeros(len(weight), dtype=x.dtype))
    return silu(causal_depthwise(x, weight, bias))


def convolved_qkv(x: Tensor, p: Parameters, heads: int) -> list[Tensor]:
    mixed = conv_silu(torch.cat([linear(x, p, f"w{n}") for n in "qkv"], dim=-1), p)
    return [split_heads(part, heads) for part in mixed.chunk(3, dim=-1)]


def head_norm(o: Tensor, p: Parameters, eps: float) -> Tensor:
    return rms_norm(o, p["head_norm.weight"], eps).flatten(2)


def head_layer_norm(o: Tensor, p: Parameters, eps: float) -> Tensor:
    mean, var = o.mean(-1, keepdim=True), o.var(-1, keepdim=True, correction=0)
    return (o - mean) / (var + eps).sqrt() * p["head_norm.weight"] + p["head_norm.bias"]


def deltanet(x: Tensor, p: Parameters, heads: int, core: Core = delta_rule) -> Tensor:
    """arXiv 2406.06484, sections 2.2 and 3."""
    q, k, v = convolved_qkv(x, p, heads)
    beta = torch.sigmoid(linear(x, p, "rate"))
    o = core(q=unit(q), k=unit(k), v=v, beta=beta)
    return linear(head_norm(o, p, 1e-5), p, "wo")


def gated_deltanet(x: Tensor, p: Parameters, heads: int, core: Core = delta_rule) -> Tensor:
    """arXiv 2412.06464, equation (10)."""
    q, k, v = convolved_qkv(x, p, heads)
    g = -p["A_log"].exp() * softplus(linear(x, p, "decay") + p["dt_bias"])
    o = core(q=unit(q), k=unit(k), v=v, beta=torch.sigmoid(linear(x, p, "rate")), g=g)
    return linear(head_norm(o, p, 1e-6) * silu(linear(x, p, "wg")), p, "wo")


def kimi_delta_attention(x: Tensor, p: Parameters, heads: int, core: Core = delta_rule) -> Tensor:
    """arXiv 2510.26692, equation (1)."""
    q, k, v = convolved_qkv(x, p, heads)
    step = split_heads(linear(linear(x, p, "decay_down"), p, "decay_up"), heads) + p["dt_bias"]
    g = -p["A_log"].exp()[:, None] * softplus(step)
    o = core(q=unit(q), k=unit(k), v=v, beta=torch.sigmoid(linear(x, p, "rate")), g=g)
    gate = torch.sigmoid(linear(linear(x, p, "gate_down"), p, "gate_up"))
    return linear(head_norm(o, p, 1e-5) * gate, p, "wo")


def delta_product(*, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The product of the steps' matrices; k, v [B, L, n, H, K] (arXiv 2502.10297, section 3)."""
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    a = g.exp()[..., None, None] * eye
    b = torch.zeros_like(outer(q, v[:, :, 0]))
    for j in range(k.shape[2]):
        rate = beta[:, :, j, :, None, None]
        reflect = eye - rate * outer(k[:, :, j], k[:, :, j])
        a, b = reflect @ a, reflect @ b + rate * outer(k[:, :, j], v[:, :, j])
    return read_out(q, states(a, b)) * k.shape[-1] ** -0.5


def deltaproduct(
    x: Tensor, p: Parameters, heads: int, steps: int, core: Core = delta_product
) -> Tensor:
    q = split_heads(conv_silu(linear(x, p, "wq"), p, "q_conv"), heads)
    k, v = (
        conv_silu(linear(x, p, f"w{n}"), p, f"{n}_conv").unflatten(-1, (steps, heads, -1))
        for n in "kv"
    )
    beta = 2 * torch.sigmoid(linear(x, p, "rate")).unflatten(-1, (steps, heads))
    g = -p["A_log"].exp() * softplus(linear(x, p, "decay") + p["dt_bias"])
    o = core(q=unit(q), k=unit(k), v=v, beta=beta, g=g)
    return linear(head_norm(o, p, 1e-5) * silu(linear(x, p, "wg")), p, "wo")


def decayed(*, q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """S_t = diag(exp g) S_{t-1} + k v^T read by q, unscaled (arXiv 2312.06635, equation (3))."""
    return read_out(q, states(torch.diag_embed(g.exp()), outer(k, v)))


def hgrn2(x: Tensor, p: Parameters, bound: Tensor, heads: int, core: Core = decayed) -> Tensor:
    """arXiv 2404.07904, section 3."""
    f = split_heads(bound + (1 - bound) * torch.sigmoid(linear(x, p, "wf")), heads)
    q, v = split_heads(silu(linear(x, p, "wq")), heads), split_heads(linear(x, p, "wv"), heads)
    o = core(q=q, k=1 - f, v=v, g=f.log())
    return linear(rms_norm(o.flatten(2), p["norm.weight"], 1e-5), p, "wo")


def slot_attention(*, q: Tensor, k: Tensor, v: Tensor, s: Tensor, g: Tensor) -> Tensor:
    """Each slot is a weighted sum over the past; then attention to the slots (arXiv 2409.07146).

    s, g [B, L, H, M]: the weight of position r in slot m at time t is s_r exp(g_{r+1} + ... + g_t).
    """
    total = g.cumsum(1)
    late = torch.arange(g.shape[1])[:, None] < torch.arange(g.shape[1])
    gap = (total[:, :, None] - total[:, None]).masked_fill(late[:, :, None, None], -torch.inf)
    weight = gap.exp() * s[:, None]
    slot_k = torch.einsum("b t r h m, b r h k -> b t h m k", weight, k)
    slot_v = torch.einsum("b t r h m, b r h v -> b t h m v", weight, v)
    score = torch.einsum("b t h k, b t h m k -> b t h m", q, slot_k) * q.shape[-1] ** -0.5
    return torch.einsum("b t h m, b t h m v -> b t h v", score.softmax(-1), slot_v)


def gated_slot_attention(
    x: Tensor, p: Parameters, heads: int, core: Core = slot_attention
) -> Tensor:
    q, k, v = (split_heads(silu(linear(x, p, f"w{n}")), heads) for n in "qkv")
    g = split_heads(logsigmoid(linear(x, p, "wa")) / 8, heads)
    o = core(q=q, k=k, v=v, s=1 - g.exp(), g=g)
    return linear(rms_norm(silu(o.flatten(2)), p["norm.weight"], 1e-5), p, "wo")


def token_shift(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def rwkv5(x: Tensor, p: Parameters, heads: int) -> Tensor:
    """arXiv 2404.05892, section 4.1: all pairs of positions, weighted by the decay between them."""
    past = token_shift(x)
    mixed = [x + (past - x) * mu for mu in p["mu"]]
    r, k, v = (
        split_heads(linear(m, p, f"w{n}"), heads) for n, m in zip("rkv", mixed, strict=False)
    )
    w = torch.exp(-torch.exp(p["decay"]))
    rows = []
    for t in range(x.shape[1]):
        o = read_out(r[:, t], p["bonus"][..., None] * outer(k[:, t], v[:, t]))
        for s in range(t):
            o = o + read_out(r[:, t], (w ** (t - 1 - s))[..., None] * outer(k[:, s], v[:, s]))
        rows.append(o)
    normed = head_layer_norm(torch.stack(rows, dim=1), p, 1e-5).flatten(2)
    return linear(silu(linear(mixed[3], p, "wg")) * normed, p, "wo")


def generalised_delta(
    *, q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor
) -> Tensor:
    """S_t = (diag(exp g) + b a^T) S_{t-1} + k v^T, read by q (arXiv 2503.14456, section 4)."""
    return read_out(q, states(torch.diag_embed(g.exp()) + outer(b, a), outer(k, v)))


def rwkv7(
    x: Tensor,
    p: Parameters,
    heads: int,
    first: Tensor | None = None,
    core: Core = generalised_delta,
) -> tuple[Tensor, Tensor]:
    """arXiv 2503.14456, section 4; the output and the values of the first block."""
    past = token_shift(x)
    x_r, x_w, x_k, x_v, x_a, x_g = (x + (past - x) * mu for mu in p["mu"])
    r, k, v = (
        split_heads(linear(m, p, f"w{n}"), heads) for n, m in (("r", x_r), ("k", x_k), ("v", x_v))
    )
    d = split_heads(linear(torch.tanh(linear(x_w, p, "decay.down")), p, "decay.up"), heads)
    a = split_heads(torch.sigmoid(linear(linear(x_a, p, "rate_down"), p, "rate_up")), heads)
    gate = linear(torch.sigmoid(linear(x_g, p, "gate_down")), p, "gate_up")
    if first is None:
        first = v
    else:
        nu = torch.sigmoid(linear(linear(x_v, p, "value_down"), p, "value_up"))
        v = v + (first - v) * split_heads(nu, heads)
    kappa = normalize(k * p["xi"], dim=-1)
    k = k * (1 + (a - 1) * p["alpha"])
    g = -math.exp(-0.5) * torch.sigmoid(d)
    o = head_layer_norm(core(q=r, k=k, v=v, a=-kappa, b=a * kappa, g=g), p, 64e-5)
    o = o + (r * p["rho"] * k).sum(-1, keepdim=True) * v
    return linear(o.flatten(2) * gate, p, "wo"), first


def rwkv7_channel(x: Tensor, p: Parameters) -> Tensor:
    """arXiv 2503.14456, section 4."""
    return linear(linear(x + (token_shift(x) - x) * p["mu"], p, "key").relu() ** 2, p, "value")


def titans(x: Tensor, p: Parameters, heads: int) -> Tensor:
    """arXiv 2501.00663, equations (9) to (14); the surprise is differentiated by torch."""
    q, k, v = convolved_qkv(x, p, heads)
    alpha, eta, theta = torch.sigmoid(linear(x, p, "rates")).chunk(3, dim=-1)
    q, k = normalize(q, dim=-1), normalize(k, dim=-1)
    memory = torch.zeros_like(outer(k[:, 0], v[:, 0]), requires_grad=True)
    momentum = torch.zeros_like(memory)
    rows = []
    for t in range(x.shape[1]):
        loss = (read_out(k[:, t], memory) - v[:, t]).square().sum()
        (slope,) = torch.autograd.grad(loss, memory, create_graph=True)
        forget, keep, rate = (gate[:, t, :, None, None] for gate in (alpha, eta, theta))
        momentum = keep * momentum - rate * slope
        memory = (1 - forget) * memory + momentum
        rows.append(read_out(q[:, t], memory))
    o = torch.stack(rows, dim=1)
    return linear(head_norm(o, p, 1e-5) * torch.sigmoid(linear(x, p, "wg")), p, "wo")


def ttt_mlp(x: Tensor, p: Parameters, heads: int, mini_batch: int, base_lr: float) -> Tensor:
    """arXiv 2407.04620, sections 2.4 and 2.7: in the primal form, gradients taken by torch.

    The weights at time t are those before the mini-batch less the sum of the gradients of the
    losses of its tokens up to t, each times its rate, times the scale of the place of t.
    """
    q, k, v = (split_heads(linear(x, p, f"w{n}"), heads) for n in "qkv")
    place = torch.arange(x.shape[1]) % mini_batch
    q, k = rotate_pairs(q, place), rotate_pairs(k, place)
    rate = base_lr * torch.sigmoid(linear(x, p, "lr")) / q.shape[-1]

    def norm(z: Tensor) -> Tensor:
        mean, var = z.mean(-1, keepdim=True), z.var(-1, keepdim=True, correction=0)
        return (z - mean) / (var + 1e-6).sqrt() * p["norm_weight"] + p["norm_bias"]

    def model(weights: tuple[Tensor, ...], z: Tensor) -> Tensor:
        w1, b1, w2, b2 = weights
        inner = gelu(read_out(z, w1) + b1)
        return norm(read_out(inner, w2) + b2)

    batch = x.shape[0]
    names = ("W1_0", "b1_0", "W2_0", "b2_0")
    weights = tuple(p[name].expand(batch, *p[name].shape) for name in names)
    rows = []
    for start in range(0, x.shape[1], mini_batch):
        sums = tuple(torch.zeros_like(w) for w in weights)
        now = weights
        for t in range(start, min(start + mini_batch, x.shape[1])):
            wrong = model(weights, k[:, t]) - (v[:, t] - k[:, t])
            loss = (0.5 * wrong.square().sum(-1) * rate[:, t]).sum()
            slopes = torch.autograd.grad(loss, weights, create_graph=True)
            sums = tuple(total + slope for total, slope in zip(sums, slopes, strict=True))
            scale = p["step_scale"][t - start].clamp(min=0)
            now = tuple(w - scale * total for w, total in zip(weights, sums, strict=True))
            rows.append(q[:, t] + model(now, q[:, t]))
        weights = now
    o = torch.stack(rows, dim=1).flatten(2)
    mean, var = o.mean(-1, keepdim=True), o.var(-1, keepdim=True, correction=0)
    o = (o - mean) / (var + 1e-6).sqrt() * p["post_norm.weight"] + p["post_norm.bias"]
    return linear(o, p, "wo")
