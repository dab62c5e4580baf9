"""Whole stacks of blocks that transformers has in plain PyTorch: Mamba and the hybrid designs.

Each function builds a tiny model of transformers with random weights, and says which of its
parameters is which of the design's. Importing the models takes seconds, so the functions do it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .attention_experts import LATENT, LATENT_ATTENTION, ROTATED, gated_experts
from .attention_transformers import (
    ATTENTION,
    GATED,
    HEAD,
    HEADS,
    HIDDEN,
    SHAPE,
    SPECIAL,
    WIDTH,
    Names,
    eager,
    in_layers,
    stack,
)
from .recurrent_transformers import MAMBA
from .weights import Map, Origin, Origins, Other

PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
NORMS: Names = {
    "mixer_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
}
OFFSETS: Names = {name.replace("weight", "offset"): given for name, given in NORMS.items()}


def inside(names: Names, ours: str, theirs: str) -> dict[str, str | Origin]:
    """The names of a child: `ours.` and `theirs.` before them."""
    placed: dict[str, str | Origin] = {}
    for name, given in names.items():
        origin = Origin(given) if isinstance(given, str) else given
        placed[f"{ours}.{name}"] = replace(origin, name=f"{theirs}.{origin.name}")
    return placed


def rows_of_groups(groups: int, start: int, stop: int) -> Map:
    return lambda tensor: tensor.unflatten(0, (groups, -1))[:, start:stop].flatten(0, 1)


MIXER: Names = {
    name: Origin(given, lambda tensor: tensor.squeeze(1) if tensor.ndim == 3 else tensor)
    for name, given in MAMBA.items()
    if isinstance(given, str)
}
MIXING_ATTENTION: Names = {
    name.replace("attn", "mixer"): given for name, given in ATTENTION.items()
}


def mamba() -> Other:
    from transformers import MambaConfig, MambaModel

    config = MambaConfig(
        hidden_size=WIDTH, num_hidden_layers=2, vocab_size=8, layer_norm_epsilon=1e-5, **SPECIAL
    )
    names = {"norm.weight": "norm.weight", **inside(MIXER, "mixer", "mixer")}
    return stack(MambaModel(config), in_layers(names, range(2)), "norm_f", "embeddings")


MAMBA2: Names = {
    "conv.weight": Origin("conv1d.weight", lambda tensor: tensor.squeeze(1)),
    "conv.bias": "conv1d.bias",
    "skip": "D",
    **{f"{name}.weight": f"{name}.weight" for name in ("in_proj", "norm", "out_proj")},
    **{name: name for name in ("A_log", "dt_bias")},
}


def falcon_h1(scale: float = 1.0, **multipliers: float | list[float]) -> Other:
    """All multipliers are 1 unless given; `scale` is that of the embedding."""
    from transformers import FalconH1Config, FalconH1Model

    config = FalconH1Config(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        mamba_d_ssm=2 * WIDTH,
        mamba_n_heads=2,
        mamba_d_head=64,
        mamba_d_state=64,
        mamba_chunk_size=8,
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        rope_parameters=PLAIN_ROPE,
        **multipliers,
    )
    names: Names = {
        "mixer_norm.weight": "input_layernorm.weight",
        "mlp_norm.weight": "pre_ff_layernorm.weight",
        **ATTENTION,
        **inside(MAMBA2, "ssm", "mamba"),
        **{name: f"feed_forward.{name[4:].replace('.', '_proj.')}" for name in GATED},
    }
    model = FalconH1Model(eager(config))
    return stack(model, in_layers(names, range(2)), "final_layernorm", scale=scale)


def zamba() -> Other:
    """Four blocks, of which the second and the fourth have the shared block.

    Inputs and gates of its mixers are interleaved.
    """
    from transformers import ZambaConfig, ZambaModel

    config = ZambaConfig(
        **{**SHAPE, "num_hidden_layers": 4},
        **SPECIAL,
        num_key_value_heads=HEADS,
        n_mamba_heads=1,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
    )
    model = ZambaModel(eager(config))
    mixer: Names = {
        **{name: MIXER[name] for name in ("conv.weight", "conv.bias", "out_proj.weight")},
        "in_proj.weight": Origin("in_proj.weight", lambda t: torch.cat([t[0::2], t[1::2]])),
        "x_proj.weight": Origin("x_proj_weight", lambda tensor: tensor.squeeze(0)),
        "dt_proj.weight": Origin("dt_proj_weight", lambda tensor: tensor.squeeze(0)),
        "dt_bias": Origin("dt_proj_bias", lambda tensor: tensor.squeeze(0)),
        "A_log": Origin("A_log", lambda tensor: tensor.squeeze(0)),
        "skip": Origin("D", lambda tensor: tensor.squeeze(0)),
    }
    names = {"norm.weight": "input_layernorm.weight", **inside(mixer, "mixer", "mamba")}
    origins: dict[str, Origin] = {}
    for layer in (0, 2):
        origins |= in_layers(names, range(layer, layer + 1))
    for layer in (1, 3):
        decoder = {
            name: Origin(f"mamba_decoder.{o.name}", o.part) for name, o in _full(names).items()
        }
        origins |= in_layers({**decoder, "join.weight": "linear.weight"}, range(layer, layer + 1))
    attention = {f"w{part}.weight": f"self_attn.{part}_proj.weight" for part in "qkvo"}
    attention |= {
        f"{part}.weight": f"feed_forward.{part}_proj.weight" for part in ("gate", "up", "down")
    }
    attention |= {
        "attn_norm.weight": "input_layernorm.weight",
        "mlp_norm.weight": "pre_ff_layernorm.weight",
    }
    for name, theirs in attention.items():
        origins[f"shared.attn.{name}"] = Origin(f"layers.1.shared_transf.{theirs}")
    return stack(model, origins, "final_layernorm")


def _full(names: Names) -> dict[str, Origin]:
    return {n: Origin(given) if isinstance(given, str) else given for n, given in names.items()}


def jamba() -> Other:
    """A Mamba mixer and a dense MLP, then attention and experts."""
    from transformers import JambaConfig, JambaModel

    config = JambaConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        num_experts=8,
        num_experts_per_tok=2,
        mamba_dt_rank=WIDTH // 16,
    )
    norms = {
        f"{ours}_norm.weight": f"{theirs}_layernorm.weight"
        for ours, theirs in zip(("dt", "k", "q"), ("dt", "b", "c"), strict=True)
    }
    mamba = inside({**MIXER, **norms}, "mixer", "mamba")
    every = {**NORMS, "mlp_norm.weight": "pre_ff_layernorm.weight"}
    dense = {name: str(given).replace("mlp.", "feed_forward.") for name, given in GATED.items()}
    routed = {
        name: Origin(f"feed_forward.{origin.name[4:]}", origin.part)
        for name, origin in _full(gated_experts(8, HIDDEN)).items()
    }
    routed["mlp.router.weight"] = Origin("feed_forward.router.weight")
    origins = {
        **in_layers({**every, **mamba, **dense}, range(1)),
        **in_layers({**every, **MIXING_ATTENTION, **routed}, range(1, 2)),
    }
    return stack(JambaModel(eager(config)), origins, "final_layernorm")


def qwen3_next() -> Other:
    from transformers import Qwen3NextConfig, Qwen3NextModel

    config = Qwen3NextConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        layer_types=["linear_attention", "full_attention"],
        head_dim=HEAD,
        linear_num_value_heads=HEADS,
        linear_num_key_heads=HEADS // 2,
        linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        shared_expert_intermediate_size=HIDDEN,
        norm_topk_prob=True,
        rope_parameters={**PLAIN_ROPE, "rope_theta": 1e7, "partial_rotary_factor": 0.25},
    )
    groups = HEADS // 2
    fused, gates = "in_proj_qkvz.weight", "in_proj_ba.weight"
    cuts = {"wq": (0, 8), "wk": (8, 16), "wv": (16, 32), "wg": (32, 48)}
    delta: dict[str, str | Origin] = {
        **{f"{n}.weight": Origin(fused, rows_of_groups(groups, *cut)) for n, cut in cuts.items()},
        "rate.weight": Origin(gates, rows_of_groups(groups, 0, 2)),
        "decay.weight": Origin(gates, rows_of_groups(groups, 2, 4)),
        "conv.weight": Origin("conv1d.weight", lambda tensor: tensor.squeeze(1)),
        "head_norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
        "A_log": "A_log",
        "dt_bias": "dt_bias",
    }
    attention: dict[str, str | Origin] = {
        "wq.weight": Origin("q_proj.weight", rows_of_groups(HEADS, 0, HEAD)),
        "wg.weight": Origin("q_proj.weight", rows_of_groups(HEADS, HEAD, 2 * HEAD)),
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "kvo"},
        **{f"{n}_norm.offset": f"{n}_norm.weight" for n in "qk"},
    }
    mlp: dict[str, str | Origin] = {
        "mlp.router.weight": "mlp.gate.weight",
        "mlp.gate.weight": "mlp.shared_expert_gate.weight",
        **gated_experts(8, 64),
    }
    for part in ("gate", "up", "down"):
        mlp[f"mlp.common.{part}.weight"] = f"mlp.shared_expert.{part}_proj.weight"
    every = {**OFFSETS, **mlp}
    origins = in_layers({**every, **inside(delta, "mixer", "linear_attn")}, range(1))
    last = in_layers({**every, **inside(attention, "mixer", "self_attn")}, range(1, 2))
    return stack(Qwen3NextModel(eager(config)), {**origins, **last})


def kimi_linear() -> Other:
    """Two blocks of delta attention, the first with a dense MLP, then one of latent attention."""
    from transformers import KimiLinearConfig, KimiLinearModel

    config = KimiLinearConfig(
        **{**SHAPE, "num_hidden_layers": 3},
        **SPECIAL,
        num_key_value_heads=HEADS,
        layer_types=["linear_attention", "linear_attention", "full_attention"],
        linear_num_heads=HEADS,
        linear_head_dim=HEAD,
        kv_lora_rank=LATENT,
        qk_nope_head_dim=HEAD,
        qk_rope_head_dim=ROTATED,
        v_head_dim=HEAD,
        num_local_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        routed_scaling_factor=1.0,
    )
    gate = "self_attn.forget_gate"
    delta: dict[str, str | Origin] = {
        **MIXING_ATTENTION,
        "mixer.rate.weight": "self_attn.b_proj.weight",
        "mixer.decay_down.weight": f"{gate}.f_a_proj.weight",
        "mixer.decay_up.weight": f"{gate}.f_b_proj.weight",
        "mixer.gate_down.weight": "self_attn.g_a_proj.weight",
        "mixer.gate_up.weight": "self_attn.g_b_proj.weight",
        "mixer.conv.weight": Origin("self_attn.conv1d.weight", lambda tensor: tensor.squeeze(1)),
        "mixer.head_norm.weight": "self_attn.o_norm.weight",
        "mixer.A_log": Origin(f"{gate}.A_log", lambda tensor: tensor.flatten()),
        "mixer.dt_bias": Origin(f"{gate}.dt_bias", lambda tensor: tensor.view(HEADS, HEAD)),
    }
    latent = {name.replace("attn", "mixer", 1): given for name, given in LATENT_ATTENTION.items()}
    latent["mixer.wq.weight"] = "self_attn.q_proj.weight"
    routed: dict[str, str | Origin] = {
        "mlp.router.weight": "mlp.gate.weight",
        **gated_experts(8, 64),
    }
    for part in ("gate", "up", "down"):
        routed[f"mlp.common.{part}.weight"] = f"mlp.shared_experts.{part}_proj.weight"
    origins: Origins = {
        **in_layers({**NORMS, **delta, **GATED}, range(1)),
        **in_layers({**NORMS, **delta, **routed}, range(1, 2)),
        **in_layers({**NORMS, **latent, **routed}, range(2, 3)),
    }
    return stack(KimiLinearModel(eager(config)), origins)


def minimax() -> Other:
    """A block of lightning attention, then one of softmax attention."""
    from transformers import MiniMaxConfig, MiniMaxModel

    config = MiniMaxConfig(
        **SHAPE,
        **SPECIAL,
        num_key_value_heads=2,
        head_dim=HEAD,
        layer_types=["linear_attention", "full_attention"],
        block_size=8,
        rope_parameters=PLAIN_ROPE,
    )
    mlp: dict[str, str | Origin] = {
        "mlp.router.weight": "mlp.gate.weight",
        **gated_experts(8, HIDDEN),
    }
    lightning: dict[str, str | Origin] = {
        f"mixer.w{n}.weight": Origin(
            "self_attn.qkv_proj.weight", rows_of_groups(HEADS, i * HEAD, (i + 1) * HEAD)
        )
        for i, n in enumerate("qkv")
    }
    lightning |= {
        "mixer.wg.weight": "self_attn.output_gate.weight",
        "mixer.norm.weight": "self_attn.norm.weight",
        "mixer.wo.weight": "self_attn.out_proj.weight",
    }
    origins = {
        **in_layers({**NORMS, **mlp, **lightning}, range(1)),
        **in_layers({**NORMS, **mlp, **MIXING_ATTENTION}, range(1, 2)),
    }
    return stack(MiniMaxModel(eager(config)), origins)
