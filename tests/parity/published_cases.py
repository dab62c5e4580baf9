"""Architectures of transformers, composed of the library's units, and how near the two sides come.

A table of `docs/parity.md` is made from this; the tests hold every figure in it.
"""

from __future__ import annotations

from .attention_cases import WINDOW, Case

PERIOD = {"period": 2}
"""Of the kinds of layers: a stack of two has both."""

LENGTH = {"max_length": 16}

DENSE: dict[str, Case] = {
    "gemma": Case("Gemma", "GemmaModel", sizes={"head_dim": 16}),
    "qwen2": Case("Qwen2 (biases on the ways in)", "Qwen2Model"),
    "llama3": Case("Llama 3.1 (stretched positions)", "LlamaModel"),
    "phi3": Case("Phi-3", "Phi3Model", design="llama"),
    "phi": Case("Phi (parallel, half rotated)", "PhiModel"),
    "gpt_neox": Case("GPT-NeoX (parallel, two norms)", "GPTNeoXModel"),
    "gptj": Case("GPT-J (parallel, part rotated)", "GPTJModel"),
    "stablelm": Case("StableLM", "StableLmModel", sizes={"kv_heads": 2}),
    "cohere2": Case(
        "Command A (parallel, no positions)", "Cohere2Model", sizes={"window": WINDOW, **PERIOD}
    ),
    "glm4": Case("GLM-4 (sandwich norms)", "Glm4Model"),
    "olmo": Case("OLMo (norms without weights)", "OlmoModel"),
    "olmo3": Case("OLMo 3", "Olmo3Model", sizes={"window": WINDOW, **PERIOD}),
    "starcoder2": Case("StarCoder 2", "Starcoder2Model", sizes={"window": WINDOW}),
    "nemotron": Case("Nemotron-4 (squared ReLU)", "NemotronModel"),
    "arcee": Case("AFM-4.5B (squared ReLU, YaRN)", "ArceeModel"),
    "granite": Case("Granite (multipliers)", "GraniteModel"),
    "smollm3": Case("SmolLM3 (NoPE layers)", "SmolLM3Model", sizes=PERIOD),
    "hunyuan": Case("Hunyuan (norms behind rotations)", "HunYuanDenseV1Model"),
    "exaone4": Case("EXAONE 4", "Exaone4Model", sizes={"window": WINDOW, **PERIOD}),
    "nanochat": Case("nanochat (norms without weights)", "NanoChatModel"),
    "gpt_bigcode": Case(
        "StarCoder (MQA)", "GPTBigCodeModel", sizes=LENGTH, double=1e-12, single=1e-3
    ),
    "opt": Case("OPT (ReLU)", "OPTModel", sizes=LENGTH, double=1e-12, single=1e-3),
    "mpt": Case("MPT (ALiBi)", "MptModel"),
    "bloom": Case("BLOOM with its first norm", "BloomModel", double=1e-8, single=1e-4),
}

EXPERTS: dict[str, Case] = {
    "qwen3_moe": Case("Qwen3-MoE", "Qwen3MoeModel"),
    "olmoe": Case("OLMoE (weights not divided)", "OlmoeModel"),
    "dbrx": Case("DBRX (bounded queries)", "DbrxModel", sizes={"clip": 1.0}),
    "minimax_m2": Case("MiniMax-M2 (sigmoid router)", "MiniMaxM2Model"),
    "glm4_moe": Case("GLM-4.5 (groups of experts)", "Glm4MoeModel"),
    "deepseek_v2": Case("DeepSeek-V2-Lite", "DeepseekV2Model"),
    "deepseek_v3_yarn": Case("DeepSeek-V3 (groups of experts, YaRN)", "DeepseekV3Model"),
    "gpt_oss_yarn": Case("gpt-oss with YaRN", "GptOssModel", sizes={"window": 5, "hidden": 32}),
}


STATE = {"state_size": 16}

HYBRID: dict[str, Case] = {
    "recurrent_gemma": Case(
        "RecurrentGemma (Griffin)", "RecurrentGemmaModel", "64x3", {"window": WINDOW}
    ),
    "rwkv4_whole": Case("RWKV-4", "RwkvModel"),
    "xlstm_7b": Case("xLSTM 7B", "xLSTMModel", double=1e-11, single=1e-3),
    "mamba2_rms": Case("Mamba-2", "Mamba2Model", sizes={"head_dim": 32, **STATE}),
    "falcon_mamba": Case("Falcon Mamba", "FalconMambaModel"),
    "bamba": Case("Bamba", "BambaModel", sizes=STATE),
    "granite_hybrid": Case("Granite 4", "GraniteMoeHybridModel", sizes=STATE),
    "nemotron_h": Case("Nemotron-H", "NemotronHModel", "64x4", {"head_dim": 32, **STATE}),
    "falcon_h1_multipliers": Case("Falcon-H1 with multipliers", "FalconH1Model"),
    "lfm2": Case("LFM2 (gated short convolutions)", "Lfm2Model"),
    "olmo_hybrid": Case("OLMo Hybrid (Gated DeltaNet)", "OlmoHybridModel", sizes=PERIOD),
    "qwen3_5": Case("Qwen3.5 (Gated DeltaNet)", "Qwen3_5TextModel", sizes=PERIOD),
}

PUBLISHED: dict[str, Case] = {**DENSE, **EXPERTS, **HYBRID}

NOT_COMPARED: tuple[tuple[str, str], ...] = (
    ("Zamba2", "its shared blocks have low-rank adapters for each place, which no unit has"),
    ("Llama 4, Doge, JetMoe, PhiMoE", "attention in chunks, learned masks, other routers: no unit"),
    ("Apertus", "xIELU: no unit"),
)
