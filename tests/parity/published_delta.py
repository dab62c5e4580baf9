"""Hybrids with short convolutions or delta rules beside attention; see `published_dense`."""

from __future__ import annotations

from .attention_transformers import (
    GATED,
    HEAD,
    HEADS,
    SHAPE,
    SPECIAL,
    WIDTH,
    Names,
    eager,
    in_layers,
    stack,
)
from .published_dense import rope
from .recurrent_models import MIXING_ATTENTION, NORMS, OFFSETS, inside, rows_of_groups
from .weights import Origin, Other, rows

MIXING_QK_NORM: Names = {f"mixer.{n}_norm.weight": f"self_attn.{n}_norm.weight" for n in "qk"}


def lfm2() -> Other:
    from transformers import Lfm2Config, Lfm2Model

    config = Lfm2Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        block_auto_adjust_ff_dim=False,
        rope_parameters=rope(1e6),
    )
    every = {
        "mixer_norm.weight": "operator_norm.weight",
        "mlp_norm.weight": "ffn_norm.weight",
        **{
            f"mlp.{part}.weight": f"feed_forward.w{n}.weight"
            for part, n in (("gate", 1), ("up", 3), ("down", 2))
        },
    }
    short: Names = {
        **{f"{name}.weight": f"{name}.weight" for name in ("in_proj", "out_proj")},
        "conv.weight": Origin("conv.weight", lambda tensor: tensor.squeeze(1)),
    }
    attention: Names = {
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "qkv"},
        "wo.weight": "out_proj.weight",
        **{f"{n}_norm.weight": f"{n}_layernorm.weight" for n in "qk"},
    }
    origins = {
        **in_layers({**every, **inside(short, "mixer", "conv")}, range(1)),
        **in_layers({**every, **inside(attention, "mixer", "self_attn")}, range(1, 2)),
    }
    return stack(Lfm2Model(eager(config)), origins, "embedding_norm")


DELTA: Names = {
    "conv.weight": Origin("conv1d.weight", lambda tensor: tensor.squeeze(1)),
    "A_log": "A_log",
    "dt_bias": "dt_bias",
}


def olmo_hybrid() -> Other:
    """A block of Gated DeltaNet, then one of attention, normed behind its layers."""
    from transformers import OlmoHybridConfig, OlmoHybridModel

    config = OlmoHybridConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        layer_types=["linear_attention", "full_attention"],
        linear_num_value_heads=HEADS,
        linear_num_key_heads=HEADS,
        linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": None},
    )
    delta: Names = {
        **DELTA,
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "qkvgo"},
        "rate.weight": "b_proj.weight",
        "decay.weight": "a_proj.weight",
        "head_norm.weight": "o_norm.weight",
    }
    behind = {
        "mixer_norm.weight": "post_attention_layernorm.weight",
        "mlp_norm.weight": "post_feedforward_layernorm.weight",
    }
    last = {**GATED, **behind, **MIXING_ATTENTION, **MIXING_QK_NORM}
    origins = {
        **in_layers({**GATED, **NORMS, **inside(delta, "mixer", "linear_attn")}, range(1)),
        **in_layers(last, range(1, 2)),
    }
    return stack(OlmoHybridModel(eager(config)), origins)


def qwen3_5() -> Other:
    from transformers import Qwen3_5TextConfig, Qwen3_5TextModel

    keys = HEADS // 2 * HEAD
    config = Qwen3_5TextConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        layer_types=["linear_attention", "full_attention"],
        linear_num_value_heads=HEADS,
        linear_num_key_heads=HEADS // 2,
        linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD,
        rope_parameters=rope(1e7, rotated=0.25),
    )
    fused = "in_proj_qkv.weight"
    delta: Names = {
        **DELTA,
        "wq.weight": Origin(fused, rows(0, keys)),
        "wk.weight": Origin(fused, rows(keys, 2 * keys)),
        "wv.weight": Origin(fused, rows(2 * keys, 2 * keys + WIDTH)),
        "wg.weight": "in_proj_z.weight",
        "rate.weight": "in_proj_b.weight",
        "decay.weight": "in_proj_a.weight",
        "head_norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
    }
    attention: Names = {
        "wq.weight": Origin("q_proj.weight", rows_of_groups(HEADS, 0, HEAD)),
        "wg.weight": Origin("q_proj.weight", rows_of_groups(HEADS, HEAD, 2 * HEAD)),
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "kvo"},
        **{f"{n}_norm.offset": f"{n}_norm.weight" for n in "qk"},
    }
    every = {**OFFSETS, **GATED}
    origins = {
        **in_layers({**every, **inside(delta, "mixer", "linear_attn")}, range(1)),
        **in_layers({**every, **inside(attention, "mixer", "self_attn")}, range(1, 2)),
    }
    return stack(Qwen3_5TextModel(eager(config)), origins)
