"""What of the recurrent and hybrid family is compared with what, and how near the two sides come.

The tables of `docs/parity.md` are made from this; the tests hold every figure in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DOUBLE = 1e-11
"""In float64; what nearly cancels, as mLSTM's gradient in q at the first position, loses digits."""
SINGLE = 1e-4


@dataclass(frozen=True)
class Model:
    """A design of `examples/`, as a whole stack of blocks, beside a model of transformers."""

    title: str
    compared: str
    scale: str
    sizes: dict[str, int] = field(default_factory=dict)


MODELS: dict[str, Model] = {
    "mamba": Model("Mamba", "MambaModel", "64x2"),
    "falcon_h1": Model("Falcon-H1 (Mamba-2 beside attention)", "FalconH1Model", "64x2"),
    "zamba": Model(
        "Zamba (shared attention block)", "ZambaModel", "64x4", {"period": 2, "offset": 1}
    ),
    "jamba": Model(
        "Jamba (Mamba, attention, experts)", "JambaModel", "64x2", {"period": 2, "offset": 1}
    ),
    "qwen3_next": Model("Qwen3-Next (Gated DeltaNet 3:1)", "Qwen3NextModel", "64x2", {"period": 2}),
    "kimi_linear": Model("Kimi Linear (KDA 3:1 MLA)", "KimiLinearModel", "64x3", {"period": 3}),
    "minimax": Model("MiniMax-01 (lightning attention)", "MiniMaxModel", "64x2", {"period": 2}),
}


@dataclass(frozen=True)
class Mixer:
    """A unit of the library beside a module of transformers."""

    title: str
    unit: str
    compared: str
    design: str


MIXERS: dict[str, Mixer] = {
    "mamba": Mixer("Mamba", "ssm.MambaMixer", "MambaMixer", "mamba, samba"),
    "jamba": Mixer("Jamba", "ssm.MambaMixer", "JambaMambaMixer", "jamba"),
    "mamba2": Mixer("Mamba-2", "ssm.Mamba2Mixer", "FalconH1Mixer", "falcon_h1, mamba2"),
    "griffin": Mixer(
        "Griffin, RG-LRU",
        "recurrent.GriffinRecurrentBlock",
        "RecurrentGemmaRecurrentBlock",
        "griffin",
    ),
    "rwkv4": Mixer("RWKV-4 time mix", "rwkv.RWKV4TimeMix", "RwkvSelfAttention", "rwkv4"),
    "rwkv4_channel": Mixer(
        "RWKV-4 channel mix", "rwkv.RWKV6ChannelMix", "RwkvFeedForward", "rwkv4"
    ),
    "mlstm": Mixer("mLSTM", "xlstm.MLSTM", "xLSTMLayer", "xlstm"),
    "gated_deltanet": Mixer(
        "Gated DeltaNet",
        "delta.GatedDeltaNet",
        "Qwen3NextGatedDeltaNet",
        "gated_deltanet, qwen3_next",
    ),
    "kimi_delta_attention": Mixer(
        "Kimi delta attention",
        "delta.KimiDeltaAttention",
        "KimiLinearDeltaAttention",
        "kimi_linear",
    ),
    "lightning": Mixer(
        "Lightning attention",
        "linear_attention.LightningAttention",
        "MiniMaxLightningAttention",
        "minimax",
    ),
}

PAPER = 1e-10
"""In float64, for references in another order of operations: sums, complex numbers, products."""


@dataclass(frozen=True)
class Paper:
    """A unit beside a reference of this repository, and fla-core's recurrence where it has one."""

    unit: str
    source: str
    design: str
    fla: str | None = None


PAPERS: dict[str, Paper] = {
    "minGRU": Paper("recurrent.MinGRU", "arXiv 2410.01201", "mingru", "hgrn: naive_recurrent_hgrn"),
    "minLSTM": Paper(
        "recurrent.MinLSTM", "arXiv 2410.01201", "minlstm", "hgrn: naive_recurrent_hgrn"
    ),
    "LRU": Paper("recurrent.LRU", "arXiv 2303.06349", "lru"),
    "HGRN": Paper("recurrent.HGRUMixer", "arXiv 2311.04823", "hgrn"),
    "S4D": Paper("ssm.S4DMixer", "arXiv 2206.11893", "s4d"),
    "H3": Paper("long_conv.H3Mixer", "arXiv 2212.14052", "h3"),
    "Hyena": Paper("long_conv.HyenaOperator", "arXiv 2302.10866", "hyena"),
    "sLSTM": Paper("xlstm.SLSTM", "arXiv 2405.04517", "xlstm"),
    "DeltaNet": Paper(
        "delta.DeltaNet", "arXiv 2406.06484", "deltanet", "delta_rule: delta_rule_recurrence"
    ),
    "Gated DeltaNet": Paper(
        "delta.GatedDeltaNet",
        "arXiv 2412.06464",
        "gated_deltanet",
        "gated_delta_rule: naive_recurrent_gated_delta_rule",
    ),
    "Kimi delta attention": Paper(
        "delta.KimiDeltaAttention", "arXiv 2510.26692", "kimi_linear", "kda: naive_recurrent_kda"
    ),
    "Gated DeltaProduct": Paper(
        "delta.GatedDeltaProduct",
        "arXiv 2502.10297",
        "deltaproduct",
        "gated_delta_product: naive_recurrent_gated_delta_product",
    ),
    "HGRN2": Paper(
        "linear_attention.HGRN2Mixer", "arXiv 2404.07904", "hgrn2", "gla: naive_recurrent_gla"
    ),
    "GSA": Paper(
        "linear_attention.GatedSlotAttention",
        "arXiv 2409.07146",
        "gsa",
        "gsa: naive_recurrent_gsa",
    ),
    "RWKV-5": Paper("rwkv.RWKV5TimeMix", "arXiv 2404.05892", "rwkv5"),
    "RWKV-7": Paper(
        "rwkv.RWKV7TimeMix",
        "arXiv 2503.14456",
        "rwkv7",
        "generalized_delta_rule.dplr: dplr_recurrence",
    ),
    "RWKV-7 channel mix": Paper("rwkv.RWKV7ChannelMix", "arXiv 2503.14456", "rwkv7"),
    "Titans": Paper("memory.LinearNeuralMemory", "arXiv 2501.00663", "titans"),
    "TTT-MLP": Paper("ttt.TTTMLP", "arXiv 2407.04620", "ttt_mlp"),
}

NOT_COMPARED: tuple[tuple[str, str], ...] = (
    (
        "xLSTM with blocks of sLSTM",
        "transformers has no sLSTM; xLSTM 7B, without, is compared whole",
    ),
    ("Samba", "transformers has none; its mixers are compared as those of Mamba and Llama"),
    ("Titans beside fla-core", "its naive reference has another loss, behind a LayerNorm"),
    ("Titans with an MLP as the memory", "the unit's memory is a matrix"),
    (
        "TTT-MLP, GSA, HGRN, HGRN2, RWKV-5, RWKV-7, DeltaNet, DeltaProduct beside transformers",
        "5.23 has none of them",
    ),
    ("RWKV-4, RWKV-5 and lightning attention beside fla-core", "it has Triton kernels only"),
    (
        "GLA, RetNet, RWKV-6 and TTT-Linear beside fla-core",
        "compared with this repository's own references in `tests/seeds`",
    ),
    (
        "fla-core's layers",
        "they need Triton on a GPU; its naive recurrences stand between our own projections",
    ),
)
