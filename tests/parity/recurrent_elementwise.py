"""Recurrences with a state per channel, from their papers: closed forms, complex numbers, loops.

Each function is one mixer, x [B, L, D] -> y [B, L, D], with the parameters named as the unit's.
They are written unlike the units: sums over the past where the unit steps, complex numbers where it
has pairs of reals, convolutions where it has states.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from seeds.plain import Parameters, causal_depthwise, layer_norm, linear, split_heads
from torch import Tensor
from torch.nn.functional import gelu, logsigmoid, silu

Core = Callable[[Tensor, Tensor], Tensor]
"""The recurrence h_t = keep_t h_{t-1} + new_t alone."""


def weighted_past(keep: Tensor, new: Tensor) -> Tensor:
    """h_t = sum_{s <= t} (prod_{s < r <= t} keep_r) new_s, all [B, L, M], by the sum."""
    rows = []
    for t in range(keep.shape[1]):
        terms = [keep[:, s + 1 : t + 1].prod(dim=1) * new[:, s] for s in range(t + 1)]
        rows.append(torch.stack(terms).sum(0))
    return torch.stack(rows, dim=1)


def mingru(x: Tensor, p: Parameters, core: Core = weighted_past) -> Tensor:
    """arXiv 2410.01201, section 3.1."""
    z = torch.sigmoid(linear(x, p, "update_gate"))
    return linear(core(1 - z, z * linear(x, p, "candidate")), p, "wo")


def minlstm(x: Tensor, p: Parameters, core: Core = weighted_past) -> Tensor:
    """arXiv 2410.01201, section 3.2: the gates are divided by their sum."""
    f, i = torch.sigmoid(linear(x, p, "forget_gate")), torch.sigmoid(linear(x, p, "input_gate"))
    new = i / (f + i) * linear(x, p, "candidate")
    return linear(core(f / (f + i), new), p, "wo")


def lru(x: Tensor, p: Parameters) -> Tensor:
    """arXiv 2303.06349, equations (1) and (7), in complex numbers, by powers of lambda."""
    lam = torch.exp(torch.complex(-p["nu"].exp(), p["theta"].exp()))
    b = torch.complex(p["in_re.weight"], p["in_im.weight"])
    c = torch.complex(p["out_re.weight"], p["out_im.weight"])
    u = p["gamma"].exp() * (x.to(b.dtype) @ b.T)
    rows = []
    for t in range(x.shape[1]):
        powers = torch.stack([lam ** (t - s) for s in range(t + 1)])
        rows.append((powers * u[:, : t + 1]).sum(1))
    return (torch.stack(rows, dim=1) @ c.T).real + p["skip"] * x


def hgru(x: Tensor, p: Parameters, bound: Tensor) -> Tensor:
    """arXiv 2311.04823, section 3.2, with the lower bound of this block; one complex state."""
    decay = bound + (1 - bound) * torch.sigmoid(linear(x, p, "forget"))
    c_re, c_im = silu(linear(x, p, "candidate")).chunk(2, dim=-1)
    turn = torch.polar(decay, p["theta"].expand_as(decay))
    h = weighted_past(turn, (1 - decay) * torch.complex(c_re, c_im))
    both = torch.cat([h.real, h.imag], dim=-1)
    normed = layer_norm(both, p["norm.weight"], p["norm.bias"], 1e-5)
    return linear(normed * silu(linear(x, p, "output_gate")), p, "wo")


def forget_bounds(gamma: Tensor) -> list[Tensor]:
    """[n_layers, D] to a bound per block: the first has none (arXiv 2311.04823, section 3.2)."""
    share = gamma.exp() / gamma.exp().sum(0)
    return [share[1 : k + 1].sum(0) for k in range(len(gamma))]


def s4d(u: Tensor, p: Parameters, prefix: str = "") -> Tensor:
    """arXiv 2206.11893, section 3: the kernel of a Vandermonde product, convolved."""
    own = {name: p[prefix + name] for name in ("log_dt", "log_damping", "frequency", "skip")}
    a = torch.complex(-own["log_damping"].exp(), own["frequency"])
    c = torch.complex(p[prefix + "C_re"], p[prefix + "C_im"])
    dta = own["log_dt"].exp()[:, None] * a
    length = u.shape[1]
    powers = torch.stack([torch.exp(lag * dta) for lag in range(length)], dim=-1)
    kernel = 2 * torch.einsum("w n, w n l -> w l", c * (torch.exp(dta) - 1) / a, powers).real
    return convolved(u, kernel) + own["skip"] * u


def convolved(u: Tensor, kernel: Tensor) -> Tensor:
    """u [B, L, C] with kernel [C, L] by lag, as a Toeplitz matrix."""
    length = u.shape[1]
    lag = torch.arange(length)[:, None] - torch.arange(length)
    matrix = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("c t s, b s c -> b t c", matrix, u)


def s4d_mixer(x: Tensor, p: Parameters) -> Tensor:
    value, gate = linear(gelu(s4d(x, p, "ssm.")), p, "wo").chunk(2, dim=-1)
    return value * torch.sigmoid(gate)


def h3(x: Tensor, p: Parameters) -> Tensor:
    """arXiv 2212.14052, algorithm 1, heads of one channel."""
    q, k, v = (linear(x, p, name) for name in ("wq", "wk", "wv"))
    shifted = causal_depthwise(k, p["shift_ssm.weight"], p["shift_ssm.bias"])
    return linear(q * s4d(shifted * v, p, "diag_ssm."), p, "wo")


def hyena(x: Tensor, p: Parameters) -> Tensor:
    """arXiv 2302.10866, algorithms 1 to 3, of order two; lags over a horizon of 2048.

    `filters.decay` is a buffer.
    """
    width, length = x.shape[2], x.shape[1]
    lag = torch.arange(length, dtype=x.dtype) / 2048
    bands = [2 * math.pi * j * lag for j in range(1, 9)]
    e = torch.stack([lag, *(b.cos() for b in bands), *(b.sin() for b in bands)], dim=-1)
    hidden = torch.sin(10 * linear(e, p, "filters.first"))
    h = linear(torch.sin(10 * linear(hidden, p, "filters.second")), p, "filters.last").T
    h = h * torch.exp(-p["filters.decay"][:, None] * lag)
    projected = causal_depthwise(linear(x, p, "in_proj"), p["conv.weight"], p["conv.bias"])
    x1, x2, v = projected.chunk(3, dim=-1)
    z = x1 * (convolved(v, h[:width]) + p["skip"][0] * v)
    z = x2 * (convolved(z, h[width:]) + p["skip"][1] * z)
    return linear(z, p, "out_proj")


def slstm(x: Tensor, p: Parameters, heads: int) -> Tensor:
    """arXiv 2405.04517, equations (8) to (14), without the stabiliser; gates z, o, i, f."""
    mixed = silu(causal_depthwise(x, p["conv.weight"], p["conv.bias"]))
    inputs = [*linear(x, p, "wzo").chunk(2, dim=-1), *linear(mixed, p, "wif").chunk(2, dim=-1)]
    gates = [split_heads(gate, heads) for gate in inputs]
    h = torch.zeros_like(gates[0][:, 0])
    c, n = torch.zeros_like(h), torch.zeros_like(h)
    rows = []
    for t in range(x.shape[1]):
        z, o, i, f = (
            gate[:, t] + torch.einsum("b h k, h k m -> b h m", h, r)
            for gate, r in zip(gates, p["R"], strict=True)
        )
        keep, write = logsigmoid(f).exp(), i.exp()
        c, n = keep * c + write * torch.tanh(z), keep * n + write
        h = torch.sigmoid(o) * c / n
        rows.append(h)
    y = torch.stack(rows, dim=1)
    mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, correction=0)
    y = (y - mean) / (var + 1e-5).sqrt() * p["head_norm.weight"] + p["head_norm.bias"]
    return linear(y.flatten(2), p, "wo")
