"""TTT.

Compiled by gabc from ttt.gab at scale 14M (D = 128, 6 blocks).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gabc.kernels.rms_norm import rms_norm
from gabc.runtime.functional.initial import Init
from gabc.runtime.functional.pointwise import f32, wide_dtype
from gabc.runtime.functional.scan import initial_state, join_chunks, time_chunks
from gabc.runtime.functional.sequence import causal_conv, causal_mask
from gabc.runtime.functional.sizes import exact_div


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


class ShortConv(nn.Module):  # conv.gab:9
    """Causal depthwise convolution: every channel is a weighted sum of its last `kernel` values.
        y_t[c] = bias[c] + sum_{j < kernel} weight[c, kernel - 1 - j] x_{t - j}[c],  x_s = 0 for s < 0
    The bias is left out with has_bias=false.
    Shapes: x [B, L, width] -> y [B, L, width].
    Source: Gu and Dao 2023 (Mamba), arXiv 2312.00752, section 3.4 and figure 3; initial weights
    as PyTorch's Conv1d, whose fan-in is `kernel`.
    """

    def __init__(self, D: int, width: int | None = None, kernel: int = 4) -> None:
        super().__init__()
        width = D if width is None else width
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(width, kernel))  # [width, kernel]  conv.gab:10
        self.bias = nn.Parameter(torch.empty(width))  # [width]  conv.gab:12

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        value = init.uniform(
            "weight",
            self.weight.shape,
            lo=-1.0 / math.sqrt(self.kernel),
            hi=1.0 / math.sqrt(self.kernel),
        )
        self.weight.copy_(value)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return causal_conv(x, self.weight, self.bias)  # conv.gab:16


class LayerNorm(nn.Module):  # norm.gab:20
    """Layer norm.
        y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias,  var biased
    Shapes: x [..., width] -> y [..., width]. Without `has_bias` nothing is added.
    Source: Ba, Kiros and Hinton 2016, arXiv 1607.06450, equations (3) and (4).
    """

    def __init__(self, D: int, width: int | None = None, eps: float = 1e-05) -> None:
        super().__init__()
        self.width = width = D if width is None else width
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))  # [width]  norm.gab:21
        self.bias = nn.Parameter(torch.empty(width))  # [width]  norm.gab:23

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), self.weight, self.bias, self.eps)  # norm.gab:27


class RoPE(nn.Module):  # position.gab:10
    """Rotary position embedding: turns pair i of a head by the angle t * base^(-2i / K).
        (y_1, y_2) = (x_1 cos a - x_2 sin a,  x_2 cos a + x_1 sin a)
    The pairs are the two halves of the head (x_i, x_{i + K/2}), or with `interleaved` neighbours
    (x_{2i}, x_{2i+1}) as in the paper; one is a permutation of the other. With `period` the
    position counts modulo `period`, as test-time training does inside a mini-batch.
    Shapes: x [B, L, H, K] -> y [B, L, H, K], K even.
    Source: Su et al. 2021, arXiv 2104.09864, equations (15) and (34).
    """

    def __init__(self, base: float = 10000.0, period: int | None = None) -> None:
        super().__init__()
        self.base = base
        self.period = period

    def forward(self, x: Tensor) -> Tensor:
        _, L, _, K = x.shape
        # [L]  position.gab:12
        t_mod = torch.arange(L, dtype=wide_dtype(x), device=x.device) % self.period
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


class TTTLinear(nn.Module):  # ttt.gab:31
    """TTT-Linear. The state of a head is a linear model f(x) = x + norm(x W + b); it learns to map
    k_t to v_t by gradient descent in mini-batches of `mini_batch` tokens, and is read at q_t.
        e_s = lr_s * d/dz 1/2 |norm(z_s) - (v_s - k_s)|^2,   z_s = k_s W + b,   W, b before the mini-batch
        W_t = W - c_t sum_{s <= t} k_s e_s^T,   b_t = b - c_t sum_{s <= t} e_s   (s in the mini-batch)
        o_t = q_t + norm(q_t W_t + b_t)
    with lr_s = base_lr sigmoid(x_s w_lr + b_lr) / K per head, and c_t a learned scale of the
    place of t in its mini-batch, at first 1 / (place + 1). Written in the dual form, which never
    builds W_t inside a mini-batch. Nothing reads what a last, shorter mini-batch has learned at
    its end.
    Shapes: X [B, L, D] -> [B, L, D]; q, k, v [B, L, H, K]; W [B, H, K, K]; b [B, H, K]; H =
    heads divides D. The Genesys seed fails for D >= 512, where its rotary embedding keeps D / 4
    as the width of a head; here the width is D / H at every D.
    Source: Sun et al. 2024, arXiv 2407.04620: equations (4) and (5) for the loss and its views,
    section 2.4 for the mini-batch, 2.5 for the dual form, 2.7 for the learned rate and the
    residual with a norm; the scale c is in the authors' code only.
    """

    def __init__(
        self,
        D: int,
        n_layers: int,
        heads: int,
        mini_batch: int = 16,
        base_lr: float = 1.0,
        eps: float = 1e-06,
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.base_lr = base_lr
        self.eps = eps
        self.H = H = heads  # ttt.gab:38
        self.K = K = exact_div(D, H)  # ttt.gab:39
        self.C = C = mini_batch  # ttt.gab:40
        self.wq = nn.Linear(D, H * K, bias=False)  # ttt.gab:41
        self.wk = nn.Linear(D, H * K, bias=False)  # ttt.gab:42
        self.wv = nn.Linear(D, H * K, bias=False)  # ttt.gab:43
        self.wo = nn.Linear(H * K, D, bias=False)  # ttt.gab:44
        self.lr = nn.Linear(D, H)  # ttt.gab:45
        self.post_norm = LayerNorm(D, eps=eps)  # ttt.gab:46
        self.rope = RoPE(period=mini_batch)  # ttt.gab:54
        self.step_scale = nn.Parameter(torch.empty(C))  # [C]  ttt.gab:47
        self.W0 = nn.Parameter(torch.empty(H, K, K))  # [H, K, K]  ttt.gab:48
        self.b0 = nn.Parameter(torch.empty(H, K))  # [H, K]  ttt.gab:49
        self.norm_weight = nn.Parameter(torch.empty(H, K))  # [H, K]  ttt.gab:50
        self.norm_bias = nn.Parameter(torch.empty(H, K))  # [H, K]  ttt.gab:51

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.wq.weight.copy_(init.kaiming("wq.weight", self.wq.weight.shape))
        self.wk.weight.copy_(init.kaiming("wk.weight", self.wk.weight.shape))
        self.wv.weight.copy_(init.kaiming("wv.weight", self.wv.weight.shape))
        self.wo.weight.copy_(
            init.kaiming("wo.weight", self.wo.weight.shape) / math.sqrt(self.n_layers)
        )
        self.lr.weight.copy_(init.normal("lr.weight", self.lr.weight.shape, std=0.02))
        self.lr.bias.zero_()
        self.step_scale.copy_(1.0 / (torch.arange(self.C, dtype=torch.float32) + 1.0))
        self.W0.copy_(init.normal("W0", self.W0.shape, std=0.02))
        self.b0.zero_()
        self.norm_weight.fill_(1.0)
        self.norm_bias.zero_()

    def forward(self, X: Tensor) -> Tensor:
        B, L, _ = X.shape
        q = self.rope(self.wq(X).unflatten(-1, (self.H, self.K)))  # [B, L, H, K]
        k = self.rope(self.wk(X).unflatten(-1, (self.H, self.K)))  # [B, L, H, K]  ttt.gab:55
        v = self.wv(X).unflatten(-1, (self.H, self.K))  # [B, L, H, K]  ttt.gab:56
        rate = self.base_lr * torch.sigmoid(self.lr(X)) / self.K  # [B, L, H]  ttt.gab:57
        scale = torch.clamp(self.step_scale, min=0.0)  # [C]  ttt.gab:58
        W = initial_state(self.W0, (B, self.H, self.K, self.K), q)  # [B, H, K, K]  ttt.gab:60
        b = initial_state(self.b0, (B, self.H, self.K), q)  # [B, H, K]  ttt.gab:61
        o_chunks = []  # ttt.gab:59
        scale_wide = f32(scale)
        with torch.autocast(q.device.type, enabled=False):
            for q_c, k_c, v_c, rate_c in time_chunks(self.C, q, k, v, rate):
                z = torch.einsum("bchk,bhkv->bchv", k_c, W) + b[:, None]  # [B, C, H, K]  ttt.gab:62
                centred = z - z.mean(-1, keepdim=True)  # [B, C, H, K]  ttt.gab:9
                # [B, C, H, 1]  ttt.gab:10
                inverse = torch.rsqrt(torch.square(centred).mean(-1, keepdim=True) + self.eps)
                unit_z = centred * inverse  # [B, C, H, K]  ttt.gab:11
                # [B, C, H, K]  ttt.gab:12
                difference = unit_z * self.norm_weight + self.norm_bias - (v_c - k_c)
                slope = difference * self.norm_weight  # [B, C, H, K]
                along = (slope * unit_z).mean(-1, keepdim=True)  # [B, C, H, 1]  ttt.gab:13
                # [B, C, H, K]  ttt.gab:14
                product = inverse * (slope - slope.mean(-1, keepdim=True) - unit_z * along)
                e = rate_c[..., None] * product  # [B, C, H, K]  ttt.gab:63
                contracted = torch.einsum("bchk,bshk->bhcs", q_c, k_c)  # [B, H, C, C]  ttt.gab:64
                # [B, C, H, K]  ttt.gab:65
                before = torch.einsum("bchk,bhkv->bchv", q_c, W) + b[:, None]
                # [B, H, C, C]  ttt.gab:66
                filled = torch.where(causal_mask(contracted), contracted, 0.0)
                learned = torch.einsum("bhcs,bshv->bchv", filled, e) + e.cumsum(1)  # [B, C, H, K]
                y = before - scale_wide[:, None, None] * learned  # [B, C, H, K]  ttt.gab:67
                # [B, H, K, K]  ttt.gab:68
                W = W - scale_wide[-1] * torch.einsum("bchk,bchv->bhkv", k_c, e)
                b = b - scale_wide[-1] * e.sum(1)  # [B, H, K]  ttt.gab:69
                # [B, C, H, K]  ttt.gab:70
                total = q_c + F.layer_norm(y, (self.K,), None, None, self.eps) * self.norm_weight
                o = total + self.norm_bias  # [B, C, H, K]
                o_chunks.append(o)
        o = join_chunks(o_chunks, L).to(q.dtype)  # [B, L, H, K]
        return self.wo(self.post_norm(o.flatten(-2)))  # ttt.gab:72


class GatedMLP(nn.Module):  # mlp.gab:10
    """Gated MLP with a SiLU gate (SwiGLU).
        y = (silu(x W_gate) * (x W_up)) W_down
    Shapes: X [B, L, D] -> [B, L, D]. The default width keeps the parameters of a 4 D MLP, 8 D /
    3 rounded up to a multiple of 128.
    Source: Shazeer 2020, arXiv 2002.05202, equation (6).
    """

    def __init__(self, D: int, n_layers: int, hidden: int) -> None:
        super().__init__()
        self.n_layers = n_layers
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


class TTTBlock(nn.Module):  # ttt.gab:13
    def __init__(self, D: int, n_layers: int, heads: int | None = None) -> None:
        super().__init__()
        heads = max(4, exact_div(D, 64)) if heads is None else heads
        self.conv_norm = RMSNorm(D, eps=1e-06)  # ttt.gab:14
        self.conv = ShortConv(D, kernel=4)  # ttt.gab:15
        self.ttt_norm = RMSNorm(D, eps=1e-06)  # ttt.gab:16
        self.ttt = TTTLinear(D, n_layers=n_layers, heads=heads)  # ttt.gab:17
        self.mlp_norm = RMSNorm(D, eps=1e-06)  # ttt.gab:18
        self.mlp = GatedMLP(D, n_layers=n_layers, hidden=exact_div(5 * D, 2))  # ttt.gab:19

    def forward(self, X: Tensor) -> Tensor:
        X = X + self.conv(self.conv_norm(X))  # [B, L, D]  ttt.gab:22
        X = X + self.ttt(self.ttt_norm(X))  # [B, L, D]  ttt.gab:23
        return X + self.mlp(self.mlp_norm(X))  # ttt.gab:24


class TTT(nn.Module):  # ttt.gab:5
    """TTT: tokens [B, L] -> logits [B, L, vocab_size]."""

    def __init__(
        self, vocab_size: int = 32000, D: int = 128, n_layers: int = 6, seed: int | None = 0
    ) -> None:
        """With `seed=None` the parameters are left uninitialised."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D)
        self.blocks = nn.ModuleList([TTTBlock(D, n_layers=n_layers) for _ in range(n_layers)])
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
