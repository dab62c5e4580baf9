"""Designs of the attention family that transformers lacks, written anew from their papers.

Each function takes X [B, L, D], the parameters by the names of the design and the number of
blocks, and returns the stream after the last block. Plain loops over positions or streams, in the
order of the papers' formulas.
"""

from __future__ import annotations

import torch
from seeds.plain import Parameters, gated_mlp, linear, rms_norm, split_heads
from torch import Tensor
from torch.nn.functional import normalize

HEADS = 8
EPS = 1e-5


def rotate_halves(x: Tensor) -> Tensor:
    """Rotary positions in complex numbers, pair i being (x_i, x_{i + K/2}); x [B, L, H, K]."""
    half = x.shape[-1] // 2
    theta = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * theta
    turn = torch.polar(torch.ones_like(angle), angle)[:, None, :]
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([turned.real, turned.imag], -1)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None = None) -> Tensor:
    """Softmax attention, one query at a time: q, k, v [B, L, H, K] -> [B, L, H K]."""
    outputs = []
    for t in range(q.shape[1]):
        first = 0 if window is None else max(0, t - window + 1)
        score = scale * (q[:, t, None] * k[:, first : t + 1]).sum(-1)
        weight = torch.exp(score - score.amax(1, keepdim=True))
        weight = weight / weight.sum(1, keepdim=True)
        outputs.append((weight[..., None] * v[:, first : t + 1]).sum(1))
    return torch.stack(outputs, 1).flatten(-2)


def projected(x: Tensor, parameters: Parameters, path: str) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, [B, L, H, K] each."""
    q, k, v = (
        split_heads(linear(x, parameters, f"{path}.{part}"), HEADS) for part in ("wq", "wk", "wv")
    )
    return q, k, v


def rotary_attention(
    x: Tensor, parameters: Parameters, path: str, window: int | None = None
) -> Tensor:
    """Multi-head attention with rotary positions, x [B, L, D] -> [B, L, D]."""
    q, k, v = projected(x, parameters, path)
    scale = q.shape[-1] ** -0.5
    mixed = attention(rotate_halves(q), rotate_halves(k), v, scale, window)
    return linear(mixed, parameters, f"{path}.wo")


def normed(x: Tensor, parameters: Parameters, path: str) -> Tensor:
    return rms_norm(x, parameters[f"{path}.weight"], EPS)


def mlp_of(x: Tensor, parameters: Parameters, path: str) -> Tensor:
    """The second half of a pre-norm block."""
    return x + gated_mlp(normed(x, parameters, f"{path}.mlp_norm"), parameters, f"{path}.mlp")


def forgetting(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2503.02130, section 3: exp(q_t . k_s / sqrt(K)) times the gates between s and t."""
    for n in range(blocks):
        block = f"blocks.{n}"
        x = normed(X, parameters, f"{block}.attn_norm")
        q, k, v = projected(x, parameters, f"{block}.attn")
        gate = torch.sigmoid(linear(x, parameters, f"{block}.attn.wf"))
        outputs = []
        for t in range(X.shape[1]):
            total, summed = torch.zeros(()), torch.zeros(())
            for s in range(t + 1):
                score = (q[:, t] * k[:, s]).sum(-1) * q.shape[-1] ** -0.5
                weight = torch.exp(score) * gate[:, s + 1 : t + 1].prod(1)
                total = total + weight
                summed = summed + weight[..., None] * v[:, s]
            outputs.append((summed / total[..., None]).flatten(-2))
        X = X + linear(torch.stack(outputs, 1), parameters, f"{block}.attn.wo")
        X = mlp_of(X, parameters, block)
    return X


