"""Designs of the attention family whose block transformers has in plain PyTorch.

Each function builds a tiny model of transformers with random weights, and says which of its
parameters is which of the design's. Importing a model takes a while, so the functions do it.
`attention_experts` has those with a mixture of experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from .weights import Map, Origin, Origins, Other, randomise, rows, transposed

WIDTH = 64
HEADS = 8
HEAD = WIDTH // HEADS
HIDDEN = 256
"""The default of GatedMLP at this width."""
WINDOW = 5
"""Shorter than the sequence, so that it is felt."""

Names = Mapping[str, str | Origin]
"""Of one block: the design's name of a parameter, and where it comes from."""

ATTENTION: Names = {
    f"attn.w{part}.weight": f"self_attn.{part}_proj.weight" for part in ("q", "k", "v", "o")
}
GATED: Names = {f"mlp.{part}.weight": f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
PRE_NORM: Names = {
    "attn_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
}
QK_NORM: Names = {f"attn.{part}_norm.weight": f"self_attn.{part}_norm.weight" for part in "qk"}
SANDWICH: Names = {
    "attn_norm.offset": "input_layernorm.weight",
    "attn_out_norm.offset": "post_attention_layernorm.weight",
    "mlp_norm.offset": "pre_feedforward_layernorm.weight",
    "mlp_out_norm.offset": "post_feedforward_layernorm.weight",
}


def then(first: Map, second: Map) -> Map:
    return lambda tensor: second(first(tensor))


def in_layers(names: Names, indices: range, theirs: str = "layers") -> Origins:
    """The names of one block, for each of the blocks."""
    origins = {}
    for layer in indices:
        for name, given in names.items():
            origin = Origin(given) if isinstance(given, str) else given
            full = replace(origin, name=f"{theirs}.{layer}.{origin.name}")
            origins[f"blocks.{layer}.{name}"] = full
    return origins


def stack(
    model: PreTrainedModel,
    origins: Origins,
    norm: str = "norm",
    embedding: str = "embed_tokens",
    scale: float = 1.0,
) -> Other:
    """The blocks of a model without the norm at its end. `scale` multiplies their input."""
    setattr(model, norm, nn.Identity())
    randomise(model.eval())

    def run(X: Tensor) -> Tensor:
        output = model(inputs_embeds=scale * X, use_cache=False).last_hidden_state
        assert isinstance(output, Tensor)
        return output

    return Other(model, run, origins, frozenset({f"{embedding}.weight"}))


def eager(config: PreTrainedConfig) -> PreTrainedConfig:
    """Attention and experts as they are written down, without a fused kernel."""
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    return config


SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "vocab_size": 8,
}
SPECIAL = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def llama() -> Other:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(**SHAPE, **SPECIAL, num_key_value_heads=2)
    return stack(LlamaModel(eager(config)), in_layers({**ATTENTION, **GATED, **PRE_NORM}, range(2)))


def mistral() -> Other:
    from transformers import MistralConfig, MistralModel

    config = MistralConfig(**SHAPE, **SPECIAL, num_key_value_heads=2, sliding_window=WINDOW)
    names = {**ATTENTION, **GATED, **PRE_NORM}
    return stack(MistralModel(eager(config)), in_layers(names, range(2)))


def qwen3() -> Other:
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    names = {**ATTENTION, **GATED, **PRE_NORM, **QK_NORM}
    return stack(Qwen3Model(eager(config)), in_layers(names, range(2)))


def olmo2() -> Other:
    from transformers import Olmo2Config, Olmo2Model

    config = Olmo2Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )
    post: Names = {
        "attn_norm.weight": "post_attention_layernorm.weight",
        "mlp_norm.weight": "post_feedforward_layernorm.weight",
    }
    names = {**ATTENTION, **GATED, **QK_NORM, **post}
    return stack(Olmo2Model(eager(config)), in_layers(names, range(2)))


def gemma2() -> Other:
    """The cap of the logits, which the design's stack ends with, is that of Gemma2ForCausalLM."""
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=4,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
    )
    other = stack(
        Gemma2Model(eager(config)),
        in_layers({**ATTENTION, **GATED, **SANDWICH}, range(2)),
        scale=WIDTH**0.5,
    )
    blocks, cap = other.run, config.final_logit_softcapping
    other.run = lambda X: cap * torch.tanh(blocks(X) / cap)
    return other


def gemma3() -> Other:
    """Six layers, of which the last is global."""
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        **{**SHAPE, "num_hidden_layers": 6},
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
    )
    norms = {name.replace("weight", "offset"): theirs for name, theirs in QK_NORM.items()}
    names = {**ATTENTION, **GATED, **SANDWICH, **norms}
    model = Gemma3TextModel(eager(config))
    return stack(model, in_layers(names, range(6)), scale=WIDTH**0.5)


