"""GPT2.

Compiled by gabc from gpt2.gab at scale 14M (D = 128, 6 blocks).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window: int | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """Causal softmax attention, fused.

    q [B, L, H, K], k [B, L, G, K], v [B, L, G, V] -> [B, L, H, V]; `scale` defaults to K ** -0.5.
    window: over the last `window` positions only. bias: added to the scores, broadcasts to
    [B, H, L, L]. segments [B, L]: a position sees its own segment only. keep: bool, broadcasts to
    the scores; a query with no key left gives zeros.
    """
    mask = attend_mask(q, window, segments, keep)
    empty = None if keep is None or mask is None else ~mask.any(-1).transpose(1, 2)[..., None]
    dtype = autocast_dtype(q)
    # Autocast would round the bias, too, whose differences may be small beside it.
    with torch.autocast(q.device.type, enabled=False):
        if bias is not None or empty is not None:
            mask = attend_bias(q, mask, bias)
        y = F.scaled_dot_product_attention(
            q.to(dtype).transpose(1, 2),
            k.to(dtype).transpose(1, 2),
            v.to(dtype).transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        ).transpose(1, 2)
    return y if empty is None else y.masked_fill(empty, 0.0)


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `x` are computed here."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def attend_mask(
    q: Tensor, window: int | None, segments: Tensor | None, keep: Tensor | None
) -> Tensor | None:
    """Which keys each query sees, bool of rank 4; None where that is all of its past."""
    mask = None if window is None else window_mask(q.shape[1], window, q.device)[None, None]
    if segments is not None:
        same = segments[:, None, :, None] == segments[:, None, None, :]
        mask = same if mask is None else same & mask
    if keep is not None:
        keep = keep[(None,) * (4 - keep.dim())]
        mask = keep if mask is None else keep & mask
    if mask is not None and window is None:
        mask = mask & window_mask(q.shape[1], q.shape[1], q.device)
    return mask


def attend_bias(q: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """What is added to the scores, of rank 4, in float32 at least: very low where masked.

    The lowest number, not -inf, which would make the gradient of a fully masked row NaN.
    """
    length = q.shape[1]
    if mask is None:
        mask = window_mask(length, length, q.device)[None, None]
    dtype = torch.promote_types(q.dtype, torch.float32)
    if bias is None:
        bias = q.new_zeros((), dtype=dtype)
    bias = bias.to(dtype)[(None,) * (4 - bias.dim())]
    return torch.where(mask, bias, torch.finfo(dtype).min)


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """The bool mask [L, L] that keeps keys with 0 <= query - key < window."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


