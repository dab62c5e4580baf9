"""Designs with a mixture of experts or latent attention, against transformers."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from .attention_transformers import (
    ATTENTION,
    GATED,
    HEAD,
    HEADS,
    PRE_NORM,
    SHAPE,
    SPECIAL,
    WIDTH,
    WINDOW,
    Names,
    eager,
    in_layers,
    stack,
    then,
)
from .weights import Map, Origin, Other, rows, transposed


def expert(index: int) -> Map:
    return lambda tensor: tensor[index]


def every_other(start: int) -> Map:
    return lambda tensor: tensor[..., start::2]


def gated_experts(count: int, hidden: int) -> Names:
    """Experts whose gate and up matrices are stored as one, [experts, 2 hidden, D]."""
    names: dict[str, Origin] = {}
    for e in range(count):
        pool = f"mlp.pool.{e}"
        both, down = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
        names[f"{pool}.gate.weight"] = Origin(both, then(expert(e), rows(0, hidden)))
        names[f"{pool}.up.weight"] = Origin(both, then(expert(e), rows(hidden, 2 * hidden)))
        names[f"{pool}.down.weight"] = Origin(down, expert(e))
    return names


def mixtral() -> Other:
    from transformers import MixtralConfig, MixtralModel

    config = MixtralConfig(
        **{**SHAPE, "intermediate_size": 32}, **SPECIAL, num_key_value_heads=2, num_local_experts=8
    )
    router = {"mlp.router.weight": "mlp.gate.weight"}
    names = {**ATTENTION, **PRE_NORM, **router, **gated_experts(8, 32)}
    return stack(MixtralModel(eager(config)), in_layers(names, range(2)))


def qwen2_moe() -> Other:
    from transformers import Qwen2MoeConfig, Qwen2MoeModel

    config = Qwen2MoeConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=HEADS,
        qkv_bias=False,
        num_experts=8,
        num_experts_per_tok=4,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=128,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    names: dict[str, str | Origin] = {
        "mlp.router.weight": "mlp.gate.weight",
        "mlp.gate.weight": "mlp.shared_expert_gate.weight",
        **ATTENTION,
        **PRE_NORM,
        **gated_experts(8, 32),
    }
    for part in ("gate", "up", "down"):
        names[f"mlp.common.{part}.weight"] = f"mlp.shared_expert.{part}_proj.weight"
    return stack(Qwen2MoeModel(eager(config)), in_layers(names, range(2)))


def gpt_oss() -> Other:
    return _gpt_oss({"rope_type": "default", "rope_theta": 150000.0})


def gpt_oss_yarn() -> Other:
    return _gpt_oss(
        {
            "rope_type": "yarn",
            "rope_theta": 150000.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "truncate": False,
        }
    )


def _gpt_oss(rope: dict[str, object]) -> Other:
    """Gate and up are interleaved, and matrices are stored [in, out]."""
    from transformers import GptOssConfig, GptOssModel

    config = GptOssConfig(
        **{**SHAPE, "intermediate_size": 32},
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        num_local_experts=8,
        sliding_window=WINDOW,
        rope_parameters=rope,
    )
    names: dict[str, str | Origin] = {
        **ATTENTION,
        **{name.replace("weight", "bias"): str(to)[:-6] + "bias" for name, to in ATTENTION.items()},
        **PRE_NORM,
        "attn.sinks": "self_attn.sinks",
        "mlp.router.weight": "mlp.router.weight",
        "mlp.router.bias": "mlp.router.bias",
    }
    for e in range(8):
        for start, part in enumerate(("gate", "up")):
            both = "mlp.experts.gate_up_proj"
            biases = then(expert(e), every_other(start))
            names[f"mlp.pool.{e}.{part}.weight"] = Origin(both, then(biases, transposed))
            names[f"mlp.pool.{e}.{part}.bias"] = Origin(f"{both}_bias", biases)
        down = "mlp.experts.down_proj"
        names[f"mlp.pool.{e}.down.weight"] = Origin(down, then(expert(e), transposed))
        names[f"mlp.pool.{e}.down.bias"] = Origin(f"{down}_bias", expert(e))
    return stack(GptOssModel(eager(config)), in_layers(names, range(2)))


LATENT, QUERY_LATENT, ROTATED = 4 * HEAD, WIDTH // 2, HEAD // 2


def _deepseek(
    dense_layers: int,
    query_latent: int | None,
    groups: int = 1,
    open_groups: int = 1,
    rope: dict[str, object] | None = None,
) -> PreTrainedModel:
    from transformers import DeepseekV3Config, DeepseekV3Model

    config = DeepseekV3Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=HEADS,
        first_k_dense_replace=dense_layers,
        q_lora_rank=query_latent,
        kv_lora_rank=LATENT,
        qk_nope_head_dim=HEAD,
        qk_rope_head_dim=ROTATED,
        v_head_dim=HEAD,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=groups,
        topk_group=open_groups,
        moe_intermediate_size=32,
        rope_parameters=rope,
    )
    return DeepseekV3Model(eager(config))


LATENT_ATTENTION: Names = {
    "attn.kv_down.weight": Origin("self_attn.kv_a_proj_with_mqa.weight", rows(0, LATENT)),
    "attn.k_rope.weight": Origin(
        "self_attn.kv_a_proj_with_mqa.weight", rows(LATENT, LATENT + ROTATED)
    ),
    "attn.kv_norm.weight": "self_attn.kv_a_layernorm.weight",
    "attn.kv_up.weight": "self_attn.kv_b_proj.weight",
    "attn.wo.weight": "self_attn.o_proj.weight",
}
LATENT_QUERIES: Names = {
    "attn.q_down.weight": "self_attn.q_a_proj.weight",
    "attn.q_norm.weight": "self_attn.q_a_layernorm.weight",
    "attn.q_up.weight": "self_attn.q_b_proj.weight",
}


def deepseek_mla() -> Other:
    """Dense layers only, queries without a latent."""
    plain = {"attn.wq.weight": "self_attn.q_proj.weight"}
    names = {**LATENT_ATTENTION, **plain, **GATED, **PRE_NORM}
    return stack(_deepseek(dense_layers=2, query_latent=None), in_layers(names, range(2)))


def deepseek_v3() -> Other:
    """A dense layer, then experts; the bias that balances them is random, not zero."""
    return _routed(_deepseek(dense_layers=1, query_latent=QUERY_LATENT))


def deepseek_v3_yarn() -> Other:
    """Four groups of experts, of which two are open to a token; stretched positions."""
    rope: dict[str, object] = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    return _routed(_deepseek(1, QUERY_LATENT, groups=4, open_groups=2, rope=rope))


def _routed(model: PreTrainedModel) -> Other:
    every = {**LATENT_ATTENTION, **LATENT_QUERIES, **PRE_NORM}
    routed: dict[str, str | Origin] = {"mlp.router.weight": "mlp.gate.weight"}
    for part in ("gate", "up", "down"):
        routed[f"mlp.common.{part}.weight"] = f"mlp.shared_experts.{part}_proj.weight"
    routed |= gated_experts(8, 32)
    other = stack(
        model,
        {
            **in_layers({**every, **GATED}, range(1)),
            **in_layers({**every, **routed}, range(1, 2)),
        },
    )
    return with_balance(other, "blocks.1.mlp.balance", "layers.1.mlp.gate.e_score_correction_bias")


def with_balance(other: Other, ours: str, theirs: str, seed: int = 3) -> Other:
    """The bias that balances the experts, which is a buffer, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    other.module.get_buffer(theirs).copy_(0.1 * torch.randn(8, generator=generator))
    other.buffers = {ours: theirs}
    return other
