"""Manifold-constrained hyper-connections: DeepSeek-V4's connections around Llama's layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention_transformers import (
    ATTENTION,
    GATED,
    HEADS,
    PRE_NORM,
    SHAPE,
    SPECIAL,
    WIDTH,
    Names,
    eager,
)
from .weights import Map, Origin, Other, randomise, rows

STREAMS = 4


class Streams(nn.Module):
    """Two blocks; each layer stands inside a connection, as in DeepseekV4DecoderLayer."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import DeepseekV4Config, LlamaConfig, LlamaModel
        from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4HyperConnection

        config = LlamaConfig(**SHAPE, **SPECIAL, num_key_value_heads=HEADS)
        self.llama = LlamaModel(eager(config))
        theirs = DeepseekV4Config(hidden_size=WIDTH, hc_mult=STREAMS, rms_norm_eps=1e-6)
        self.around = nn.ModuleList(DeepseekV4HyperConnection(theirs) for _ in range(4))

    def forward(self, X: Tensor) -> Tensor:
        length = X.shape[1]
        rotation = self.llama.rotary_emb(X, torch.arange(length)[None])
        mask = torch.full((length, length), -torch.inf, dtype=X.dtype).triu(1)[None, None]
        wide = X[:, :, None].repeat(1, 1, STREAMS, 1)
        for n, layer in enumerate(self.llama.layers):
            post, mix, x = self.around[2 * n](wide)
            y, _ = layer.self_attn(layer.input_layernorm(x), rotation, mask)
            wide = post[..., None] * y[:, :, None] + mix.mT @ wide
            post, mix, x = self.around[2 * n + 1](wide)
            y = layer.mlp(layer.post_attention_layernorm(x))
            wide = post[..., None] * y[:, :, None] + mix.mT @ wide
        return wide.sum(2)


def element(index: int) -> Map:
    return lambda tensor: tensor[index]


def manifold_hyper_connections() -> Other:
    module = randomise(Streams().eval())
    sizes = {"read": (0, STREAMS), "write": (STREAMS, 2 * STREAMS)}
    layers: Names = {
        **{name.replace("attn.", "attn.inner.inner."): to for name, to in ATTENTION.items()},
        **{name.replace("mlp.", "mlp.inner.inner."): to for name, to in GATED.items()},
        **{name.replace("_norm.", ".inner.norm."): to for name, to in PRE_NORM.items()},
    }
    origins = {}
    for n in range(2):
        for name, to in layers.items():
            origins[f"blocks.{n}.{name}"] = Origin(f"llama.layers.{n}.{to}")
        for place, half in enumerate(("attn", "mlp")):
            path, around = f"blocks.{n}.{half}", f"around.{2 * n + place}"
            origins[f"{path}.weights.weight"] = Origin(f"{around}.fn")
            for index, (part, (start, stop)) in enumerate(sizes.items()):
                origins[f"{path}.{part}_bias"] = Origin(f"{around}.base", rows(start, stop))
                origins[f"{path}.{part}_scale"] = Origin(f"{around}.scale", element(index))
            origins[f"{path}.mix_bias"] = Origin(
                f"{around}.base", lambda tensor: tensor[2 * STREAMS :].view(STREAMS, STREAMS)
            )
            origins[f"{path}.mix_scale"] = Origin(f"{around}.scale", element(2))
    unused = frozenset({"llama.embed_tokens.weight", "llama.norm.weight"})
    return Other(module, module, origins, unused)