class Init:
    """The source of a unit's initial values: a seed and the unit's place in the tree.

    `name` below is the parameter's name in the unit, `shape` its shape. Values are float32, on the
    CPU. Drawing again under the same name continues with fresh values.
    """

    def __init__(self, seed: int, path: str = "") -> None:
        self.seed = seed
        self.path = path
        self._draws: Counter[str] = Counter()

    def child(self, name: str) -> Init:
        """The source for the child unit `name` (`attn`, or `experts.2`)."""
        return Init(self.seed, self._full(name))

    def generator(self, name: str) -> torch.Generator:
        """The generator of the next draw for the parameter `name`."""
        draw = self._draws[name]
        self._draws[name] += 1
        key = f"{self.seed}\0{self._full(name)}\0{draw}"
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        # manual_seed takes what fits a signed 64-bit int.
        return torch.Generator().manual_seed(number >> 1)

    def normal(
        self, name: str, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0
    ) -> Tensor:
        """The normal distribution N(mean, std^2)."""
        values = torch.empty(shape, dtype=torch.float32)
        return values.normal_(mean, std, generator=self.generator(name))

    def uniform(
        self, name: str, shape: tuple[int, ...], lo: float = 0.0, hi: float = 1.0
    ) -> Tensor:
        """The uniform distribution on [lo, hi)."""
        values = torch.empty(shape, dtype=torch.float32)
        return values.uniform_(lo, hi, generator=self.generator(name))

    def kaiming(self, name: str, shape: tuple[int, ...], fan_in: int | None = None) -> Tensor:
        """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of `torch.nn.Linear`.

        `fan_in` is the size of the last axis unless given. He et al. 2015, arXiv 1502.01852, with
        the negative slope sqrt(5) that PyTorch chose.
        """
        bound = 1.0 / math.sqrt(shape[-1] if fan_in is None else fan_in)
        return self.uniform(name, shape, -bound, bound)

    def xavier(self, name: str, shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
        """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)), of the last two axes (out, in).

        Glorot and Bengio 2010, equation (16).
        """
        bound = gain * math.sqrt(6.0 / (shape[-1] + shape[-2]))
        return self.uniform(name, shape, -bound, bound)

    def trunc_normal(
        self, name: str, shape: tuple[int, ...], std: float, cut: float = 2.0
    ) -> Tensor:
        """N(0, std^2) on condition that |value| <= cut * std, by inversion of the distribution."""
        tail = 0.5 * (1.0 + math.erf(-cut / math.sqrt(2.0)))
        p = torch.rand(shape, generator=self.generator(name), dtype=torch.float64)
        values = torch.special.ndtri(tail + (1.0 - 2.0 * tail) * p) * std
        return cast(Tensor, values.clamp(-cut * std, cut * std).float())

    def orthogonal(self, name: str, shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
        """Matrices of the last two axes with orthonormal rows or columns, whichever are fewer.

        Haar-distributed: Mezzadri 2007, arXiv math-ph/0609050, section 5; for networks Saxe et al.
        2013, arXiv 1312.6120.
        """
        *batch, rows, columns = shape
        tall = (*batch, max(rows, columns), min(rows, columns))
        normal = torch.randn(tall, generator=self.generator(name), dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        # The signs of R's diagonal are the factorisation's choice; fixing them makes Q uniform.
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
        if rows < columns:
            q = q.transpose(-2, -1)
        return cast(Tensor, (gain * q).float())

    def _full(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis, in the dtype of `x`.

    x: (..., K); weight: (K,) or None. Computed in float32 at least and rounded once.
    Zhang and Sennrich 2019, arXiv 1910.07467, equation (4).
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    return y.to(x.dtype)


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype of `x`, but at least float32: what statistics and positions are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def exact_div(dividend: int, divisor: int) -> int:
    """`dividend / divisor`, which must be an integer. Raises `ValueError` for a remainder."""
    quotient, remainder = divmod(dividend, divisor)
    if remainder:
        raise ValueError(f"{divisor} does not divide {dividend}")
    return quotient


def ceil_to(size: float, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return math.ceil(size / multiple) * multiple


class RMSNorm(nn.Module):  # norm.gab:8
    """Root mean square norm.
        y = x / sqrt(mean(x^2) + eps) * weight
    Shapes: x [..., width] -> y [..., width].
    Source: Zhang and Sennrich 2019, arXiv 1910.07467, equation (4).
    """

    def __init__(self, D: int, width: int | None = None, eps: float = 1e-05) -> None:
        super().__init__()
        width = D if width is None else width
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))  # [width]  norm.gab:9

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)  # norm.gab:12


class RoPE(nn.Module):  # position.gab:10
    """Rotary position embedding: turns pair i of a head by the angle t * base^(-2i / K).
        (y_1, y_2) = (x_1 cos a - x_2 sin a,  x_2 cos a + x_1 sin a)
    The pairs are the two halves of the head (x_i, x_{i + K/2}), or with `interleaved` neighbours
    (x_{2i}, x_{2i+1}) as in the paper; one is a permutation of the other. With `period` the
    position counts modulo `period`, as test-time training does inside a mini-batch.
    Shapes: x [B, L, H, K] -> y [B, L, H, K], K even.
    Source: Su et al. 2021, arXiv 2104.09864, equations (15) and (34).
    """

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        _, L, _, K = x.shape
        t_mod = torch.arange(L, dtype=wide_dtype(x), device=x.device)  # [L]  position.gab:12
        # [K/2]  position.gab:13
        freq = self.base ** (-2.0 * torch.arange(K // 2, dtype=wide_dtype(x), device=x.device) / K)
        angle = t_mod[:, None] * freq  # [L, K/2]  position.gab:14
        c = torch.cos(angle)[:, None]  # [L, 1, K/2]  position.gab:15
        s = torch.sin(angle)[:, None]  # [L, 1, K/2]  position.gab:16
        pairs = x.unflatten(-1, (K // 2, 2))  # [B, L, H, K/2, 2]  position.gab:25
        x1 = pairs[..., 0]  # [B, L, H, K/2]  position.gab:26
        x2 = pairs[..., 1]  # [B, L, H, K/2]  position.gab:27
        # [B, L, H, K/2, 2]  position.gab:28
        turned = torch.stack([x1 * c - x2 * s, x2 * c + x1 * s], dim=-1)
        y = turned.flatten(-2)  # [B, L, H, K]  position.gab:29
        return y


class MultiHeadAttention(nn.Module):  # attention.gab:16
    """Causal multi-head attention with rotary positions; grouped-query when kv_heads < heads, a
    sliding window of `window` positions (the current one counted) when it is given.
        y_t = W_o concat_h sum_{s <= t} softmax_s(q_t . k_s / sqrt(K)) v_s
    Shapes: X [B, L, D] -> [B, L, D]; q [B, L, H, K], k, v [B, L, G, K]; kv_heads divides heads.
    K = head_dim need not be D / heads; `scale` is K^(-1/2) if left out. `rope` is a slot: any
    unit [B, L, H, K] -> [B, L, H, K] that acts on queries and keys. `bias` is that of the ways
    in, `out_bias` of W_o; queries, keys and values lie between -clip and clip, if it is given.
    Source: Vaswani et al. 2017, arXiv 1706.03762, equation (1) and section 3.2.2; grouped heads:
    Ainslie et al. 2023, arXiv 2305.13245.
    """

    def __init__(
        self,
        D: int,
        n_layers: int,
        rope: nn.Module,
        heads: int = 8,
        kv_heads: int | None = None,
        head_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        kv_heads = heads if kv_heads is None else kv_heads
        head_dim = exact_div(D, heads) if head_dim is None else head_dim
        self.H = H = heads  # attention.gab:27
        self.G = G = kv_heads  # attention.gab:28
        self.K = K = head_dim  # attention.gab:29
        self.wq = nn.Linear(D, H * K)  # attention.gab:31
        self.wk = nn.Linear(D, G * K)  # attention.gab:32
        self.wv = nn.Linear(D, G * K)  # attention.gab:33
        self.wo = nn.Linear(H * K, D)  # attention.gab:34
        self.rope = rope

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.wq.weight.copy_(init.kaiming("wq.weight", self.wq.weight.shape))
        self.wq.bias.zero_()
        self.wk.weight.copy_(init.kaiming("wk.weight", self.wk.weight.shape))
        self.wk.bias.zero_()
        self.wv.weight.copy_(init.kaiming("wv.weight", self.wv.weight.shape))
        self.wv.bias.zero_()
        self.wo.weight.copy_(
            init.kaiming("wo.weight", self.wo.weight.shape) / math.sqrt(self.n_layers)
        )
        self.wo.bias.zero_()

    def forward(self, X: Tensor) -> Tensor:
        q = self.rope(self.wq(X).unflatten(-1, (self.H, self.K)))  # [B, L, H, K]  attention.gab:37
        k = self.rope(self.wk(X).unflatten(-1, (self.G, self.K)))  # [B, L, G, K]  attention.gab:38
        v = self.wv(X).unflatten(-1, (self.G, self.K))  # [B, L, G, K]  attention.gab:39
        y = attend(q, k, v)  # [B, L, H, K]  attention.gab:40
        return self.wo(y.flatten(-2))  # attention.gab:41


class GatedMLP(nn.Module):  # mlp.gab:10
    """Gated MLP with a SiLU gate (SwiGLU).
        y = (silu(x W_gate) * (x W_up)) W_down
    Shapes: X [B, L, D] -> [B, L, D]. The default width keeps the parameters of a 4 D MLP, 8 D /
    3 rounded up to a multiple of 128.
    Source: Shazeer 2020, arXiv 2002.05202, equation (6).
    """

    def __init__(self, D: int, n_layers: int, hidden: int | None = None) -> None:
        super().__init__()
        self.n_layers = n_layers
        hidden = ceil_to(8 * D / 3, 128) if hidden is None else hidden
        self.gate = nn.Linear(D, hidden, bias=False)  # mlp.gab:11
        self.up = nn.Linear(D, hidden, bias=False)  # mlp.gab:12
        self.down = nn.Linear(hidden, D, bias=False)  # mlp.gab:13

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.gate.weight.copy_(init.kaiming("gate.weight", self.gate.weight.shape))
        self.up.weight.copy_(init.kaiming("up.weight", self.up.weight.shape))
        self.down.weight.copy_(
            init.kaiming("down.weight", self.down.weight.shape) / math.sqrt(self.n_layers)
        )

    def forward(self, X: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(X)) * self.up(X))  # mlp.gab:16


class GPT2Block(nn.Module):  # gpt2.gab:11
    def __init__(self, D: int, n_layers: int, heads: int = 8) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(D)  # gpt2.gab:12
        # gpt2.gab:13
        self.attn = MultiHeadAttention(D, n_layers=n_layers, rope=RoPE(), heads=heads)
        self.mlp_norm = RMSNorm(D)  # gpt2.gab:14
        self.mlp = GatedMLP(D, n_layers=n_layers)  # gpt2.gab:15

    def forward(self, X: Tensor) -> Tensor:
        X = X + self.attn(self.attn_norm(X))  # [B, L, D]  gpt2.gab:18
        return X + self.mlp(self.mlp_norm(X))  # gpt2.gab:19


class GPT2(nn.Module):  # gpt2.gab:3
    """GPT2: tokens [B, L] -> logits [B, L, vocab_size]."""

    def __init__(
        self, vocab_size: int = 32000, D: int = 128, n_layers: int = 6, seed: int | None = 0
    ) -> None:
        """With `seed=None` the parameters are left uninitialised."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D)
        self.blocks = nn.ModuleList([GPT2Block(D, n_layers=n_layers) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(D, bias=False)
        if seed is not None:
            self.init_parameters(seed)

    @torch.no_grad()
    def init_parameters(self, seed: int) -> None:
        """Draw every parameter anew; each depends on the seed and its name only."""
        init = Init(seed)
        weight = self.embedding.weight
        weight.copy_(init.normal("embedding.weight", weight.shape, std=0.02))
        self.norm.weight.fill_(1.0)
        for name, module in self.named_modules():
            if name and hasattr(module, "init_parameters"):
                module.init_parameters(Init(seed, name))

    def forward(self, tokens: Tensor) -> Tensor:
        X = self.embedding(tokens)
        for block in self.blocks:
            X = block(X)
        X = self.norm(X)
        return F.linear(X, self.embedding.weight)
