"""Mixtures of experts of transformers beside designs of `designs/`; see `published_dense`."""

from __future__ import annotations

from .attention_experts import (
    LATENT,
    LATENT_ATTENTION,
    ROTATED,
    deepseek_v3_yarn,
    expert,
    gated_experts,
    gpt_oss_yarn,
    with_balance,
)
from .attention_transformers import (
    ATTENTION,
    GATED,
    HEAD,
    HEADS,
    PRE_NORM,
    QK_NORM,
    SHAPE,
    SPECIAL,
    WIDTH,
    Names,
    eager,
    in_layers,
    stack,
    then,
)
from .published_dense import QUERIES, rope, strings, with_biases
from .weights import Map, Origin, Other, rows, transposed

__all__ = ["deepseek_v3_yarn", "gpt_oss_yarn"]

EXPERTS, SMALL = 8, WIDTH // 2
ROUTED: Names = {"mlp.router.weight": "mlp.gate.weight", **gated_experts(EXPERTS, SMALL)}
COMMON: Names = {
    f"mlp.common.{part}.weight": f"mlp.shared_experts.{part}_proj.weight"
    for part in ("gate", "up", "down")
}


def qwen3_moe() -> Other:
    from transformers import Qwen3MoeConfig, Qwen3MoeModel

    config = Qwen3MoeConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        moe_intermediate_size=SMALL,
        norm_topk_prob=True,
        rope_parameters=rope(1e6),
    )
    names = {**ATTENTION, **QK_NORM, **PRE_NORM, **ROUTED}
    return stack(Qwen3MoeModel(eager(config)), in_layers(names, range(2)))


def olmoe() -> Other:
    from transformers import OlmoeConfig, OlmoeModel

    config = OlmoeConfig(
        **{**SHAPE, "intermediate_size": SMALL},
        **SPECIAL,
        num_key_value_heads=HEADS,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        norm_topk_prob=False,
    )
    names = {**ATTENTION, **QK_NORM, **PRE_NORM, **ROUTED}
    return stack(OlmoeModel(eager(config)), in_layers(names, range(2)))


def minimax_m2() -> Other:
    from transformers import MiniMaxM2Config, MiniMaxM2Model

    config = MiniMaxM2Config(
        **{**SHAPE, "intermediate_size": SMALL},
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        num_local_experts=EXPERTS,
        num_experts_per_tok=2,
        rope_parameters=rope(5e6, rotated=0.5),
    )
    names = {**ATTENTION, **QK_NORM, **PRE_NORM, **ROUTED}
    other = stack(MiniMaxM2Model(eager(config)), in_layers(names, range(2)))
    return with_balance(other, "blocks.1.mlp.balance", "layers.1.mlp.e_score_correction_bias")


def glm4_moe() -> Other:
    """A dense layer, then two groups of experts, of which one is open to a token."""
    from transformers import Glm4MoeConfig, Glm4MoeModel

    config = Glm4MoeConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        attention_bias=True,
        use_qk_norm=True,
        rms_norm_eps=1e-5,
        first_k_dense_replace=1,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=2,
        moe_intermediate_size=SMALL,
        n_group=2,
        topk_group=1,
        rope_parameters=rope(rotated=0.5),
    )
    every = {**ATTENTION, **with_biases(strings(QUERIES)), **QK_NORM, **PRE_NORM}
    origins = {
        **in_layers({**every, **GATED}, range(1)),
        **in_layers({**every, **ROUTED, **COMMON}, range(1, 2)),
    }
    other = stack(Glm4MoeModel(eager(config)), origins)
    return with_balance(
        other, "blocks.1.mlp.balance", "layers.1.mlp.gate.e_score_correction_bias", 2
    )


def deepseek_v2() -> Other:
    from transformers import DeepseekV2Config, DeepseekV2Model

    config = DeepseekV2Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=HEADS,
        first_k_dense_replace=1,
        q_lora_rank=None,
        kv_lora_rank=LATENT,
        qk_nope_head_dim=HEAD,
        qk_rope_head_dim=ROTATED,
        v_head_dim=HEAD,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=2,
        n_shared_experts=2,
        moe_intermediate_size=SMALL,
        rope_parameters=rope(),
    )
    every = {**LATENT_ATTENTION, "attn.wq.weight": "self_attn.q_proj.weight", **PRE_NORM}
    routed = {name.replace("mlp.", "mlp.routed."): given for name, given in ROUTED.items()}
    origins = {
        **in_layers({**every, **GATED}, range(1)),
        **in_layers({**every, **routed, **COMMON}, range(1, 2)),
    }
    return stack(DeepseekV2Model(eager(config)), origins)


def unstacked(index: int, last: Map) -> Map:
    """The rows of one expert, which are stored one after another."""
    return then(lambda tensor: tensor.unflatten(0, (EXPERTS, SMALL)), then(expert(index), last))


def dbrx() -> Other:
    from transformers import DbrxConfig, DbrxModel

    config = DbrxConfig(
        d_model=WIDTH,
        n_layers=2,
        n_heads=HEADS,
        vocab_size=8,
        **SPECIAL,
        ffn_config={"ffn_hidden_size": SMALL, "moe_num_experts": EXPERTS, "moe_top_k": 4},
        attn_config={"kv_n_heads": 2, "rope_theta": 5e5, "clip_qkv": 1.0},
        rope_parameters=rope(5e5),
    )
    attention, keys = "norm_attn_norm.attn", 2 * HEAD
    cuts = {"q": (0, WIDTH), "k": (WIDTH, WIDTH + keys), "v": (WIDTH + keys, WIDTH + 2 * keys)}
    names: dict[str, str | Origin] = {
        "attn_norm.weight": "norm_attn_norm.norm_1.weight",
        "mlp_norm.weight": "norm_attn_norm.norm_2.weight",
        "attn.wo.weight": f"{attention}.out_proj.weight",
        "mlp.router.weight": "ffn.router.layer.weight",
        **{f"attn.w{n}.weight": Origin(f"{attention}.Wqkv.weight", rows(*cuts[n])) for n in cuts},
    }
    for e in range(EXPERTS):
        for part, theirs in (("gate", "w1"), ("up", "v1")):
            whole = unstacked(e, lambda tensor: tensor)
            names[f"mlp.pool.{e}.{part}.weight"] = Origin(f"ffn.experts.mlp.{theirs}", whole)
        down = unstacked(e, transposed)
        names[f"mlp.pool.{e}.down.weight"] = Origin("ffn.experts.mlp.w2", down)
    origins = in_layers(names, range(2), "blocks")
    return stack(DbrxModel(eager(config)), origins, norm="norm_f", embedding="wte")
