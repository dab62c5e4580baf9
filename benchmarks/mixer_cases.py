"""Mixers of the library and those of transformers in plain PyTorch, with the same weights.

The parts of `tests/parity`, at sizes a model would have. Each function draws the other side's
weights and says which of its parameters is which of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from parity.recurrent_transformers import MAMBA, Beside, grouped
from parity.recurrent_weights import Copies, compiled
from parity.weights import randomise

WIDTH, HEADS = 128, 4
HEAD = WIDTH // HEADS
LONGEST = 2048


def _beside(
    call: str, unit: str, theirs: nn.Module, run: Callable[[Tensor], Tensor], copies: Copies
) -> Beside:
    ours = compiled(call, unit, width=WIDTH).float()
    return Beside(ours, randomise(theirs), run, copies, WIDTH)


def _first(output: object) -> Tensor:
    """The output of a module that returns a tuple."""
    found = output[0] if isinstance(output, tuple) else output
    assert isinstance(found, Tensor)
    return found


def mamba() -> Beside:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    theirs = MambaMixer(MambaConfig(hidden_size=WIDTH, num_hidden_layers=1), 0)
    return _beside("MambaMixer()", "ssm import MambaMixer", theirs, theirs, MAMBA)


def jamba() -> Beside:
    from transformers import JambaConfig
    from transformers.models.jamba.modeling_jamba import JambaMambaMixer

    config = JambaConfig(hidden_size=WIDTH, mamba_dt_rank=WIDTH // 16, rms_norm_eps=1e-6)
    theirs = JambaMambaMixer(config, 0)
    norms = {
        f"{o}_norm.weight": f"{t}_layernorm.weight"
        for o, t in zip(("dt", "k", "q"), ("dt", "b", "c"), strict=True)
    }
    unit = "ssm import MambaMixer"
    return _beside("MambaMixer(normed=true)", unit, theirs, theirs, {**MAMBA, **norms})


MAMBA2: Copies = {
    **{n: n for n in ("in_proj.weight", "norm.weight", "out_proj.weight", "A_log", "dt_bias")},
    "conv.weight": "conv1d.weight",
    "conv.bias": "conv1d.bias",
    "skip": "D",
}


def mamba2() -> Beside:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=WIDTH,
        state_size=64,
        num_heads=2 * HEADS,
        head_dim=HEAD,
        n_groups=1,
        num_hidden_layers=1,
    )
    theirs = Mamba2Mixer(config, 0)
    call = f"Mamba2Mixer(state_size=64, head_dim={HEAD})"
    return _beside(call, "ssm import Mamba2Mixer", theirs, theirs, MAMBA2)


def falcon_h1() -> Beside:
    from transformers import FalconH1Config
    from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1Mixer

    config = FalconH1Config(
        hidden_size=WIDTH,
        mamba_d_state=64,
        mamba_d_head=HEAD,
        mamba_n_heads=2 * HEADS,
        mamba_d_ssm=2 * WIDTH,
        mamba_n_groups=1,
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        num_hidden_layers=1,
    )
    theirs = FalconH1Mixer(config, 0)
    theirs.mup_vector = torch.ones(())
    call = f"Mamba2Mixer(state_size=64, head_dim={HEAD})"
    return _beside(call, "ssm import Mamba2Mixer", theirs, theirs, MAMBA2)


def griffin() -> Beside:
    """Positions begin at 1: at position 0 transformers gives the input the gain 1."""
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
        RecurrentGemmaRecurrentBlock,
    )

    config = RecurrentGemmaConfig(
        hidden_size=WIDTH, lru_width=WIDTH, num_attention_heads=HEADS, num_hidden_layers=1
    )
    theirs = RecurrentGemmaRecurrentBlock(config, 0)

    def run(x: Tensor) -> Tensor:
        positions = torch.arange(1, x.shape[1] + 1)[None]
        return _first(theirs(x, positions, attention_mask=None, use_cache=False))

    parts = ("weight", "bias")
    copies: Copies = {
        **{f"linear_{n}.{p}": f"linear_{n}.{p}" for n in ("x", "y", "out") for p in parts},
        **{f"conv.{p}": f"conv_1d.{p}" for p in parts},
        "rg_lru.Lambda": "rg_lru.recurrent_param",
        **{f"rg_lru.recurrence_gate.{p}": f"rg_lru.recurrent_gate_{p}" for p in parts},
        **{f"rg_lru.input_gate.{p}": f"rg_lru.input_gate_{p}" for p in parts},
    }
    call = f"GriffinRecurrentBlock(width={WIDTH}, heads={HEADS})"
    return _beside(call, "recurrent import GriffinRecurrentBlock", theirs, run, copies)


def mlstm() -> Beside:
    """Its mode is that of training, by chunks."""
    from transformers import xLSTMConfig
    from transformers.models.xlstm.modeling_xlstm import xLSTMLayer

    config = xLSTMConfig(
        hidden_size=WIDTH,
        num_heads=HEADS,
        num_hidden_layers=1,
        mode="train",
        autocast_kernel_dtype="float32",
        inference_state_dtype="float32",
    )
    theirs = xLSTMLayer(config)
    copies: Copies = {
        **{f"w{n}.weight": f"{n}.weight" for n in "qkv"},
        **{f"w{n}.{p}": f"{n}gate_preact.{p}" for n in "if" for p in ("weight", "bias")},
        "output_gate.weight": "ogate_preact.weight",
        "head_norm.weight": "multihead_norm.weight",
        "wo.weight": "out_proj.weight",
    }
    call, unit = f"MLSTM(heads={HEADS}, norm_bias=false)", "xlstm import MLSTM"
    return _beside(call, unit, theirs, lambda x: _first(theirs(x)), copies)


def gated_deltanet() -> Beside:
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    config = Qwen3NextConfig(
        hidden_size=WIDTH,
        linear_num_value_heads=HEADS,
        linear_num_key_heads=HEADS,
        linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD,
        num_hidden_layers=4,
    )
    theirs = Qwen3NextGatedDeltaNet(config, 0)
    copies: Copies = {
        **{
            f"w{n}.weight": grouped("in_proj_qkvz.weight", HEADS, i * HEAD, (i + 1) * HEAD)
            for i, n in enumerate("qkvg")
        },
        "rate.weight": grouped("in_proj_ba.weight", HEADS, 0, 1),
        "decay.weight": grouped("in_proj_ba.weight", HEADS, 1, 2),
        "conv.weight": "conv1d.weight",
        "head_norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
        **{name: name for name in ("A_log", "dt_bias")},
    }
    call, unit = f"GatedDeltaNet(heads={HEADS})", "delta import GatedDeltaNet"
    return _beside(call, unit, theirs, theirs, copies)


def kimi_delta_attention() -> Beside:
    from transformers import KimiLinearConfig
    from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention

    config = KimiLinearConfig(
        hidden_size=WIDTH,
        linear_num_heads=HEADS,
        linear_head_dim=HEAD,
        linear_conv_kernel_dim=4,
        rms_norm_eps=1e-5,
        num_hidden_layers=4,
    )
    theirs = KimiLinearDeltaAttention(config, 0)
    copies: Copies = {
        **{f"w{n}.weight": f"{n}_proj.weight" for n in "qkvo"},
        "rate.weight": "b_proj.weight",
        "decay_down.weight": "forget_gate.f_a_proj.weight",
        "decay_up.weight": "forget_gate.f_b_proj.weight",
        "gate_down.weight": "g_a_proj.weight",
        "gate_up.weight": "g_b_proj.weight",
        "conv.weight": "conv1d.weight",
        "head_norm.weight": "o_norm.weight",
        **{name: f"forget_gate.{name}" for name in ("A_log", "dt_bias")},
    }
    call, unit = f"KimiDeltaAttention(heads={HEADS})", "delta import KimiDeltaAttention"
    return _beside(call, unit, theirs, theirs, copies)


def lightning() -> Beside:
    from transformers import MiniMaxConfig
    from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention

    config = MiniMaxConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        head_dim=HEAD,
        num_hidden_layers=1,
        hidden_act="silu",
    )
    theirs = MiniMaxLightningAttention(config, 0)
    copies: Copies = {
        **{
            f"w{n}.weight": grouped("qkv_proj.weight", HEADS, i * HEAD, (i + 1) * HEAD)
            for i, n in enumerate("qkv")
        },
        "wg.weight": "output_gate.weight",
        "norm.weight": "norm.weight",
        "wo.weight": "out_proj.weight",
    }
    call, unit = f"LightningAttention(heads={HEADS})", "linear_attention import LightningAttention"
    return _beside(call, unit, theirs, lambda x: _first(theirs(x, None, None)), copies)


def rwkv4() -> Beside:
    from transformers import RwkvConfig
    from transformers.models.rwkv.modeling_rwkv import RwkvSelfAttention

    theirs = RwkvSelfAttention(RwkvConfig(hidden_size=WIDTH, num_hidden_layers=2), 1)
    copies: Copies = {
        **{
            f"w{n}.weight": f"{t}.weight"
            for n, t in zip("rkvo", ("receptance", "key", "value", "output"), strict=True)
        },
        **{f"mu_{t[0]}": f"time_mix_{t}" for t in ("receptance", "key", "value")},
        "decay": "time_decay",
        "bonus": "time_first",
    }
    unit = "rwkv import RWKV4TimeMix"
    return _beside("RWKV4TimeMix()", unit, theirs, lambda x: _first(theirs(x)), copies)


def llama() -> Beside:
    """With torch's fused attention, as transformers has it by default."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST,
        attn_implementation="sdpa",
    )
    theirs, rotary = LlamaAttention(config, 0), LlamaRotaryEmbedding(config)

    def run(x: Tensor) -> Tensor:
        return _first(theirs(x, rotary(x, torch.arange(x.shape[1])[None])))

    copies = {f"w{n}.weight": f"{n}_proj.weight" for n in "qkvo"}
    call = f"MultiHeadAttention(heads={HEADS}, kv_heads=2)"
    return _beside(call, "attention import MultiHeadAttention", theirs, run, copies)


