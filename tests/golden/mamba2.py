"""Mamba2.

Compiled by gabc from mamba2.gab at scale 14M (D = 128, 6 blocks).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gabc.kernels.rms_norm import rms_norm
from gabc.runtime.functional.initial import Init
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.runtime.functional.sequence import causal_conv
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

    def __init__(self, width: int, kernel: int = 4) -> None:
        super().__init__()
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

    def __init__(self, width: int, eps: float = 1e-05) -> None:
        super().__init__()
        self.width = width
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))  # [width]  norm.gab:21
        self.bias = nn.Parameter(torch.empty(width))  # [width]  norm.gab:23

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), self.weight, self.bias, self.eps)  # norm.gab:27


class Mamba2Mixer(nn.Module):  # ssm.gab:133
    """The Mamba-2 mixer: a selective state space model whose transition is one scalar per head.
        z, u, dt = X W_in;   x, k, q = silu(conv(u));   dt = softplus(dt + dt_bias);   A = -exp(A_log)
        S_t = exp(dt_t A) S_{t-1} + k_t (dt_t x_t)^T;   y_t = S_t^T q_t + skip x_t
        out = norm(y * silu(z)) W_out
    k and q are the paper's B and C; `groups` of heads share them. `skip` is the paper's D.
    Shapes: X [B, L, D] -> [B, L, D]; x, y [B, L, H, P]; k, q [B, L, G, N]; S [B, H, N, P], where
    H P = expand D. `norm` is a slot of width expand D. `multipliers` are fixed factors of z, of
    what becomes x, k and q, and of dt: five numbers, or none.
    Source: Dao and Gu 2024, arXiv 2405.21060, equation (2) with A_t a scalar times the identity,
    and the block of section 7.1 (parallel projections, norm before the output projection);
    `multipliers`: Zuo et al. 2025 (Falcon-H1), arXiv 2507.22448.
    """

    def __init__(
        self,
        D: int,
        n_layers: int,
        norm: nn.Module,
        state_size: int = 64,
        head_dim: int = 128,
        groups: int = 1,
        expand: int = 2,
        kernel: int = 4,
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.M = M = expand * D  # ssm.gab:144
        self.P = P = head_dim  # ssm.gab:145
        self.H = H = exact_div(M, P)  # ssm.gab:146
        self.G = G = groups  # ssm.gab:147
        self.R = exact_div(H, G)  # ssm.gab:148
        self.N = N = state_size  # ssm.gab:149
        self.in_proj = nn.Linear(D, 2 * G * N + H + 2 * M)  # ssm.gab:151
        self.conv = ShortConv(width=M + 2 * G * N, kernel=kernel)  # ssm.gab:152
        self.out_proj = nn.Linear(M, D)  # ssm.gab:153
        self.norm = norm
        self.A_log = nn.Parameter(torch.empty(H))  # [H]  ssm.gab:154
        self.dt_bias = nn.Parameter(torch.empty(H))  # [H]  ssm.gab:156

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.in_proj.weight.copy_(init.kaiming("in_proj.weight", self.in_proj.weight.shape))
        self.in_proj.bias.zero_()
        value = init.kaiming("out_proj.weight", self.out_proj.weight.shape)
        self.out_proj.weight.copy_(value / math.sqrt(self.n_layers))
        self.out_proj.bias.zero_()
        self.A_log.copy_(torch.log(init.uniform("A_log", self.A_log.shape, lo=1.0, hi=16.0)))
        value = init.uniform("dt_bias", self.dt_bias.shape, lo=math.log(0.001), hi=math.log(0.1))
        self.dt_bias.copy_(torch.log(torch.expm1(torch.exp(value))))

    def forward(self, X: Tensor) -> Tensor:
        # [B, L, M], [B, L, 2*G*N + M], [B, L, H]  ssm.gab:162
        z, u, dt = self.in_proj(X).split([self.M, 2 * self.G * self.N + self.M, self.H], dim=-1)
        # [B, L, M], [B, L, G*N], [B, L, G*N]  ssm.gab:169
        x, k, q = F.silu(self.conv(u)).split([self.M, self.G * self.N, self.G * self.N], dim=-1)
        x = x.unflatten(-1, (self.M // self.P, self.P))  # [B, L, M/P, P]  ssm.gab:170
        # [B, L, G*R, N]  ssm.gab:171
        k = k.unflatten(-1, (self.G, self.N)).repeat_interleave(self.R, dim=-2)
        # [B, L, G*R, N]  ssm.gab:172
        q = q.unflatten(-1, (self.G, self.N)).repeat_interleave(self.R, dim=-2)
        dt = F.softplus(dt + self.dt_bias)  # [B, L, H]  ssm.gab:173
        log_decay = -torch.exp(self.A_log) * dt  # [B, L, H]  ssm.gab:174
        y = linear_attention(q, k, dt[..., None] * x, log_decay)  # [B, L, G*R, P]  ssm.gab:177
        return self.out_proj(self.norm(y.flatten(-2) * F.silu(z)))  # ssm.gab:183


class Mamba2Block(nn.Module):  # mamba2.gab:11
    def __init__(self, D: int, n_layers: int, expand: int = 2) -> None:
        super().__init__()
        self.norm1 = RMSNorm(D)  # mamba2.gab:12
        # mamba2.gab:13
        self.mixer1 = Mamba2Mixer(
            D, n_layers=n_layers, norm=LayerNorm(width=expand * D), expand=expand
        )
        self.norm2 = RMSNorm(D)  # mamba2.gab:14
        # mamba2.gab:15
        self.mixer2 = Mamba2Mixer(
            D, n_layers=n_layers, norm=LayerNorm(width=expand * D), expand=expand
        )

    def forward(self, X: Tensor) -> Tensor:
        X = X + self.mixer1(self.norm1(X))  # [B, L, D]  mamba2.gab:18
        return X + self.mixer2(self.norm2(X))  # mamba2.gab:19


class Mamba2(nn.Module):  # mamba2.gab:5
    """Mamba2: tokens [B, L] -> logits [B, L, vocab_size]."""

    def __init__(
        self, vocab_size: int = 32000, D: int = 128, n_layers: int = 6, seed: int | None = 0
    ) -> None:
        """With `seed=None` the parameters are left uninitialised."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D)
        self.blocks = nn.ModuleList([Mamba2Block(D, n_layers=n_layers) for _ in range(n_layers)])
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
