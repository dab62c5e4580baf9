"""Dense architectures with layer norms and plain MLPs, as GPT has them; see `published_dense`."""

from __future__ import annotations

from torch import nn

from .attention_transformers import (
    ATTENTION,
    HEAD,
    HEADS,
    HIDDEN,
    PRE_NORM,
    SHAPE,
    SPECIAL,
    WIDTH,
    WINDOW,
    Names,
    alternate,
    eager,
    in_layers,
    stack,
)
from .published_dense import IN_GPT, QUERIES, rope, strings, with_biases
from .weights import Origin, Other, rows


def phi() -> Other:
    from transformers import PhiConfig, PhiModel

    config = PhiConfig(**SHAPE, **SPECIAL, rope_parameters=rope(rotated=0.5))
    names = with_biases(
        {
            **strings(ATTENTION),
            "attn.wo.weight": "self_attn.dense.weight",
            "norm.weight": "input_layernorm.weight",
            "mlp.up.weight": "mlp.fc1.weight",
            "mlp.down.weight": "mlp.fc2.weight",
        }
    )
    return stack(PhiModel(eager(config)), in_layers(names, range(2)), norm="final_layernorm")


def gpt_neox() -> Other:
    """Queries, keys and values alternate by head."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    config = GPTNeoXConfig(**SHAPE, **SPECIAL, rope_parameters=rope(rotated=0.25))
    names: dict[str, str | Origin] = {
        **with_biases(
            {
                **strings(PRE_NORM),
                "attn.wo.weight": "attention.dense.weight",
                "mlp.up.weight": "mlp.dense_h_to_4h.weight",
                "mlp.down.weight": "mlp.dense_4h_to_h.weight",
            }
        )
    }
    for index, part in enumerate("qkv"):
        for kind in ("weight", "bias"):
            fused = f"attention.query_key_value.{kind}"
            names[f"attn.w{part}.{kind}"] = Origin(fused, alternate(index))
    model = GPTNeoXModel(eager(config))
    return stack(model, in_layers(names, range(2)), "final_layer_norm", "embed_in")


def gptj() -> Other:
    from transformers import GPTJConfig, GPTJModel

    config = GPTJConfig(n_embd=WIDTH, n_layer=2, n_head=HEADS, rotary_dim=HEAD // 4, **IN_GPT)
    names: Names = {
        **{name: given.replace("self_attn", "attn") for name, given in strings(QUERIES).items()},
        "attn.wo.weight": "attn.out_proj.weight",
        **with_biases(
            {
                "norm.weight": "ln_1.weight",
                "mlp.up.weight": "mlp.fc_in.weight",
                "mlp.down.weight": "mlp.fc_out.weight",
            }
        ),
    }
    return stack(GPTJModel(eager(config)), in_layers(names, range(2), "h"), "ln_f", "wte")


def starcoder2() -> Other:
    from transformers import Starcoder2Config, Starcoder2Model

    config = Starcoder2Config(**SHAPE, **SPECIAL, num_key_value_heads=2, sliding_window=WINDOW)
    names = with_biases(
        {
            **strings(ATTENTION),
            **strings(PRE_NORM),
            "mlp.up.weight": "mlp.c_fc.weight",
            "mlp.down.weight": "mlp.c_proj.weight",
        }
    )
    return stack(Starcoder2Model(eager(config)), in_layers(names, range(2)))


def gpt_bigcode() -> Other:
    from transformers import GPTBigCodeConfig, GPTBigCodeModel

    config = GPTBigCodeConfig(n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=16, **IN_GPT)
    names: dict[str, str | Origin] = {
        **with_biases(
            {
                "attn_norm.weight": "ln_1.weight",
                "mlp_norm.weight": "ln_2.weight",
                "attn.wo.weight": "attn.c_proj.weight",
                "mlp.up.weight": "mlp.c_fc.weight",
                "mlp.down.weight": "mlp.c_proj.weight",
            }
        )
    }
    cuts = {"q": (0, WIDTH), "k": (WIDTH, WIDTH + HEAD), "v": (WIDTH + HEAD, WIDTH + 2 * HEAD)}
    for part, cut in cuts.items():
        for kind in ("weight", "bias"):
            names[f"attn.w{part}.{kind}"] = Origin(f"attn.c_attn.{kind}", rows(*cut))
    origins = {
        "blocks.0.position.table": Origin("wpe.weight"),
        **in_layers(names, range(2), "h"),
    }
    return stack(GPTBigCodeModel(eager(config)), origins, "ln_f", "wte")


def opt() -> Other:
    """Its positions are counted from 2."""
    from transformers import OPTConfig, OPTModel

    config = OPTConfig(
        hidden_size=WIDTH,
        ffn_dim=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        word_embed_proj_dim=WIDTH,
        max_position_embeddings=16,
        **IN_GPT,
    )
    names = with_biases(
        {
            **strings(QUERIES),
            "attn.wo.weight": "self_attn.out_proj.weight",
            "attn_norm.weight": "self_attn_layer_norm.weight",
            "mlp_norm.weight": "final_layer_norm.weight",
            "mlp.up.weight": "fc1.weight",
            "mlp.down.weight": "fc2.weight",
        }
    )
    origins = {
        "blocks.0.position.table": Origin("embed_positions.weight", rows(2, 18)),
        **in_layers(names, range(2)),
    }
    return stack(OPTModel(eager(config)).decoder, origins, "final_layer_norm")


def mpt() -> Other:
    from transformers import MptConfig, MptModel

    config = MptConfig(d_model=WIDTH, n_layers=2, n_heads=HEADS, **IN_GPT)
    names: dict[str, str | Origin] = {
        "attn_norm.weight": "norm_1.weight",
        "mlp_norm.weight": "norm_2.weight",
        "attn.wo.weight": "attn.out_proj.weight",
        "mlp.up.weight": "ffn.up_proj.weight",
        "mlp.down.weight": "ffn.down_proj.weight",
    }
    for index, part in enumerate("qkv"):
        own = rows(index * WIDTH, (index + 1) * WIDTH)
        names[f"attn.w{part}.weight"] = Origin("attn.Wqkv.weight", own)
    origins = in_layers(names, range(2), "blocks")
    return stack(MptModel(eager(config)), origins, norm="norm_f", embedding="wte")


def bloom() -> Other:
    """With the norm after its embedding."""
    from .attention_transformers import alibi

    other = alibi(norm=nn.LayerNorm(WIDTH, eps=1e-5))
    embedded = {
        f"blocks.0.embed_norm.{kind}": Origin(f"word_embeddings_layernorm.{kind}")
        for kind in ("weight", "bias")
    }
    return Other(other.module, other.run, {**other.origins, **embedded}, other.unused)
