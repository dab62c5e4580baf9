"""Recurrent and hybrid architectures of transformers beside designs of `designs/`.

See `published_dense`.
"""

from __future__ import annotations

from .attention_experts import gated_experts, with_balance
from .attention_transformers import (
    GATED,
    HEAD,
    HEADS,
    HIDDEN,
    SHAPE,
    SPECIAL,
    WIDTH,
    WINDOW,
    Names,
    eager,
    in_layers,
    stack,
)
from .published_dense import GRANITE, offsets, rope, strings, with_biases
from .recurrent_models import (
    MAMBA2,
    MIXER,
    MIXING_ATTENTION,
    NORMS,
    falcon_h1,
    inside,
)
from .weights import Origin, Other, rows

STATE = 16
MAMBA2_SIZES = {
    "mamba_n_heads": 2,
    "mamba_d_head": 64,
    "mamba_d_state": STATE,
    "mamba_chunk_size": 8,
}


def recurrent_gemma() -> Other:
    """Two recurrent blocks, then one of attention; the model scales the embedding itself."""
    from transformers import RecurrentGemmaConfig, RecurrentGemmaModel

    config = RecurrentGemmaConfig(
        **{**SHAPE, "num_hidden_layers": 3, "intermediate_size": 6 * WIDTH},
        **SPECIAL,
        num_key_value_heads=1,
        attention_window_size=WINDOW,
        rope_parameters=rope(rotated=0.5),
    )
    norms = {
        "mixer_norm.weight": "temporal_pre_norm.weight",
        "mlp_norm.weight": "channel_pre_norm.weight",
    }
    mlp = {name: given.replace("mlp.", "mlp_block.") for name, given in strings(GATED).items()}
    every = {**offsets(norms), **with_biases(mlp)}
    linear = {f"linear_{n}.weight": f"linear_{n}.weight" for n in ("x", "y", "out")}
    recurrent: dict[str, str | Origin] = {
        **with_biases(linear),
        "conv.weight": Origin("conv_1d.weight", lambda tensor: tensor.squeeze(1)),
        "conv.bias": "conv_1d.bias",
        "rg_lru.Lambda": "rg_lru.recurrent_param",
    }
    for kind in ("weight", "bias"):
        recurrent[f"rg_lru.recurrence_gate.{kind}"] = f"rg_lru.recurrent_gate_{kind}"
        recurrent[f"rg_lru.input_gate.{kind}"] = f"rg_lru.input_gate_{kind}"
    attention: Names = {
        "wo.bias": "o_proj.bias",
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "qkvo"},
    }
    block = "temporal_block"
    origins = {
        **in_layers({**every, **inside(recurrent, "mixer", block)}, range(2)),
        **in_layers({**every, **inside(attention, "mixer", block)}, range(2, 3)),
    }
    return stack(RecurrentGemmaModel(eager(config)), origins, "final_norm")


def rwkv4_whole() -> Other:
    """With the norm after its embedding; the mixtures of the channel mix are mirrored."""
    from transformers import RwkvConfig, RwkvModel

    config = RwkvConfig(
        hidden_size=WIDTH, num_hidden_layers=2, vocab_size=8, rescale_every=0, **SPECIAL
    )
    sides = {"r": "receptance", "k": "key", "v": "value", "o": "output"}
    names: dict[str, str | Origin] = {
        **with_biases({"time_norm.weight": "ln1.weight", "channel_norm.weight": "ln2.weight"}),
        **{f"time_mix.w{n}.weight": f"attention.{side}.weight" for n, side in sides.items()},
        "time_mix.decay": "attention.time_decay",
        "time_mix.bonus": "attention.time_first",
    }
    for n in "rkv":
        mixture = f"attention.time_mix_{sides[n]}"
        names[f"time_mix.mu_{n}"] = Origin(mixture, lambda tensor: tensor.flatten())
    for side in ("receptance", "key", "value"):
        names[f"channel_mix.{side}.weight"] = f"feed_forward.{side}.weight"
    for side in ("receptance", "key"):
        names[f"channel_mix.mu_{side}"] = Origin(
            f"feed_forward.time_mix_{side}", lambda tensor: tensor.flatten(), is_mirrored=True
        )
    embedded = with_biases({"embed_norm.weight": "pre_ln.weight"})
    origins = {
        **in_layers(names, range(2), "blocks"),
        **in_layers(embedded, range(1), "blocks"),
    }
    return stack(RwkvModel(config), origins, "ln_out", "embeddings")


def xlstm_7b() -> Other:
    from transformers import xLSTMConfig, xLSTMModel

    config = xLSTMConfig(
        hidden_size=WIDTH,
        num_heads=4,
        num_hidden_layers=2,
        vocab_size=8,
        chunk_size=16,
        weight_mode="single",
        mode="inference",
        autocast_kernel_dtype="float32",
        inference_state_dtype="float32",
        **SPECIAL,
    )
    gates = {f"mixer.w{n}.weight": f"mlstm_layer.{n}gate_preact.weight" for n in "if"}
    names: Names = {
        "mixer_norm.weight": "norm_mlstm.weight",
        "mlp_norm.weight": "norm_ffn.weight",
        **{f"mixer.w{n}.weight": f"mlstm_layer.{n}.weight" for n in "qkv"},
        **with_biases(gates),
        "mixer.output_gate.weight": "mlstm_layer.ogate_preact.weight",
        "mixer.head_norm.weight": Origin(
            "mlstm_layer.multihead_norm.weight", lambda tensor: tensor.unflatten(0, (4, -1))
        ),
        "mixer.wo.weight": "mlstm_layer.out_proj.weight",
        "mlp.gate.weight": "ffn.proj_up_gate.weight",
        "mlp.up.weight": "ffn.proj_up.weight",
        "mlp.down.weight": "ffn.proj_down.weight",
    }
    return stack(xLSTMModel(config), in_layers(names, range(2), "blocks"), "out_norm", "embeddings")


