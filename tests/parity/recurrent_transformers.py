"""Mixers of transformers, in plain PyTorch, beside units of the library with the same weights.

Each function builds one tiny module of transformers with random weights and says which of its
parameters is which of the unit's. Importing the models takes seconds, so the functions do it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .recurrent_weights import Copies, Mirrored, Pick, Tensors, compiled, drawn

WIDTH = 32


@dataclass(frozen=True)
class Beside:
    """A unit, what it is compared with, and where each of its parameters comes from."""

    ours: nn.Module
    theirs: nn.Module
    run: Callable[[Tensor], Tensor]
    copies: Copies
    width: int = WIDTH


def rows(name: str, start: int, stop: int) -> Pick:
    """Rows of a fused matrix."""
    return lambda tensors: tensors[name][start:stop]


def grouped(name: str, groups: int, start: int, stop: int) -> Pick:
    """Rows start ... stop of every group of rows of a fused matrix."""

    def pick(tensors: Tensors) -> Tensor:
        matrix = tensors[name]
        return matrix.unflatten(0, (groups, -1))[:, start:stop].flatten(0, 1)

    return pick


MAMBA: Copies = {
    "in_proj.weight": "in_proj.weight",
    "conv.weight": "conv1d.weight",
    "conv.bias": "conv1d.bias",
    "x_proj.weight": "x_proj.weight",
    "dt_proj.weight": "dt_proj.weight",
    "out_proj.weight": "out_proj.weight",
    "A_log": "A_log",
    "dt_bias": "dt_proj.bias",
    "skip": "D",
}


def mamba() -> Beside:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=WIDTH, state_size=4, num_hidden_layers=1)
    theirs = drawn(MambaMixer(config, 0))
    ours = compiled("MambaMixer(state_size=4)", "ssm import MambaMixer", width=WIDTH)
    return Beside(ours, theirs, theirs, MAMBA)


def jamba() -> Beside:
    from transformers import JambaConfig
    from transformers.models.jamba.modeling_jamba import JambaMambaMixer

    config = JambaConfig(hidden_size=WIDTH, mamba_d_state=4, mamba_dt_rank=2, rms_norm_eps=1e-6)
    theirs = drawn(JambaMambaMixer(config, 0))
    norms = {
        f"{o}_norm.weight": f"{t}_layernorm.weight"
        for o, t in zip(("dt", "k", "q"), ("dt", "b", "c"), strict=True)
    }
    ours = compiled("MambaMixer(state_size=4, normed=true)", "ssm import MambaMixer", width=WIDTH)
    return Beside(ours, theirs, theirs, {**MAMBA, **norms})


def mamba2() -> Beside:
    """With two groups of heads that share k and q."""
    from transformers import FalconH1Config
    from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1Mixer

    config = FalconH1Config(
        hidden_size=WIDTH,
        mamba_d_state=4,
        mamba_d_head=16,
        mamba_n_heads=4,
        mamba_d_ssm=2 * WIDTH,
        mamba_n_groups=1,
        mamba_chunk_size=8,
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        rms_norm_eps=1e-5,
        num_hidden_layers=1,
    )
    mixer = FalconH1Mixer(config, 0)
    mixer.mup_vector = torch.ones(())
    theirs = drawn(mixer)
    ours = compiled("Mamba2Mixer(state_size=4, head_dim=16)", "ssm import Mamba2Mixer", width=WIDTH)
    names = ("in_proj.weight", "norm.weight", "out_proj.weight", "A_log", "dt_bias")
    copies: Copies = {
        **{name: name for name in names},
        "conv.weight": "conv1d.weight",
        "conv.bias": "conv1d.bias",
        "skip": "D",
    }
    return Beside(ours, theirs, theirs, copies)


def griffin() -> Beside:
    """Positions begin at 1: at position 0 transformers gives the input the gain 1."""
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
        RecurrentGemmaRecurrentBlock,
    )

    config = RecurrentGemmaConfig(
        hidden_size=WIDTH, lru_width=48, num_attention_heads=4, conv1d_width=4, num_hidden_layers=1
    )
    theirs = drawn(RecurrentGemmaRecurrentBlock(config, 0))

    def run(x: Tensor) -> Tensor:
        positions = torch.arange(1, x.shape[1] + 1)[None]
        output, _ = theirs(x, positions, attention_mask=None, use_cache=False)
        assert isinstance(output, Tensor)
        return output

    ours = compiled(
        "GriffinRecurrentBlock(width=48, heads=4)",
        "recurrent import GriffinRecurrentBlock",
        width=WIDTH,
    )
    copies: Copies = {
        **{
            f"linear_{n}.{p}": f"linear_{n}.{p}"
            for n in ("x", "y", "out")
            for p in ("weight", "bias")
        },
        "conv.weight": "conv_1d.weight",
        "conv.bias": "conv_1d.bias",
        "rg_lru.Lambda": "rg_lru.recurrent_param",
        **{f"rg_lru.recurrence_gate.{p}": f"rg_lru.recurrent_gate_{p}" for p in ("weight", "bias")},
        **{f"rg_lru.input_gate.{p}": f"rg_lru.input_gate_{p}" for p in ("weight", "bias")},
    }
    return Beside(ours, theirs, run, copies)


def _rwkv4() -> nn.Module:
    from transformers import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock

    config = RwkvConfig(hidden_size=WIDTH, num_hidden_layers=2, layer_norm_epsilon=1e-5)
    return drawn(RwkvBlock(config, 1))


def rwkv4() -> Beside:
    """Time mix."""
    theirs = _rwkv4().get_submodule("attention")
    copies: Copies = {
        **{
            f"w{n}.weight": f"{t}.weight"
            for n, t in zip("rkvo", ("receptance", "key", "value", "output"), strict=True)
        },
        **{f"mu_{t[0]}": f"time_mix_{t}" for t in ("receptance", "key", "value")},
        "decay": "time_decay",
        "bonus": "time_first",
    }
    ours = compiled("RWKV4TimeMix()", "rwkv import RWKV4TimeMix", width=WIDTH)
    return Beside(ours, theirs, lambda x: theirs(x)[0], copies)


def rwkv4_channel() -> Beside:
    theirs = _rwkv4().get_submodule("feed_forward")
    copies: Copies = {
        **{f"{n}.weight": f"{n}.weight" for n in ("key", "value", "receptance")},
        **{f"mu_{n}": Mirrored(f"time_mix_{n}") for n in ("key", "receptance")},
    }
    ours = compiled("RWKV6ChannelMix(hidden=4 * D)", "rwkv import RWKV6ChannelMix", width=WIDTH)
    return Beside(ours, theirs, lambda x: theirs(x)[0], copies)


def mlstm() -> Beside:
    from transformers import xLSTMConfig
    from transformers.models.xlstm.modeling_xlstm import xLSTMLayer

    config = xLSTMConfig(
        hidden_size=WIDTH,
        num_heads=4,
        num_hidden_layers=1,
        chunk_size=16,
        weight_mode="single",
        mode="inference",
        autocast_kernel_dtype="float32",
        inference_state_dtype="float32",
    )
    theirs = drawn(xLSTMLayer(config))
    copies: Copies = {
        **{f"w{n}.weight": f"{n}.weight" for n in "qkv"},
        **{f"w{n}.{p}": f"{n}gate_preact.{p}" for n in "if" for p in ("weight", "bias")},
        "output_gate.weight": "ogate_preact.weight",
        "head_norm.weight": "multihead_norm.weight",
        "wo.weight": "out_proj.weight",
    }
    ours = compiled("MLSTM(norm_bias=false)", "xlstm import MLSTM", width=WIDTH)
    return Beside(ours, theirs, lambda x: theirs(x)[0], copies)


def gated_deltanet() -> Beside:
    """Four heads of values to two of queries and keys."""
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    key_heads, heads, key, value = 2, 4, 8, 6
    config = Qwen3NextConfig(
        hidden_size=WIDTH,
        linear_num_value_heads=heads,
        linear_num_key_heads=key_heads,
        linear_key_head_dim=key,
        linear_value_head_dim=value,
        num_hidden_layers=4,
    )
    theirs = drawn(Qwen3NextGatedDeltaNet(config, 0))
    ratio = heads // key_heads
    values = 2 * key + ratio * value
    copies: Copies = {
        "wq.weight": grouped("in_proj_qkvz.weight", key_heads, 0, key),
        "wk.weight": grouped("in_proj_qkvz.weight", key_heads, key, 2 * key),
        "wv.weight": grouped("in_proj_qkvz.weight", key_heads, 2 * key, values),
        "wg.weight": grouped("in_proj_qkvz.weight", key_heads, values, values + ratio * value),
        "rate.weight": grouped("in_proj_ba.weight", key_heads, 0, ratio),
        "decay.weight": grouped("in_proj_ba.weight", key_heads, ratio, 2 * ratio),
        "conv.weight": "conv1d.weight",
        "head_norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
        "A_log": "A_log",
        "dt_bias": "dt_bias",
    }
    ours = compiled(
        f"GatedDeltaNet(heads={heads}, key_heads={key_heads}, key_dim={key}, value_dim={value})",
        "delta import GatedDeltaNet",
        width=WIDTH,
    )
    return Beside(ours, theirs, theirs, copies)


def kimi_delta_attention() -> Beside:
    from transformers import KimiLinearConfig
    from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention

    config = KimiLinearConfig(
        hidden_size=WIDTH,
        linear_num_heads=4,
        linear_head_dim=8,
        linear_conv_kernel_dim=4,
        rms_norm_eps=1e-5,
        num_hidden_layers=4,
    )
    theirs = drawn(KimiLinearDeltaAttention(config, 0))
    copies: Copies = {
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "qkvo"},
        "rate.weight": "b_proj.weight",
        "decay_down.weight": "forget_gate.f_a_proj.weight",
        "decay_up.weight": "forget_gate.f_b_proj.weight",
        "gate_down.weight": "g_a_proj.weight",
        "gate_up.weight": "g_b_proj.weight",
        "conv.weight": "conv1d.weight",
        "head_norm.weight": "o_norm.weight",
        "A_log": "forget_gate.A_log",
        "dt_bias": "forget_gate.dt_bias",
    }
    ours = compiled("KimiDeltaAttention()", "delta import KimiDeltaAttention", width=WIDTH)
    return Beside(ours, theirs, theirs, copies)


def lightning() -> Beside:
    """The second of four layers, whose decays are not those of the first."""
    from transformers import MiniMaxConfig
    from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention

    heads, head = 4, 8
    config = MiniMaxConfig(
        hidden_size=WIDTH,
        num_attention_heads=heads,
        head_dim=head,
        num_hidden_layers=4,
        block_size=8,
        hidden_act="silu",
    )
    attention = drawn(MiniMaxLightningAttention(config, 1))
    copies: Copies = {
        **{
            f"w{n}.weight": grouped("qkv_proj.weight", heads, i * head, (i + 1) * head)
            for i, n in enumerate("qkv")
        },
        "wg.weight": "output_gate.weight",
        "norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
    }
    ours = compiled(
        f"LightningAttention(heads={heads})",
        "linear_attention import LightningAttention",
        width=WIDTH,
        layers=4,
        layer=1,
    )

    def run(x: Tensor) -> Tensor:
        output = attention(x, None, None)[0]
        assert isinstance(output, Tensor)
        return output

    return Beside(ours, attention, run, copies)