def differential() -> Other:
    """Its values are stored with the two halves of every head's value far apart."""
    from transformers import DiffLlamaConfig, DiffLlamaModel

    config = DiffLlamaConfig(**SHAPE, **SPECIAL, num_key_value_heads=HEADS)
    heads = HEADS // 2
    names: dict[str, str | Origin] = {**ATTENTION, **GATED, **PRE_NORM}
    for part in ("q1", "k1", "q2", "k2"):
        names[f"attn.lambda_{part}"] = f"self_attn.lambda_{part}"
    names["attn.wv.weight"] = Origin(
        "self_attn.v_proj.weight",
        lambda tensor: tensor.view(2, heads, HEAD, WIDTH).transpose(0, 1).reshape(WIDTH, WIDTH),
    )
    return stack(DiffLlamaModel(eager(config)), in_layers(names, range(2)))


def gpt2_learned() -> Other:
    """Its matrices are stored [in, out], those of queries, keys and values as one."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=16, vocab_size=8, **SPECIAL
    )
    names: dict[str, str | Origin] = {
        "attn.wo.weight": Origin("attn.c_proj.weight", transposed),
        "attn.wo.bias": "attn.c_proj.bias",
        "mlp.up.weight": Origin("mlp.c_fc.weight", transposed),
        "mlp.up.bias": "mlp.c_fc.bias",
        "mlp.down.weight": Origin("mlp.c_proj.weight", transposed),
        "mlp.down.bias": "mlp.c_proj.bias",
    }
    for index, part in enumerate("qkv"):
        own = rows(index * WIDTH, (index + 1) * WIDTH)
        names[f"attn.w{part}.weight"] = Origin("attn.c_attn.weight", then(transposed, own))
        names[f"attn.w{part}.bias"] = Origin("attn.c_attn.bias", own)
    for norm, theirs in (("attn_norm", "ln_1"), ("mlp_norm", "ln_2")):
        names |= {f"{norm}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    origins = {
        "blocks.0.position.table": Origin("wpe.weight"),
        **in_layers(names, range(2), "h"),
    }
    return stack(GPT2Model(eager(config)), origins, norm="ln_f", embedding="wte")


def _fused_block(norms: Mapping[str, str]) -> dict[str, str | Origin]:
    """What the blocks of BLOOM and Falcon have alike."""
    return {
        "attn.wo.weight": "self_attention.dense.weight",
        "mlp.up.weight": "mlp.dense_h_to_4h.weight",
        "mlp.down.weight": "mlp.dense_4h_to_h.weight",
        **{f"{n}.{p}": f"{t}.{p}" for n, t in norms.items() for p in ("weight", "bias")},
    }


def falcon() -> Other:
    from transformers import FalconConfig, FalconModel

    config = FalconConfig(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS, vocab_size=8, **SPECIAL
    )
    fused = "self_attention.query_key_value.weight"
    names = {
        **_fused_block({"norm": "input_layernorm"}),
        "attn.wq.weight": Origin(fused, rows(0, WIDTH)),
        "attn.wk.weight": Origin(fused, rows(WIDTH, WIDTH + HEAD)),
        "attn.wv.weight": Origin(fused, rows(WIDTH + HEAD, WIDTH + 2 * HEAD)),
    }
    origins = in_layers(names, range(2), "h")
    return stack(FalconModel(eager(config)), origins, norm="ln_f", embedding="word_embeddings")


def alternate(place: int) -> Map:
    """The rows of queries (0), keys (1) or values (2), which follow each other head by head."""

    def part(tensor: Tensor) -> Tensor:
        heads = tensor.reshape(HEADS, 3, HEAD, *tensor.shape[1:])
        return heads[:, place].flatten(0, 1)

    return part


def alibi(norm: nn.Module | None = None) -> Other:
    """BLOOM, by default without the norm after its embedding; queries, keys, values by head."""
    from transformers import BloomConfig, BloomModel

    config = BloomConfig(hidden_size=WIDTH, n_layer=2, n_head=HEADS, vocab_size=8, **SPECIAL)
    model = BloomModel(eager(config))
    model.word_embeddings_layernorm = norm or nn.Identity()
    names = _fused_block({"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"})
    for name, theirs in list(names.items()):
        if name.endswith("weight") and "norm" not in name:
            names[name.replace("weight", "bias")] = str(theirs).replace("weight", "bias")
    for index, part in enumerate("qkv"):
        for kind in ("weight", "bias"):
            fused = f"self_attention.query_key_value.{kind}"
            names[f"attn.w{part}.{kind}"] = Origin(fused, alternate(index))
    return stack(model, in_layers(names, range(2), "h"), norm="ln_f", embedding="word_embeddings")
