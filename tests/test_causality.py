"""The proof of causality, of length invariance and of the separation of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from causality_ports import LENGTHS, POSITIONS, SCORES, block, design, proofs_of
from designs import EXAMPLES, stack_of
from generator.program import generate
from language_fences import Fence, read_fences
from small_designs import DESIGNS

from gabc.check.causality.derivation import derivations, rendered
from gabc.check.causality.prove import prove
from gabc.check.causality.verdict import Proofs, Verdict
from gabc.check.report import check
from gabc.diagnostics.model import Diagnostic
from gabc.elaborate.scales import parse_scale
from gabc.ops import PRIMITIVES
from gabc.ops.base import Primitive
from gabc.runtime.oracle import Oracle, confirm
from gabc.syntax.source import Source

STANDARD = sorted((Path(__file__).parent.parent / "stdlib_gaus").glob("*.gab"))


def verdicts(proofs: Proofs) -> tuple[str, str, str]:
    return (
        proofs.causality.verdict.value,
        proofs.length.verdict.value,
        proofs.batch.verdict.value,
    )


def _diagnostic(proofs: Proofs) -> Diagnostic:
    return proofs.diagnostics[0]


# ---------------------------------------------------------------- what must be proved


CHOSEN_BY_SCALE = (
    "based",
    "deepseek_v3",
    "gemma2",
    "gemma3",
    "gpt2_learned",
    "gpt_oss",
    "griffin",
    "hyper_connections",
    "jamba",
    "kimi_linear",
    "manifold_hyper_connections",
    "minimax",
    "ngpt",
    "qwen3_next",
    "rwkv7",
    "samba",
    "unet",
    "value_residual",
    "xlstm",
    "zamba",
)
"""Their layers are not alike, so that a deeper stack may hold what this one does not."""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.gab")), ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["64x2", "14M"])
def test_examples_are_proved(path: Path, scale: str) -> None:
    proofs = prove(stack_of(path.read_text(encoding="utf-8"), scale, path.name))
    assert proofs.are_proved
    is_chosen = path.stem in CHOSEN_BY_SCALE
    assert proofs.causality.holds_at == (proofs.scale if is_chosen else None), "not by the symbols"
    assert not proofs.diagnostics


MIXERS = {
    "attention": [
        "MultiHeadAttention()",
        "MultiHeadAttention(heads=4, kv_heads=2, window=5)",
        "QKNormAttention(heads=4, kv_heads=2, head_dim=6, window=5)",
        "JointQKNormAttention()",
    ],
    "attention_scores": [
        "ALiBiAttention()",
        "SoftcapAttention(window=5)",
        "SinkAttention(heads=4, kv_heads=1)",
        "ForgettingAttention()",
    ],
    "attention_variants": [
        "LatentAttention()",
        "LatentAttention(query_latent=24)",
        "DifferentialAttention()",
        "ValueResidualAttention()",
        "SphereAttention()",
        "TaylorLinearAttention()",
        "BlockAttention()",
    ],
    "conv": ["ShortConv()"],
    "delta": [
        "DeltaNet()",
        "GatedDeltaNet(key_heads=2)",
        "KimiDeltaAttention()",
        "GatedDeltaProduct()",
    ],
    "hybrid": ["GatedAttention()"],
    "linear_attention": [
        "GatedLinearAttention()",
        "LightningAttention()",
        "HGRN2Mixer()",
        "GatedSlotAttention(slots=5)",
    ],
    "long_conv": ["HyenaOperator()", "H3Mixer()"],
    "memory": ["LinearNeuralMemory()"],
    "mlp": [
        "GatedMLP()",
        "MLP()",
        "GEGLU()",
        "ClampedGatedMLP()",
        "SphereMLP()",
        "SquaredReLUMLP()",
    ],
    "moe": ["TopKExperts()", "GatedSharedExperts()", "SigmoidSharedExperts()"],
    "norm": [
        "RMSNorm()",
        "LayerNorm()",
        "OffsetRMSNorm()",
        "OffsetLayerNorm()",
        "GroupedRMSNorm(groups=2)",
    ],
    "position": ["LearnedPosition()"],
    "recurrent": [
        "MinGRU()",
        "MinLSTM()",
        "LRU()",
        "RGLRU()",
        "GriffinRecurrentBlock()",
        "HGRUMixer()",
    ],
    "retention": ["MultiScaleRetention()"],
    "rwkv": [
        "RWKV4TimeMix()",
        "RWKV5TimeMix()",
        "RWKV6TimeMix()",
        "RWKV6ChannelMix()",
        "RWKV6ChannelMix(rank=8)",
        "RWKV7TimeMix()",
        "RWKV7ChannelMix()",
    ],
    "ssm": [
        "S4D(pairs=4)",
        "S4DMixer(pairs=4)",
        "MambaMixer()",
        "MambaMixer(normed=true)",
        "Mamba2Mixer(head_dim=16)",
        "Mamba2Mixer(head_dim=16, groups=2, has_skip=false)",
    ],
    "ttt": ["TTTLinear()", "TTTLinear(mini_batch=3)", "TTTMLP(mini_batch=3)"],
    "xlstm": ["MLSTM()", "SLSTM()"],
}
"""Calls of every unit of the standard library that takes and returns a stream."""

HELD = {
    "hybrid": ["ZambaSharedBlock"],
    "long_conv": ["ImplicitFilter"],
    "norm": ["HeadLayerNorm"],
    "position": ["RoPE", "NoPosition", "PartialRotation", "YaRN", "Llama3RoPE"],
    "recurrent": ["BlockLinear", "ForgetBounds"],
    "residual": ["HyperConnection", "ManifoldHyperConnection", "SphereStep", "LongSkip"],
    "rwkv": ["LowRank", "DataDependentShift"],
}
"""Units that only stand inside others, which prove them."""


def test_every_standard_unit_is_listed() -> None:
    for path in STANDARD:
        named = MIXERS.get(path.stem, []) + HELD.get(path.stem, [])
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("unit "):
                name = line.removeprefix("unit ").partition("(")[0]
                assert any(call.startswith(name) for call in named), f"{path.stem}: {name}"


@pytest.mark.parametrize(
    ("module", "call"), [(module, call) for module, calls in MIXERS.items() for call in calls]
)
def test_standard_units_are_proved(module: str, call: str) -> None:
    name = call.partition("(")[0]
    text = (
        f"gab One\n\nfrom std.{module} import {name}\n\nunit One() {{\n    m = {call}\n"
        "    forward(X) {\n        return X + m(X)\n    }\n}\n"
    )
    assert prove(stack_of(text, "64x2")).are_proved


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "names"])
def test_small_designs_are_proved(name: str) -> None:
    assert prove(stack_of(DESIGNS[name])).are_proved


PROVED = {
    "mask by positions": POSITIONS
    + SCORES
    + "return softmax(masked(s, p[None, :] <= p[:, None]), axis=-1) @ X",
    "mask selected by where": POSITIONS
    + SCORES
    + "return where(p[:, None] >= p[None, :], exp(0.01 * s), 0.0) @ X / (p + 1.0)[:, None]",
    "mask as a product of finite values": POSITIONS
    + SCORES
    + "return (float(p[:, None] >= p[None, :]) * tanh(s)) @ X",
    "mask negated": POSITIONS
    + SCORES
    + "return softmax(masked(s, not (p[None, :] > p[:, None])), axis=-1) @ X",
    "mask by a distance": POSITIONS
    + SCORES
    + "d = p[:, None] - p[None, :]\n"
    + "return softmax(masked(s, d >= 0.0 and abs(d) < 4.0), axis=-1) @ X",
    "mask by counting": SCORES
    + "n = cumsum(ones(L))\nreturn softmax(masked(s, n[:, None] >= n[None, :]), axis=-1) @ X",
    "sinks and a window": POSITIONS
    + SCORES
    + "d = p[:, None] - p[None, :]\n"
    + "keep = d >= 0.0 and (d < 4.0 or p[None, :] < 2.0)\n"
    + "return softmax(masked(s, keep), axis=-1) @ X",
    "blocks of the past": POSITIONS
    + SCORES
    + "return softmax(masked(s, p[:, None] // 3 > p[None, :] // 3), axis=-1) @ X",
    "attention twice": SCORES + "a = softmax(causal(s), axis=-1)\nreturn (a @ a) @ X",
    "maximum of a masked row": SCORES + "return X * tanh(max(causal(s), axis=-1, keep=true))",
    "mean of a masked row": SCORES + "return X * mean(causal(s), axis=-1, keep=true)",
    "one-hot shift": "m = float(one_hot(int(positions() - 1.0), L))\nreturn m @ X",
    "later blocks read summaries": "x = blocks(X, 4)\n"
    "n = blocks(positions(), 4)[:, 0]\n"
    's = einsum("n m, b m d -> b n d", float(n[:, None] > n[None, :]), sum(x, axis=2))\n'
    "return unblocks(x + s[:, :, None])",
    "the first of a block": "x = blocks(X, 4)\nreturn unblocks(x + x[:, :, :1])",
    "within blocks": "x = blocks(X, 4)\n"
    's = causal(einsum("b n c d, b n e d -> b n c e", x, x))\n'
    "return unblocks(softmax(s, axis=-1) @ x + cumsum(x, axis=2))",
    "a triangular system": POSITIONS
    + SCORES
    + "return solve_lower(where(p[:, None] == p[None, :], 2.0, 0.1 * tanh(s)), X)",
    "a long convolution": "h = exp(-positions())[None, :] * ones(D)[:, None]\n"
    "return long_conv(X, h)",
    "a chunk and its past": "return scan(X) chunk 4 {\n"
    "    state S: [B, D] = 0.0\n    before = S\n    S = S + sum(X, axis=1)\n"
    "    return before[:, None] + cumsum(X)\n}",
    "an element of a state is assigned": "return scan(x=X) {\n"
    "    state S: [B, 2, D] = 0.0\n    S[:, 1] = S[:, 0]\n    S[:, :1] = x[:, None]\n"
    "    return S[:, 1] + S[..., 0, :]\n}",
    "captures of the past": "x = X[:, :, None]\ng = mean(X, axis=-1)\n"
    "y = attend(x, x, x) {\n"
    "    score = score + g[b, j - 1] * g[b, i // 2] - g[b, j // 4 * 4]\n}\n"
    "return y[:, :, 0]",
    "reading half as far": 'x = rearrange(X, "b l d -> l b d")\n'
    'return rearrange(x[int(positions()) // 2], "l b d -> b l d")',
    "experts chosen by a position": "return X * float(topk_mask(X, 2, axis=-1))",
    "a mean over features": "return X - mean(X, axis=-1, keep=true)",
    "a loss over everything": "loss size = mean(mean(mean(square(X), axis=0), axis=0), axis=0)\n"
    "return X",
}


@pytest.mark.parametrize("name", PROVED)
def test_is_proved_and_holds(name: str) -> None:
    stack = block(PROVED[name])
    proofs = prove(stack)
    assert verdicts(proofs) == ("proved", "proved", "proved"), proofs.diagnostics
    oracle = Oracle(stack)
    assert oracle.future(LENGTHS) is None
    assert oracle.prefix(LENGTHS) is None
    assert oracle.rows(LENGTHS) is None


# ---------------------------------------------------------------- what is said


def test_chain_tells_the_way() -> None:
    (diagnostic,) = proofs_of(
        POSITIONS
        + SCORES
        + "keep = p[None, :] <= p[:, None] + 1.0\nreturn softmax(masked(s, keep), axis=-1) @ X"
    ).diagnostics
    facts = dict(diagnostic.facts)
    assert facts["chain"] == "y[t] <- `softmax` where s <= t + 1 <- X[t + 1]"
    assert facts["ahead"] == "1"
    masks = [r for r in diagnostic.related if r.text == "this mask keeps s <= t + 1"]
    assert [r.span.text for r in masks] == ["p[None, :] <= p[:, None] + 1.0"]


def test_bounds_are_symbolic() -> None:
    text = design(
        POSITIONS
        + SCORES
        + "d = p[:, None] - p[None, :]\n"
        + "return softmax(masked(s, d >= 0.0 and d < window), axis=-1) @ X"
    ).replace("One()", "One(window: int = 5)")
    proofs = prove(stack_of(text, "16x1"))
    assert proofs.are_proved
    assert str(proofs.units[0].reach and proofs.units[0].reach[0]) == "1 - window"


def test_what_only_the_numbers_decide_says_so() -> None:
    text = design(
        POSITIONS
        + SCORES
        + "return softmax(masked(s, p[:, None] >= p[None, :] + gap), axis=-1) @ X"
    ).replace("One()", "One(gap: int = 4, less: int = 2)")
    at_all = prove(stack_of(text, "16x1"))
    assert (at_all.causality.verdict, at_all.causality.holds_at) == (Verdict.PROVED, None)
    here = prove(stack_of(text.replace("+ gap", "+ (gap - less)"), "16x1"))
    assert (here.causality.verdict, here.causality.holds_at) == (Verdict.PROVED, "16x1")
    there = prove(stack_of(text.replace("+ gap", "+ (less - gap)"), "16x1"))
    assert there.causality.verdict is Verdict.REFUTED


def test_precision_lost_is_tested_not_refused() -> None:
    stack = block(
        POSITIONS
        + SCORES
        + "return softmax(masked(s, square(p[:, None]) >= square(p[None, :])), axis=-1) @ X"
    )
    found = prove(stack)
    assert found.causality.verdict is Verdict.UNKNOWN
    assert [d.code for d in found.diagnostics] == ["GAB0407"]
    tested = confirm(found, stack, lengths=LENGTHS)
    assert tested.causality.verdict is Verdict.TESTED
    assert [d.code for d in tested.diagnostics] == ["GAB0406"]


def test_what_the_test_refutes_is_refused() -> None:
    stack = block(
        POSITIONS
        + SCORES
        + "return softmax(masked(s, square(p[:, None]) + 7.0 >= square(p[None, :])), axis=-1) @ X"
    )
    confirmed = confirm(prove(stack), stack, lengths=LENGTHS)
    assert confirmed.causality.verdict is Verdict.REFUTED
    assert confirmed.causality.witness is not None
    assert _diagnostic(confirmed).code == "GAB0401"


def test_a_reversal_undone_by_the_next_block_is_found() -> None:
    """Two reversals are the identity: every block is tested, not only the whole."""
    stack = block(
        "n = sum(ones(L), axis=0)\nj = int(n - 1.0 - positions())\n"
        'x = rearrange(X, "b l d -> l b d")\nreturn rearrange(x[j], "l b d -> b l d")'
    )
    assert Oracle(stack).future((7,)) is not None


def test_every_layer_is_judged() -> None:
    proofs = proofs_of(
        "if layer == 1 { y = X - mean(X, axis=1, keep=true) } else { y = shift(X) }\nreturn y",
        scale="16x3",
    )
    assert {fault.layer for fault in proofs.faults} == {1}
    assert dict(_diagnostic(proofs).facts)["layer"] == "1"


def test_z_keeps_its_legs_from_block_to_block() -> None:
    members = "    reads memo: [B, L, D]?\n    writes memo: [B, L, D]"
    written = "y = X + (Z.memo ?? X)\nZ.memo = {}\nreturn y"
    assert proofs_of(written.format("shift(y)"), members, "16x3").are_proved
    leaking = proofs_of(written.format("mean(y, axis=1, keep=true) + y"), members, "16x3")
    assert {fault.layer for fault in leaking.faults} == {1, 2}


def test_z_after_the_last_block_is_no_output() -> None:
    members = "    reads memo: [B, L, D]?\n    writes memo: [B, L, D]"
    body = (
        "y = X + (Z.memo ?? X)\nif layer == n_layers - 1 { Z.memo = mean(y, axis=1, keep=true) + y"
    )
    assert proofs_of(body + " }\nreturn y", members, "16x2").are_proved


def test_constants_may_travel_without_a_time_axis() -> None:
    members = "    reads memo: [B, D]?\n    writes memo: [B, D]\n    param start: [D] = normal()"
    body = "memo = Z.memo ?? (zeros(B, D) + start)\nZ.memo = memo\nreturn X + memo[:, None]"
    assert proofs_of(body, members).are_proved


@pytest.mark.parametrize(
    ("body", "reach"),
    [
        ("return shift(X, 3)", (-3, -3)),
        ("return X + shift(X, 2)", (-2, 0)),
        ("return window_mean(shift(X, 1), 4)", (-4, -1)),
        ("return causal_conv(X, w, dilation=3)", (-6, 0)),
        ("x = X[:, :, None]\nreturn attend(x, x, x, window=3)[:, :, 0]", (-2, 0)),
        ("x = blocks(X, 4)\nreturn unblocks(x[:, :, :1] + 0.0 * x)", (-3, 0)),
        ("return cumsum(X)", (float("-inf"), 0)),
    ],
)
def test_receptive_field(body: str, reach: tuple[float, float]) -> None:
    found = proofs_of(body, "    param w: [D, 3] = normal()", "16x1").receptive_field
    assert (found[0].value, found[1].value) == reach


def test_dims_bound_at_the_call_are_followed() -> None:
    """A child's last axis may be the caller's time."""
    text = design(SCORES + "return soft(s) @ X", "    soft = Soft()") + (
        "unit Soft() {\n    forward(x: [..., N]) {\n        return softmax(x, axis=-1)\n    }\n}\n"
    )
    proofs = prove(stack_of(text))
    assert proofs.causality.verdict is Verdict.REFUTED
    assert "over the time axis" in _diagnostic(proofs).message


def test_derivation_names_every_value() -> None:
    proofs = prove(stack_of(DESIGNS["attention_block"]))
    unit = derivations(proofs)[0]
    reads = {step.value: step.reads for step in unit.steps}
    assert reads["q"] == ("t",)
    assert "t - (window - 1) .. t" in reads["y"]
    text = rendered(proofs)
    assert "because" not in text
    assert "y[b, t, c, d] reads" in text


# ---------------------------------------------------------------- cost of proving


def test_the_proof_needs_no_torch() -> None:
    code = (
        "import sys, pathlib\n"
        "from gabc.check.report import check\n"
        "from gabc.syntax.source import Source\n"
        "from gabc.check.causality.prove import prove\n"
        f"text = pathlib.Path({str(EXAMPLES / 'ttt.gab')!r}).read_text()\n"
        "stacks = check(Source('ttt.gab', text)).stacks\n"
        "assert prove(next(iter(stacks.values()))).are_proved\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seed", range(20))
def test_random_causal_designs_are_proved(seed: int) -> None:
    """Those of the back ends' generator, which writes nothing that leaks."""
    program = generate(seed)
    proofs = prove(stack_of(program.text, f"{program.width}x{program.layers}"))
    assert proofs.are_proved, proofs.diagnostics


# ---------------------------------------------------------------- the rules of the primitives

ELEMENT_BY_ELEMENT = {
    "complex",
    "normal",
    "uniform",
    "kaiming",
    "xavier",
    "trunc_normal",
    "orthogonal",
    "spread",
}
"""Primitives that take the default rule: `complex`, and initialisers, which see no positions."""


def test_every_primitive_has_a_rule_of_its_own() -> None:
    default = {
        name
        for name, primitive in PRIMITIVES.items()
        if type(primitive).dependence is Primitive.dependence
    }
    assert default == ELEMENT_BY_ELEMENT


FENCES = read_fences(Path(__file__).parent / "language" / "causality.md")


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.id)
def test_specification(fence: Fence) -> None:
    """The examples of the specification, proved at their scale."""
    source = Source("design.gab", fence.text)
    report = check(source, scales=(parse_scale("16x2"),))
    found = [d for stack in report.stacks.values() for d in prove(stack).diagnostics]
    promised = [(e.line, e.code) for e in fence.expected]
    assert [(d.span.line, d.code) for d in found] == promised, found
    for diagnostic, expected in zip(found, fence.expected, strict=True):
        assert expected.message in diagnostic.message
