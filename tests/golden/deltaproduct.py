"""DeltaProduct.

Compiled by gabc from deltaproduct.gab at scale 14M (D = 128, 6 blocks).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gabc.kernels.rms_norm import rms_norm
from gabc.runtime.functional.delta_product import delta_product
from gabc.runtime.functional.initial import Init
from gabc.runtime.functional.sequence import causal_conv
from gabc.runtime.functional.sizes import ceil_to, exact_div


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

    def __init__(self, width: int, kernel: int = 4) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(width, kernel))  # [width, kernel]  conv.gab:10

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        value = init.uniform(
            "weight",
            self.weight.shape,
            lo=-1.0 / math.sqrt(self.kernel),
            hi=1.0 / math.sqrt(self.kernel),
        )
        self.weight.copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        return causal_conv(x, self.weight)  # conv.gab:16


class GatedDeltaProduct(nn.Module):  # delta.gab:168
    """Gated DeltaProduct: `steps` delta steps per token, each with a key, value and rate of its
    own, after one decay. Their product is a generalised Householder transformation of rank
    `steps`; rates up to 2 give reflections.
        q, k[j], v[j] = silu(conv(X W));   q, k at length 1;   beta_t[j] = 2 sigmoid(x_t W_beta[j])
        g_t = -exp(A_log) softplus(x_t W_a + dt_bias);   S = exp(g_t) S_{t-1}
        for j in 1 ... steps:  S <- S + beta_t[j] k_t[j] (v_t[j] - S^T k_t[j])^T;   S_t = S
        o_t = S_t^T q_t / sqrt(K);   out = (norm_h(o) * silu(X W_g)) W_o
    Shapes: X [B, L, D] -> [B, L, D]; q, o [B, L, H, K]; k, v [B, L, steps, H, K]; S [B, H, K,
    K]; heads divides D. norm_h acts on every head alone and the heads share its weight.
    Source: Siems et al. 2025, arXiv 2502.10297, section 3; rates up to 2: Grazzi et al. 2024,
    arXiv 2411.12537.
    """

    def __init__(
        self,
        D: int,
        n_layers: int,
        heads: int = 4,
        steps: int = 2,
        kernel: int = 4,
        eps: float = 1e-05,
    ) -> None:
        super().__init__()
        self.D = D
        self.n_layers = n_layers
        self.steps = steps
        self.H = H = heads  # delta.gab:169
        self.K = K = exact_div(D, H)  # delta.gab:170
        self.wq = nn.Linear(D, H * K, bias=False)  # delta.gab:171
        self.wk = nn.Linear(D, H * K * steps, bias=False)  # delta.gab:172
        self.wv = nn.Linear(D, H * K * steps, bias=False)  # delta.gab:173
        self.wg = nn.Linear(D, H * K, bias=False)  # delta.gab:174
        self.wo = nn.Linear(H * K, D, bias=False)  # delta.gab:175
        self.rate = nn.Linear(D, H * steps, bias=False)  # delta.gab:176
        self.decay = nn.Linear(D, H, bias=False)  # delta.gab:177
        self.q_conv = ShortConv(width=D, kernel=kernel)  # delta.gab:178
        self.k_conv = ShortConv(width=steps * D, kernel=kernel)  # delta.gab:179
        self.v_conv = ShortConv(width=steps * D, kernel=kernel)  # delta.gab:180
        self.head_norm = RMSNorm(D, width=K, eps=eps)  # delta.gab:181
        self.A_log = nn.Parameter(torch.empty(H))  # [H]  delta.gab:182
        self.dt_bias = nn.Parameter(torch.empty(H))  # [H]  delta.gab:184

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.wq.weight.copy_(init.kaiming("wq.weight", self.wq.weight.shape))
        self.wk.weight.copy_(init.kaiming("wk.weight", self.wk.weight.shape))
        self.wv.weight.copy_(init.kaiming("wv.weight", self.wv.weight.shape))
        self.wg.weight.copy_(init.kaiming("wg.weight", self.wg.weight.shape))
        self.wo.weight.copy_(
            init.kaiming("wo.weight", self.wo.weight.shape) / math.sqrt(self.n_layers)
        )
        self.rate.weight.copy_(init.kaiming("rate.weight", self.rate.weight.shape))
        self.decay.weight.copy_(init.kaiming("decay.weight", self.decay.weight.shape))
        self.A_log.copy_(torch.log(init.uniform("A_log", self.A_log.shape, lo=1.0, hi=16.0)))
        value = init.uniform("dt_bias", self.dt_bias.shape, lo=math.log(0.001), hi=math.log(0.1))
        self.dt_bias.copy_(torch.log(torch.expm1(torch.exp(value))))

    def forward(self, X: Tensor) -> Tensor:
        # [B, L, D/K, K]  delta.gab:187
        q = F.silu(self.q_conv(self.wq(X))).unflatten(-1, (self.D // self.K, self.K))
        # [B, L, steps, D/K, K]  delta.gab:188
        k = F.silu(self.k_conv(self.wk(X))).unflatten(-1, (self.steps, self.D // self.K, self.K))
        # [B, L, D/K, K]  delta.gab:189
        q = q * torch.rsqrt(torch.square(q).sum(-1, keepdim=True) + 1e-06) * self.K**-0.5
        # [B, L, steps, D/K, K]  delta.gab:12
        k = k * torch.rsqrt(torch.square(k).sum(-1, keepdim=True) + 1e-06)
        # [B, L, steps, D/K, K]  delta.gab:191
        v = F.silu(self.v_conv(self.wv(X))).unflatten(-1, (self.steps, self.D // self.K, self.K))
        # [B, L, steps, H]  delta.gab:192
        beta = 2.0 * torch.sigmoid(self.rate(X).unflatten(-1, (self.steps, self.H)))
        # [B, L, H]  delta.gab:193
        g = -torch.exp(self.A_log) * F.softplus(self.decay(X) + self.dt_bias)
        part = k[:, :, 0, :, :, None][..., 0]  # [B, L, D/K, K]  delta.gab:194
        part_2 = beta[:, :, 0, :, None]  # [B, L, H, 1]  delta.gab:199
        neg = -(part * part_2 * torch.exp(g)[..., None])  # [B, L, D/K, K]
        product = part_2 * v[:, :, 0]  # [B, L, H, K]
        part_2 = k[:, :, 1, :, :, None][..., 0]  # [B, L, D/K, K]
        part_3 = beta[:, :, 1, :, None]  # [B, L, H, 1]
        l_updates = torch.stack([k[:, :, 0], k[:, :, 1]], dim=2)  # [B, L, 2, D/K, K]
        r_updates = torch.stack([neg, -(part_2 * part_3)], dim=2)  # [B, L, 2, D/K, K]
        k_updates = torch.stack([part, part_2], dim=2)  # [B, L, 2, D/K, K]
        v_updates = torch.stack([product, part_3 * v[:, :, 1]], dim=2)  # [B, L, 2, H, K]
        # [B, L, D/K, K]  delta.gab:200
        o = delta_product(q, l_updates, r_updates, k_updates, v_updates, g)
        return self.wo(self.head_norm(o).flatten(-2) * F.silu(self.wg(X)))  # delta.gab:204


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


class DeltaProductBlock(nn.Module):  # deltaproduct.gab:9
    def __init__(self, D: int, n_layers: int, heads: int = 4, steps: int = 2) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(D)  # deltaproduct.gab:10
        # deltaproduct.gab:11
        self.mixer = GatedDeltaProduct(D, n_layers=n_layers, heads=heads, steps=steps)
        self.mlp_norm = RMSNorm(D)  # deltaproduct.gab:12
        self.mlp = GatedMLP(D, n_layers=n_layers)  # deltaproduct.gab:13

    def forward(self, X: Tensor) -> Tensor:
        X = X + self.mixer(self.mixer_norm(X))  # [B, L, D]  deltaproduct.gab:16
        return X + self.mlp(self.mlp_norm(X))  # deltaproduct.gab:17


class DeltaProduct(nn.Module):  # deltaproduct.gab:2
    """DeltaProduct: tokens [B, L] -> logits [B, L, vocab_size]."""

    def __init__(
        self, vocab_size: int = 32000, D: int = 128, n_layers: int = 6, seed: int | None = 0
    ) -> None:
        """With `seed=None` the parameters are left uninitialised."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D)
        self.blocks = nn.ModuleList(
            [DeltaProductBlock(D, n_layers=n_layers) for _ in range(n_layers)]
        )
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
