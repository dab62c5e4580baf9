"""Dense architectures of transformers beside designs of `designs/`, made of the library's units.

Each function builds a tiny model of transformers with random weights, and says which of its
parameters is which of the design's. Importing a model takes a while, so the functions do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .attention_transformers import (
    ATTENTION,
    GATED,
    HEAD,
    HIDDEN,
    PRE_NORM,
    QK_NORM,
    SHAPE,
    SPECIAL,
    WIDTH,
    WINDOW,
    Names,
    eager,
    in_layers,
    stack,
)
from .weights import Origin, Other, rows

LLAMA: Names = {**ATTENTION, **GATED, **PRE_NORM}
IN_GPT = {"vocab_size": 8, **SPECIAL}
LAYER_TYPES = ["sliding_attention", "full_attention"]


def rope(base: float = 10000.0, rotated: float = 1.0) -> dict[str, object]:
    return {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": rotated}


def with_biases(names: Mapping[str, str]) -> dict[str, str]:
    return {
        **names,
        **{n.replace("weight", "bias"): t.replace("weight", "bias") for n, t in names.items()},
    }


def strings(names: Names) -> dict[str, str]:
    return {name: given for name, given in names.items() if isinstance(given, str)}


def offsets(norms: Names) -> dict[str, str]:
    """Norms whose weight is an offset from 1."""
    return {n.replace("weight", "offset"): t for n, t in strings(norms).items()}


QUERIES: Names = {name: ATTENTION[name] for name in ATTENTION if "wo" not in name}


def gemma() -> Other:
    from transformers import GemmaConfig, GemmaModel

    config = GemmaConfig(**SHAPE, **SPECIAL, num_key_value_heads=1, head_dim=16)
    names = {**ATTENTION, **GATED, **offsets(PRE_NORM)}
    return stack(GemmaModel(eager(config)), in_layers(names, range(2)), scale=WIDTH**0.5)


def qwen2() -> Other:
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(**SHAPE, **SPECIAL, num_key_value_heads=2, rope_parameters=rope(1e6))
    names = {**LLAMA, **with_biases(strings(QUERIES))}
    return stack(Qwen2Model(eager(config)), in_layers(names, range(2)))


def llama3() -> Other:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    return stack(LlamaModel(eager(config)), in_layers(LLAMA, range(2)))


def phi3() -> Other:
    """Llama's block with fused matrices."""
    from transformers import Phi3Config, Phi3Model

    config = Phi3Config(**SHAPE, **SPECIAL, num_key_value_heads=2, rms_norm_eps=1e-6)
    fused, both = "self_attn.qkv_proj.weight", "mlp.gate_up_proj.weight"
    keys = 2 * HEAD
    names: Names = {
        **LLAMA,
        "attn.wq.weight": Origin(fused, rows(0, WIDTH)),
        "attn.wk.weight": Origin(fused, rows(WIDTH, WIDTH + keys)),
        "attn.wv.weight": Origin(fused, rows(WIDTH + keys, WIDTH + 2 * keys)),
        "mlp.gate.weight": Origin(both, rows(0, HIDDEN)),
        "mlp.up.weight": Origin(both, rows(HIDDEN, 2 * HIDDEN)),
    }
    return stack(Phi3Model(eager(config)), in_layers(names, range(2)))


def stablelm() -> Other:
    from transformers import StableLmConfig, StableLmModel

    config = StableLmConfig(
        **SHAPE, **SPECIAL, num_key_value_heads=2, rope_parameters=rope(rotated=0.25)
    )
    names = {**LLAMA, **with_biases(strings(PRE_NORM))}
    return stack(StableLmModel(eager(config)), in_layers(names, range(2)))


def cohere2() -> Other:
    from transformers import Cohere2Config, Cohere2Model

    config = Cohere2Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        sliding_window=WINDOW,
        layer_types=LAYER_TYPES,
    )
    names: Names = {**ATTENTION, **GATED, "norm.weight": "input_layernorm.weight"}
    return stack(Cohere2Model(eager(config)), in_layers(names, range(2)))


def glm4() -> Other:
    from transformers import Glm4Config, Glm4Model

    config = Glm4Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        attention_bias=True,
        rms_norm_eps=1e-5,
        rope_parameters=rope(rotated=0.5),
    )
    names: Names = {
        **LLAMA,
        **with_biases(strings(QUERIES)),
        "attn_out_norm.weight": "post_self_attn_layernorm.weight",
        "mlp_out_norm.weight": "post_mlp_layernorm.weight",
        "mlp.gate.weight": Origin("mlp.gate_up_proj.weight", rows(0, HIDDEN)),
        "mlp.up.weight": Origin("mlp.gate_up_proj.weight", rows(HIDDEN, 2 * HIDDEN)),
    }
    return stack(Glm4Model(eager(config)), in_layers(names, range(2)))