def gpt2() -> Beside:
    """With torch's fused attention. Its matrices are stored [in, out], three of them as one."""
    from transformers import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2Attention

    config = GPT2Config(
        n_embd=WIDTH,
        n_head=HEADS,
        n_positions=LONGEST,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        attn_implementation="sdpa",
    )
    theirs = GPT2Attention(config, layer_idx=0)
    copies: dict[str, str | Callable[..., Tensor]] = {
        "wo.weight": lambda tensors: tensors["c_proj.weight"].mT,
        "wo.bias": "c_proj.bias",
    }
    for index, name in enumerate("qkv"):
        part = slice(index * WIDTH, (index + 1) * WIDTH)
        copies[f"w{name}.weight"] = lambda t, part=part: t["c_attn.weight"].mT[part]
        copies[f"w{name}.bias"] = lambda t, part=part: t["c_attn.bias"][part]
    call = f"MultiHeadAttention(heads={HEADS}, bias=true, rope=NoPosition())"
    ours = compiled(
        call,
        "attention import MultiHeadAttention",
        "position import NoPosition",
        width=WIDTH,
    ).float()
    return Beside(ours, randomise(theirs), lambda x: _first(theirs(x)), copies, WIDTH)


CASES: dict[str, Callable[[], Beside]] = {
    "Mamba": mamba,
    "Jamba's Mamba": jamba,
    "Mamba-2": mamba2,
    "Mamba-2 of Falcon-H1": falcon_h1,
    "RG-LRU (RecurrentGemma)": griffin,
    "RWKV-4": rwkv4,
    "mLSTM (xLSTM)": mlstm,
    "gated delta rule (Qwen3-Next)": gated_deltanet,
    "Kimi delta attention": kimi_delta_attention,
    "lightning attention (MiniMax)": lightning,
    "attention (Llama)": llama,
    "attention (GPT-2)": gpt2,
}

QUADRATIC = ("attention (Llama)", "attention (GPT-2)")
"""Their time grows with the square of the length."""
