"""Two references against the implementations in transformers."""

from __future__ import annotations

import pytest
import torch

from . import reference_gpt2, reference_mamba2
from .plain import sample

# Importing the models of transformers takes seconds, so the tests import them, not the file.
pytestmark = pytest.mark.slow


def test_gpt2_is_a_llama_layer_with_its_pairs_rearranged() -> None:
    """Llama rotates (i, i + K/2), the seed (2i, 2i + 1): permute the rows of W_q and W_k."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    width, heads = 128, reference_gpt2.HEADS
    head = width // heads
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=384,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        attention_bias=True,
        rms_norm_eps=1e-5,
    )
    config._attn_implementation = "eager"
    layer = LlamaDecoderLayer(config, 0).double()
    own = sample(reference_gpt2.shapes(width), seed=4)

    halves = torch.arange(width).view(heads, head // 2, 2).transpose(1, 2).flatten()
    theirs = {
        "input_layernorm.weight": own["attn_norm.weight"],
        "post_attention_layernorm.weight": own["mlp_norm.weight"],
        "mlp.gate_proj.weight": own["mlp.gate.weight"],
        "mlp.up_proj.weight": own["mlp.up.weight"],
        "mlp.down_proj.weight": own["mlp.down.weight"],
    }
    for part in ("weight", "bias"):
        theirs[f"self_attn.q_proj.{part}"] = own[f"attn.wq.{part}"][halves]
        theirs[f"self_attn.k_proj.{part}"] = own[f"attn.wk.{part}"][halves]
        theirs[f"self_attn.v_proj.{part}"] = own[f"attn.wv.{part}"]
        theirs[f"self_attn.o_proj.{part}"] = own[f"attn.wo.{part}"]
    layer.load_state_dict(theirs)

    length = 21
    generator = torch.Generator().manual_seed(21)
    x = torch.randn(2, length, width, generator=generator, dtype=torch.float64)
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(length)[None])
    mask = torch.full((length, length), -torch.inf, dtype=x.dtype).triu(1)[None, None]
    with torch.no_grad():
        y = layer(x, attention_mask=mask, position_embeddings=(cos, sin))
    # Llama computes its norms in float32, whatever the dtype of its input.
    expected = reference_gpt2.block(x, own)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_mamba2_mixer_is_the_one_of_transformers() -> None:
    """With the paper's gated RMSNorm and skip, which transformers has and the seed leaves out."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    width, state, head = 64, 16, 32
    config = Mamba2Config(
        hidden_size=width,
        state_size=state,
        head_dim=head,
        num_heads=2 * width // head,
        expand=2,
        n_groups=1,
        conv_kernel=4,
        use_bias=True,
        use_conv_bias=True,
        chunk_size=8,
        layer_norm_epsilon=1e-5,
        num_hidden_layers=1,
    )
    mixer = Mamba2Mixer(config, 0).eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    renamed = {"conv1d.weight": "conv.weight", "conv1d.bias": "conv.bias", "D": "skip"}
    own = {
        "m." + renamed.get(name, name): (p.squeeze(1) if name == "conv1d.weight" else p).double()
        for name, p in mixer.named_parameters()
    }
    x = torch.randn(2, 21, width, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected = mixer(x.float())
        y = reference_mamba2.mixer(x, own, "m", state=state, head=head)
    torch.testing.assert_close(y.float(), expected, rtol=1e-4, atol=1e-4)