def value_residual(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2410.17897, section 3: V'_n = a_n V_1 + b_n V_n."""
    first = None
    for n in range(blocks):
        block = f"blocks.{n}"
        x = normed(X, parameters, f"{block}.attn_norm")
        q, k, v = projected(x, parameters, f"{block}.attn")
        if first is None:
            first = v
        else:
            a, b = parameters[f"{block}.attn.mix"]
            v = a * first + b * v
        mixed = attention(rotate_halves(q), rotate_halves(k), v, q.shape[-1] ** -0.5)
        X = X + linear(mixed, parameters, f"{block}.attn.wo")
        X = mlp_of(X, parameters, block)
    return X


def hyper_connections(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2409.19606, section 2, one stream at a time."""
    count = parameters["blocks.0.attn.read"].shape[0]
    streams = [X] * count
    for n in range(blocks):
        for half in ("attn", "mlp"):
            path = f"blocks.{n}.{half}"
            read, mix, write = (parameters[f"{path}.{part}"] for part in ("read", "mix", "write"))
            data = {part: parameters[f"{path}.{part}_data"] for part in ("read", "mix", "write")}
            s_alpha, s_beta = (parameters[f"{path}.{part}_scale"] for part in ("read", "write"))
            normal = [normed(stream, parameters, f"{path}.norm") for stream in streams]

            entering = torch.zeros(())
            for i in range(count):
                weight = read[i] + s_alpha * torch.tanh(normal[i] @ data["read"])
                entering = entering + weight[..., None] * streams[i]
            entering = normed(entering, parameters, f"{path}.inner.norm")
            inner = f"{path}.inner.inner"
            if half == "attn":
                leaving = rotary_attention(entering, parameters, inner)
            else:
                leaving = gated_mlp(entering, parameters, inner)

            after = []
            for j in range(count):
                weight = write[j] + s_beta * torch.tanh(normal[j] @ data["write"])
                stream = weight[..., None] * leaving
                for i in range(count):
                    weight = mix[i, j] + s_alpha * torch.tanh(normal[i] @ data["mix"][:, j])
                    stream = stream + weight[..., None] * streams[i]
                after.append(stream)
            streams = after
    return torch.stack(streams).sum(0)


def ngpt(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2410.01131, section 2: every vector and every row of a matrix on the unit sphere."""
    width = X.shape[-1]
    X = normalize(X, dim=-1)

    def rows(path: str) -> Tensor:
        """[..., out, D] -> [out, D], each row of length 1."""
        return normalize(parameters[path], dim=-1).reshape(-1, width)

    def step(X: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
        rate = alpha * (1.0 / blocks) / width**-0.5
        return normalize(X + rate * (normalize(y, dim=-1) - X), dim=-1)

    for n in range(blocks):
        attn, mlp = f"blocks.{n}.attn", f"blocks.{n}.mlp"
        s_qk = parameters[f"{attn}.inner.qk_scale"] * width**0.5
        q, k, v = (split_heads(X @ rows(f"{attn}.inner.{w}").T, HEADS) for w in ("wq", "wk", "wv"))
        q = normalize(rotate_halves(q), dim=-1) * s_qk
        k = normalize(rotate_halves(k), dim=-1) * s_qk
        y = attention(q, k, v, q.shape[-1] ** 0.5) @ rows(f"{attn}.inner.wo")
        X = step(X, y, parameters[f"{attn}.alpha"])

        u = X @ rows(f"{mlp}.inner.up").T * parameters[f"{mlp}.inner.up_scale"]
        v = X @ rows(f"{mlp}.inner.gate").T * parameters[f"{mlp}.inner.gate_scale"] * width**0.5
        y = (u * v * torch.sigmoid(v)) @ rows(f"{mlp}.inner.down")
        X = step(X, y, parameters[f"{mlp}.alpha"])
    return X


WINDOW = 5


def based(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2402.18668, section 4: weights 1 + a + a^2 / 2, no features or state; then a window."""
    for n in range(blocks):
        block = f"blocks.{n}"
        x = normed(X, parameters, f"{block}.mixer_norm")
        if n % 2:
            mixed = rotary_attention(x, parameters, f"{block}.mixer", WINDOW)
        else:
            q, k, v = projected(x, parameters, f"{block}.mixer")
            outputs = []
            for t in range(X.shape[1]):
                a = (q[:, t, None] * k[:, : t + 1]).sum(-1) * q.shape[-1] ** -0.5
                weight = 1 + a + a * a / 2
                weight = weight / weight.sum(1, keepdim=True)
                outputs.append((weight[..., None] * v[:, : t + 1]).sum(1))
            mixed = torch.stack(outputs, 1).flatten(-2)
            mixed = linear(mixed, parameters, f"{block}.mixer.wo")
        X = mlp_of(X + mixed, parameters, block)
    return X


def unet(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2209.12152, section 3.1: what the first half computed is popped by the second."""
    kept: list[Tensor] = []
    for n in range(blocks):
        path = f"blocks.{n}.block"
        if n >= blocks - blocks // 2:
            X = linear(torch.cat([X, kept.pop()], -1), parameters, f"{path}.join")
        inner = f"{path}.inner"
        X = X + rotary_attention(
            normed(X, parameters, f"{inner}.attn_norm"), parameters, f"{inner}.attn"
        )
        X = mlp_of(X, parameters, inner)
        if n < blocks // 2:
            kept.append(X)
    return X


BLOCK = 4


def hourglass(X: Tensor, parameters: Parameters, blocks: int) -> Tensor:
    """arXiv 2110.13711, section 2: a position reads what the blocks before its own hold."""
    batch, length, width = X.shape
    for n in range(blocks):
        block = f"blocks.{n}"
        x = normed(X, parameters, f"{block}.coarse_norm")
        summaries = [x.new_zeros(batch, width)]
        outputs = []
        for t in range(length):
            place = t % BLOCK
            if place == 0 and t > 0:
                whole = x[:, t - BLOCK : t].flatten(1)
                summaries.append(linear(whole, parameters, f"{block}.coarse.down"))
            q, k, v = projected(torch.stack(summaries, 1), parameters, f"{block}.coarse")
            read = attention(q, k, v, q.shape[-1] ** -0.5)[:, -1]
            places = linear(read, parameters, f"{block}.coarse.up").view(batch, BLOCK, width)
            outputs.append(places[:, place])
        X = X + torch.stack(outputs, 1)
        x = normed(X, parameters, f"{block}.attn_norm")
        X = X + rotary_attention(x, parameters, f"{block}.attn", 2 * BLOCK)
        X = mlp_of(X, parameters, block)
    return X