def mamba2_rms() -> Other:
    """Two groups of heads."""
    from transformers import Mamba2Config, Mamba2Model

    config = Mamba2Config(
        hidden_size=WIDTH,
        num_heads=4,
        head_dim=32,
        n_groups=2,
        state_size=STATE,
        num_hidden_layers=2,
        chunk_size=8,
        vocab_size=8,
        **SPECIAL,
    )
    names = {"norm.weight": "norm.weight", **inside(MAMBA2, "mixer", "mixer")}
    return stack(Mamba2Model(config), in_layers(names, range(2)), "norm_f", "embeddings")


def falcon_mamba() -> Other:
    from transformers import FalconMambaConfig, FalconMambaModel

    config = FalconMambaConfig(hidden_size=WIDTH, num_hidden_layers=2, vocab_size=8, **SPECIAL)
    names = {"norm.weight": "norm.weight", **inside(MIXER, "mixer", "mixer")}
    return stack(FalconMambaModel(config), in_layers(names, range(2)), "norm_f", "embeddings")


def bamba() -> Other:
    from transformers import BambaConfig, BambaModel

    config = BambaConfig(
        **SHAPE,
        **SPECIAL,
        **MAMBA2_SIZES,
        num_key_value_heads=2,
        attn_layer_indices=[1],
        rms_norm_eps=1e-5,
        rope_parameters=rope(rotated=0.5),
    )
    mlp = {name: given.replace("mlp.", "feed_forward.") for name, given in strings(GATED).items()}
    every = {**NORMS, "mlp_norm.weight": "pre_ff_layernorm.weight", **mlp}
    origins = {
        **in_layers({**every, **inside(MAMBA2, "mixer", "mamba")}, range(1)),
        **in_layers({**every, **MIXING_ATTENTION}, range(1, 2)),
    }
    return stack(BambaModel(eager(config)), origins, "final_layernorm")


def granite_hybrid() -> Other:
    """The model scales the embedding itself."""
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridModel

    config = GraniteMoeHybridConfig(
        **{**SHAPE, "intermediate_size": WIDTH // 2},
        **SPECIAL,
        **GRANITE,
        **MAMBA2_SIZES,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        shared_intermediate_size=HIDDEN,
        layer_types=["mamba", "attention"],
    )
    experts = {
        name.replace("mlp.", "routed."): Origin(
            origin.name.replace("mlp.", "block_sparse_moe."), origin.part
        )
        for name, origin in gated_experts(8, WIDTH // 2).items()
        if isinstance(origin, Origin)
    }
    every: Names = {
        **NORMS,
        "routed.router.weight": "block_sparse_moe.router.weight",
        **experts,
        "common.gate.weight": Origin("shared_mlp.input_linear.weight", rows(0, HIDDEN)),
        "common.up.weight": Origin("shared_mlp.input_linear.weight", rows(HIDDEN, 2 * HIDDEN)),
        "common.down.weight": "shared_mlp.output_linear.weight",
    }
    origins = {
        **in_layers({**every, **inside(MAMBA2, "mixer", "mamba")}, range(1)),
        **in_layers({**every, **MIXING_ATTENTION}, range(1, 2)),
    }
    return stack(GraniteMoeHybridModel(eager(config)), origins)


def nemotron_h() -> Other:
    """Four blocks of one layer each."""
    from transformers import NemotronHConfig, NemotronHModel

    config = NemotronHConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        layers_block_type=["mamba", "mlp", "attention", "moe"],
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        head_dim=HEAD,
        mamba_num_heads=4,
        mamba_head_dim=32,
        n_groups=2,
        ssm_state_size=STATE,
        chunk_size=8,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=WIDTH // 2,
        moe_shared_expert_intermediate_size=WIDTH,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=2.5,
        vocab_size=8,
        **SPECIAL,
    )
    experts: dict[str, str | Origin] = {"router.weight": "gate.weight"}
    for part in ("up", "down"):
        experts[f"common.{part}.weight"] = f"shared_experts.{part}_proj.weight"
        for e in range(8):
            own = Origin(f"experts.{part}_proj", lambda tensor, e=e: tensor[e])
            experts[f"pool.{e}.{part}.weight"] = own
    layers: tuple[Names, ...] = (
        MAMBA2,
        {f"{part}.weight": f"{part}_proj.weight" for part in ("up", "down")},
        {f"w{n}.weight": f"{n}_proj.weight" for n in "qkvo"},
        experts,
    )
    origins = {}
    for index, layer in enumerate(layers):
        names = {"norm.weight": "norm.weight", **inside(layer, "mixer", "mixer")}
        origins |= in_layers(names, range(index, index + 1))
    other = stack(NemotronHModel(eager(config)), origins, "norm_f", "embeddings")
    theirs = "layers.3.mixer.gate.e_score_correction_bias"
    return with_balance(other, "blocks.3.mixer.balance", theirs)


def falcon_h1_multipliers() -> Other:
    """Only the embedding's own multiplier is left to the caller."""
    return falcon_h1(
        scale=5.0,
        key_multiplier=0.4,
        attention_in_multiplier=1.1,
        attention_out_multiplier=0.8,
        ssm_in_multiplier=1.25,
        ssm_out_multiplier=0.35,
        ssm_multipliers=[0.5, 0.7, 0.4, 1.5, 0.3],
        mlp_multipliers=[0.9, 0.6],
    )
