"""What of the attention family is compared with what, and how near the two sides come.

The table of `docs/parity.md` is made from this; the tests hold every figure in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A design of `examples/` or `designs/` at a scale, with other sizes where given.

    `double` and `single` bound the largest relative difference of outputs and gradients.
    """

    title: str
    compared: str
    scale: str = "64x2"
    sizes: Mapping[str, float] = field(default_factory=dict)
    double: float = 1e-13
    single: float = 1e-5
    design: str = ""
    """Its file, if it is not named like the case."""


WINDOW = 5
"""Of every sliding window: shorter than the sequence."""

TRANSFORMERS: dict[str, Case] = {
    "llama": Case("Llama (GQA)", "LlamaModel"),
    "mistral": Case("Mistral (sliding window)", "MistralModel", sizes={"window": WINDOW}),
    "gpt2_learned": Case(
        "GPT-2 (learned positions)",
        "GPT2Model",
        sizes={"max_length": 16},
        double=1e-12,
        single=1e-4,
    ),
    "falcon": Case("Falcon (MQA, parallel)", "FalconModel"),
    "alibi": Case("ALiBi (BLOOM)", "BloomModel", double=1e-8, single=1e-4),
    "qwen3": Case("Qwen3 (QK-norm by head)", "Qwen3Model", sizes={"head_dim": 16}),
    "olmo2": Case("OLMo 2 (post-norm, QK-norm)", "Olmo2Model", sizes={"kv_heads": 2}),
    "gemma2": Case("Gemma 2 (softcap)", "Gemma2Model", sizes={"window": WINDOW, "head_dim": 16}),
    "gemma3": Case(
        "Gemma 3 (local and global)",
        "Gemma3TextModel",
        scale="64x6",
        sizes={"window": WINDOW, "head_dim": 16},
    ),
    "gpt_oss": Case("gpt-oss (sinks)", "GptOssModel", sizes={"window": WINDOW, "hidden": 32}),
    "mixtral": Case("Mixtral (MoE)", "MixtralModel", sizes={"hidden": 32}),
    "qwen2_moe": Case("Qwen2-MoE (gated shared expert)", "Qwen2MoeModel", sizes={"hidden": 32}),
    "deepseek_mla": Case("DeepSeek MLA", "DeepseekV3Model, dense"),
    "deepseek_v3": Case(
        "DeepSeek-V3 (MLA, sigmoid router)", "DeepseekV3Model", sizes={"hidden": 32}
    ),
    "differential": Case("Differential attention", "DiffLlamaModel"),
    "manifold_hyper_connections": Case(
        "Manifold hyper-connections",
        "DeepseekV4HyperConnection around Llama's layers",
        single=1e-4,
    ),
}

PAPERS: dict[str, Case] = {
    "forgetting": Case("Forgetting attention", "arXiv 2503.02130"),
    "value_residual": Case("Value residual", "arXiv 2410.17897"),
    "hyper_connections": Case("Hyper-connections", "arXiv 2409.19606", single=1e-4),
    "ngpt": Case("nGPT", "arXiv 2410.01131", single=1e-4),
    "based": Case("Based", "arXiv 2402.18668", sizes={"window": WINDOW}),
    "hourglass": Case("Hourglass (two scales of time)", "arXiv 2110.13711"),
    "unet": Case("U-net skips", "arXiv 2209.12152", scale="64x5"),
}

NOT_COMPARED: tuple[tuple[str, str], ...] = (
    ("final norm and head", "every design ends with a LayerNorm without bias and a linear head"),
    (
        "ALiBi beyond 1e-8",
        "BLOOM's GELU has sqrt(2 / pi) rounded to eight digits",
    ),
    ("ALiBi, heads that are no power of two", "the authors' code has other slopes there"),
    ("auxiliary losses of the routers", "no part of the output"),
    ("dropout", "off on both sides"),
    ("nGPT's head and its step after each update", "its logits are scaled, and weights projected"),
    (
        "native sparse attention (arXiv 2502.11089)",
        "no design: a mask over blocks, indexed by `j // C`, is not proved causal",
    ),
    ("Based's gated convolutions", "they stand in other layers of its largest models"),
)