def olmo() -> Other:
    from transformers import OlmoConfig, OlmoModel

    config = OlmoConfig(**SHAPE, **SPECIAL)
    return stack(OlmoModel(eager(config)), in_layers({**ATTENTION, **GATED}, range(2)))


def olmo3() -> Other:
    from transformers import Olmo3Config, Olmo3Model

    config = Olmo3Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        rms_norm_eps=1e-6,
        sliding_window=WINDOW,
        layer_types=LAYER_TYPES,
        rope_parameters=rope(5e5),
    )
    return stack(Olmo3Model(eager(config)), in_layers(POST_NORMED, range(2)))


POST_NORMED: Names = {
    **ATTENTION,
    **GATED,
    **QK_NORM,
    "attn_norm.weight": "post_attention_layernorm.weight",
    "mlp_norm.weight": "post_feedforward_layernorm.weight",
}


def exaone4() -> Other:
    from transformers import Exaone4Config, Exaone4Model

    config = Exaone4Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        sliding_window=WINDOW,
        layer_types=LAYER_TYPES,
        rope_parameters=rope(),
    )
    return stack(Exaone4Model(eager(config)), in_layers(POST_NORMED, range(2)))


UP_DOWN: Names = {name: given for name, given in GATED.items() if "gate" not in name}


def nemotron() -> Other:
    from transformers import NemotronConfig, NemotronModel

    config = NemotronConfig(
        **SHAPE, **SPECIAL, num_key_value_heads=2, rope_parameters=rope(rotated=0.5)
    )
    biases = {n: t for n, t in with_biases(strings(PRE_NORM)).items() if "bias" in n}
    names = {**ATTENTION, **UP_DOWN, **offsets(PRE_NORM), **biases}
    return stack(NemotronModel(eager(config)), in_layers(names, range(2)))


def arcee() -> Other:
    from transformers import ArceeConfig, ArceeModel

    config = ArceeConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        max_position_embeddings=20 * 4096,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 20.0,
            "original_max_position_embeddings": 4096,
        },
    )
    names = {**ATTENTION, **UP_DOWN, **PRE_NORM}
    return stack(ArceeModel(eager(config)), in_layers(names, range(2)))


GRANITE = {
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.0625,
    "residual_multiplier": 0.22,
    "rms_norm_eps": 1e-5,
}


def granite() -> Other:
    from transformers import GraniteConfig, GraniteModel

    config = GraniteConfig(**SHAPE, **SPECIAL, **GRANITE, num_key_value_heads=2)
    return stack(GraniteModel(eager(config)), in_layers(LLAMA, range(2)))


def smollm3() -> Other:
    from transformers import SmolLM3Config, SmolLM3Model

    config = SmolLM3Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        no_rope_layers=[1, 0],
        rope_parameters=rope(2e6),
    )
    return stack(SmolLM3Model(eager(config)), in_layers(LLAMA, range(2)))


def hunyuan() -> Other:
    from transformers import HunYuanDenseV1Config, HunYuanDenseV1Model

    config = HunYuanDenseV1Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        rms_norm_eps=1e-5,
        rope_parameters=rope(),
    )
    names = {
        **LLAMA,
        "attn.q_norm.norm.weight": "self_attn.query_layernorm.weight",
        "attn.k_norm.norm.weight": "self_attn.key_layernorm.weight",
    }
    return stack(HunYuanDenseV1Model(eager(config)), in_layers(names, range(2)))


def swapped(tensor: Tensor) -> Tensor:
    """The two halves of each head in each other's place."""
    return tensor.unflatten(0, (-1, 2, HEAD // 2)).flip(1).flatten(0, 2)


def nanochat() -> Other:
    """It turns the other way, as if halves were swapped; without the norm behind its embedding."""
    from transformers import NanoChatConfig, NanoChatModel

    config = NanoChatConfig(**SHAPE, **SPECIAL, num_key_value_heads=2, rope_parameters=rope())
    names: Names = {
        **ATTENTION,
        **{f"attn.w{n}.weight": Origin(f"self_attn.{n}_proj.weight", swapped) for n in "qk"},
        "mlp.up.weight": "mlp.fc1.weight",
        "mlp.down.weight": "mlp.fc2.weight",
    }
    return stack(NanoChatModel(eager(config)), in_layers(names, range(2)))
