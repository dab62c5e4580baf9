"""RWKV6.

Compiled by gabc from rwkv6.gab at scale 14M (D = 128, 6 blocks).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gabc.runtime.functional.initial import Init
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.runtime.functional.sequence import shift
from gabc.runtime.functional.sizes import ceil_to, exact_div


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


class DataDependentShift(nn.Module):  # rwkv.gab:108
    """Data-dependent token shift: `mixes` blends of a token with the one before it, each by weights
    that depend on both.
        delta_t = x_{t-1} - x_t;   s_t = x_t + delta_t mu
        m_t[i] = lambda[i] + tanh(s_t A[i]) C[i];   y_t[i] = x_t + delta_t m_t[i]
    Shapes: X [B, L, D] -> [B, L, mixes, D]; before the first token stands zero.
    Source: Peng et al. 2024, arXiv 2404.05892, section 4.2, the function "ddlerp".
    """

    def __init__(self, D: int, mixes: int = 5, rank: int = 32) -> None:
        super().__init__()
        self.mixes = mixes
        self.rank = rank
        self.down = nn.Linear(D, mixes * rank, bias=False)  # rwkv.gab:109
        self.mu = nn.Parameter(torch.empty(D))  # [D]  rwkv.gab:110
        self.up = nn.Parameter(torch.empty(mixes, rank, D))  # [mixes, rank, D]  rwkv.gab:111
        self.base = nn.Parameter(torch.empty(mixes, D))  # [mixes, D]  rwkv.gab:112

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.down.weight.copy_(init.kaiming("down.weight", self.down.weight.shape))
        self.mu.zero_()
        self.up.copy_(init.uniform("up", self.up.shape, lo=-0.01, hi=0.01))
        self.base.zero_()

    def forward(self, X: Tensor) -> Tensor:
        delta = shift(X, 1) - X  # [B, L, D]  rwkv.gab:115
        # [B, L, mixes, rank]  rwkv.gab:116
        hidden = torch.tanh(self.down(X + delta * self.mu)).unflatten(-1, (self.mixes, self.rank))
        # [B, L, mixes, D]  rwkv.gab:117
        mix = torch.einsum("blmr,mrd->blmd", hidden, self.up) + self.base
        return X[:, :, None] + delta[:, :, None] * mix  # rwkv.gab:118


class LowRank(nn.Module):  # rwkv.gab:93
    """A low-rank map with a tanh inside.
        y = tanh(x A) C + bias
    Shapes: x [B, L, D] -> y [B, L, out].
    Source: Peng et al. 2024, arXiv 2404.05892, section 4.2, the function "lora".
    """

    def __init__(self, D: int, out: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(D, rank, bias=False)  # rwkv.gab:94
        self.up = nn.Linear(rank, out, bias=False)  # rwkv.gab:95

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.down.weight.copy_(init.kaiming("down.weight", self.down.weight.shape))
        self.up.weight.copy_(init.kaiming("up.weight", self.up.weight.shape))

    def forward(self, X: Tensor) -> Tensor:
        return self.up(torch.tanh(self.down(X)))  # rwkv.gab:98


class LowRank_2(nn.Module):  # rwkv.gab:93
    """A low-rank map with a tanh inside.
        y = tanh(x A) C + bias
    Shapes: x [B, L, D] -> y [B, L, out].
    Source: Peng et al. 2024, arXiv 2404.05892, section 4.2, the function "lora".
    """

    def __init__(self, D: int, out: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(D, rank, bias=False)  # rwkv.gab:94
        self.up = nn.Linear(rank, out)  # rwkv.gab:95

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.down.weight.copy_(init.kaiming("down.weight", self.down.weight.shape))
        self.up.weight.copy_(init.kaiming("up.weight", self.up.weight.shape))
        self.up.bias.zero_()

    def forward(self, X: Tensor) -> Tensor:
        return self.up(torch.tanh(self.down(X)))  # rwkv.gab:98


class HeadLayerNorm(nn.Module):  # norm.gab:37
    """Group norm of one position: every head is a group, normalised alone, with an affine map of
    its own.
        y[h] = (x[h] - mean(x[h])) / sqrt(var(x[h]) + eps) * weight[h] + bias[h]
    Equal to PyTorch's GroupNorm(heads, heads * width) on the B * L positions as rows.
    Shapes: x [B, L, heads, width] -> y [B, L, heads, width]. Without `has_bias` nothing is
    added.
    Source: Wu and He 2018, arXiv 1803.08494, equations (1), (2), (6) and (7); per head as in
    RetNet, arXiv 2307.08621, section 2.2.
    """

    def __init__(self, heads: int, width: int, eps: float = 1e-05) -> None:
        super().__init__()
        self.width = width
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(heads, width))  # [heads, width]  norm.gab:38
        self.bias = nn.Parameter(torch.empty(heads, width))  # [heads, width]  norm.gab:40

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        # [B, L, heads, width]  norm.gab:44
        y = F.layer_norm(x, (self.width,), None, None, self.eps) * self.weight
        return y + self.bias  # norm.gab:45


class RWKV6TimeMix(nn.Module):  # rwkv.gab:132
    """The time mix of RWKV-6.
        r, k, v, w, g = linear or low-rank maps of five data-dependent shifts of X
        o_t = r_t^T (S_{t-1} + diag(u) k_t v_t^T);   S_t = diag(exp(-exp(w_t))) S_{t-1} + k_t v_t^T
        out = (norm_h(o) * silu(g)) W_o
    Shapes: X [B, L, D] -> [B, L, D]; r, k, w [B, L, H, K]; v, o [B, L, H, V]; S [B, H, K, V];
    heads divides D / 2. K = V / 2 as in the Genesys seed; the paper has K = V. norm_h is a
    LayerNorm of every head alone (a GroupNorm). The Genesys seed normalises all heads together,
    which lets one loud head silence the others; this unit follows the paper, with the same
    number of parameters. The low rank of the gate is the seed's, too; the paper's is a full
    matrix.
    Source: Peng et al. 2024, arXiv 2404.05892, section 4.2 (time mixing of Finch).
    """

    def __init__(
        self,
        D: int,
        n_layers: int,
        heads: int = 4,
        shift_rank: int = 32,
        decay_rank: int = 64,
        gate_rank: int = 64,
        eps: float = 1e-05,
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.H = H = heads  # rwkv.gab:139
        self.V = V = exact_div(D, H)  # rwkv.gab:140
        self.K = K = exact_div(V, 2)  # rwkv.gab:141
        self.token_shift = DataDependentShift(D, mixes=5, rank=shift_rank)  # rwkv.gab:142
        self.wr = nn.Linear(D, H * K, bias=False)  # rwkv.gab:143
        self.wk = nn.Linear(D, H * K, bias=False)  # rwkv.gab:144
        self.wv = nn.Linear(D, H * V, bias=False)  # rwkv.gab:145
        self.wo = nn.Linear(H * V, D, bias=False)  # rwkv.gab:146
        self.decay = LowRank(D, out=H * K, rank=decay_rank)  # rwkv.gab:147
        self.gate = LowRank_2(D, out=H * V, rank=gate_rank)  # rwkv.gab:148
        self.head_norm = HeadLayerNorm(heads=H, width=V, eps=eps)  # rwkv.gab:149
        self.decay_base = nn.Parameter(torch.empty(H * K))  # [H*K]  rwkv.gab:150
        self.bonus = nn.Parameter(torch.empty(H, K))  # [H, K]  rwkv.gab:151

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.wr.weight.copy_(init.kaiming("wr.weight", self.wr.weight.shape))
        self.wk.weight.copy_(init.kaiming("wk.weight", self.wk.weight.shape))
        self.wv.weight.copy_(init.kaiming("wv.weight", self.wv.weight.shape))
        self.wo.weight.copy_(
            init.kaiming("wo.weight", self.wo.weight.shape) / math.sqrt(self.n_layers)
        )
        value = (
            5.0 * (torch.arange(self.H * self.K, dtype=torch.float32) / (self.H * self.K)) ** 0.9
        )
        self.decay_base.copy_(-6.0 + value)
        self.bonus.zero_()

    def forward(self, X: Tensor) -> Tensor:
        mixed = self.token_shift(X)  # [B, L, 5, D]  rwkv.gab:154
        r = self.wr(mixed[:, :, 0]).unflatten(-1, (self.H, self.K))  # [B, L, H, K]  rwkv.gab:155
        k = self.wk(mixed[:, :, 1]).unflatten(-1, (self.H, self.K))  # [B, L, H, K]  rwkv.gab:156
        v = self.wv(mixed[:, :, 2]).unflatten(-1, (self.H, self.V))  # [B, L, H, V]  rwkv.gab:157
        # [B, L, H, K]  rwkv.gab:158
        w = (self.decay(mixed[:, :, 3]) + self.decay_base).unflatten(-1, (self.H, self.K))
        # [B, L, H, V]  rwkv.gab:162
        past = linear_attention(r, k, v, -torch.exp(w), decay="key", read_before=True)
        o = past + (r * self.bonus * k).sum(-1, keepdim=True) * v  # [B, L, H, V]  rwkv.gab:165
        g = F.silu(self.gate(mixed[:, :, 4]))  # [B, L, H*V]  rwkv.gab:166
        return self.wo(g * self.head_norm(o).flatten(-2))  # rwkv.gab:167


class RWKV6ChannelMix(nn.Module):  # rwkv.gab:178
    """The channel mix of RWKV-6: a squared-ReLU MLP behind a sigmoid gate, on shifted tokens.
        delta_t = x_{t-1} - x_t;   k = (x + delta mu_k) W_k;   r = (x + delta mu_r) W_r
        out = sigmoid(r) * (relu(k)^2 W_v)
    Shapes: X [B, L, D] -> [B, L, D]. With `rank` W_k and W_r are low-rank maps, as in the
    Genesys seed, where the rank arrived by accident: another unit had left it in the argument
    dict they share. Without it they are full matrices, as in the paper.
    Source: Peng et al. 2024, arXiv 2404.05892, section 4.1 (channel mixing).
    """

    def __init__(
        self, D: int, n_layers: int, hidden: int | None = None, rank: int | None = None
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        hidden = ceil_to(7 * D / 2, 32) if hidden is None else hidden
        self.key = LowRank_2(D, out=hidden, rank=rank)  # rwkv.gab:183
        self.receptance = LowRank_2(D, out=D, rank=rank)  # rwkv.gab:184
        self.value = nn.Linear(hidden, D, bias=False)  # rwkv.gab:186
        self.mu_key = nn.Parameter(torch.empty(D))  # [D]  rwkv.gab:187
        self.mu_receptance = nn.Parameter(torch.empty(D))  # [D]  rwkv.gab:188

    @torch.no_grad()
    def init_parameters(self, init: Init) -> None:
        self.value.weight.copy_(
            init.kaiming("value.weight", self.value.weight.shape) / math.sqrt(self.n_layers)
        )
        self.mu_key.zero_()
        self.mu_receptance.zero_()

    def forward(self, X: Tensor) -> Tensor:
        delta = shift(X, 1) - X  # [B, L, D]  rwkv.gab:191
        k = torch.square(F.relu(self.key(X + delta * self.mu_key)))  # [B, L, hidden]  rwkv.gab:192
        # [B, L, D]  rwkv.gab:193
        r = torch.sigmoid(self.receptance(X + delta * self.mu_receptance))
        return r * self.value(k)  # rwkv.gab:194


class RWKV6Block(nn.Module):  # rwkv6.gab:10
    def __init__(self, D: int, n_layers: int, heads: int = 4) -> None:
        super().__init__()
        self.time_norm = LayerNorm(D)  # rwkv6.gab:11
        self.time_mix = RWKV6TimeMix(D, n_layers=n_layers, heads=heads)  # rwkv6.gab:12
        self.channel_norm = LayerNorm(D)  # rwkv6.gab:13
        self.channel_mix = RWKV6ChannelMix(D, n_layers=n_layers, rank=64)  # rwkv6.gab:14

    def forward(self, X: Tensor) -> Tensor:
        X = X + self.time_mix(self.time_norm(X))  # [B, L, D]  rwkv6.gab:17
        return X + self.channel_mix(self.channel_norm(X))  # rwkv6.gab:18


class RWKV6(nn.Module):  # rwkv6.gab:4
    """RWKV6: tokens [B, L] -> logits [B, L, vocab_size]."""

    def __init__(
        self, vocab_size: int = 32000, D: int = 128, n_layers: int = 6, seed: int | None = 0
    ) -> None:
        """With `seed=None` the parameters are left uninitialised."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, D)
        self.blocks = nn.ModuleList([RWKV6Block(D, n_layers=n_layers) for _ in range(n_layers)])
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
