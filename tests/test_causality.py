"""The proof of causality, of length invariance and of the separation of rows."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
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
from gabc.graph.instance import Stack
from gabc.ops import PRIMITIVES
from gabc.ops.base import Primitive
from gabc.runtime.oracle import Oracle, confirm
from gabc.syntax.source import Source

LENGTHS = (1, 7, 23)
STANDARD = sorted((Path(__file__).parent.parent / "stdlib_gaus").glob("*.gab"))


def design(body: str, members: str = "") -> str:
    lines = "\n".join(f"        {line}" for line in body.strip("\n").splitlines())
    return f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{lines}\n    }}\n}}\n"


def block(body: str, members: str = "", scale: str = "16x2") -> Stack:
    return stack_of(design(body, members), scale)


def proofs_of(body: str, members: str = "", scale: str = "16x2") -> Proofs:
    return prove(block(body, members, scale))


def verdicts(proofs: Proofs) -> tuple[str, str, str]:
    return (
        proofs.causality.verdict.value,
        proofs.length.verdict.value,
        proofs.batch.verdict.value,
    )


SCORES = 's = einsum("b l d, b m d -> b l m", X, X)\n'
POSITIONS = "p = positions()\n"


# ---------------------------------------------------------------- what must be proved


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.gab")), ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["64x2", "14M"])
def test_examples_are_proved(path: Path, scale: str) -> None:
    proofs = prove(stack_of(path.read_text(encoding="utf-8"), scale, path.name))
    assert proofs.are_proved
    assert proofs.causality.holds_at is None, "proved by the symbols, not by the scale's numbers"
    assert not proofs.diagnostics


MIXERS = {
    "attention": ["MultiHeadAttention()", "MultiHeadAttention(heads=4, kv_heads=2, window=5)"],
    "conv": ["ShortConv()"],
    "linear_attention": ["GatedLinearAttention()"],
    "mlp": ["GatedMLP()", "MLP()"],
    "norm": ["RMSNorm()", "LayerNorm()"],
    "retention": ["MultiScaleRetention()"],
    "rwkv": ["RWKV6TimeMix()", "RWKV6ChannelMix()", "RWKV6ChannelMix(rank=8)"],
    "ssm": ["Mamba2Mixer(head_dim=16)", "Mamba2Mixer(head_dim=16, groups=2, has_skip=false)"],
    "ttt": ["TTTLinear()", "TTTLinear(mini_batch=3)"],
}
"""Calls of every unit of the standard library that takes and returns a stream."""

HELD = {
    "norm": ["HeadLayerNorm"],
    "position": ["RoPE"],
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


# ---------------------------------------------------------------- real faults


@dataclass(frozen=True)
class Port:
    """A fault met in published or generated models, as a short design.

    `shown`: whether the test must find a witness; some are hidden from every run.
    """

    body: str
    code: str
    message: str
    members: str = ""
    shown: bool = True


PORTS = {
    "a mean over the sequence feeds a gate": Port(
        "g = sigmoid(mean(X, axis=1, keep=true))\nreturn X * g",
        "GAB0401",
        "`mean` over the time axis reads every position",
    ),
    "RMS over the sequence": Port(
        'y = rms_norm(rearrange(X, "b l d -> b d l"))\nreturn rearrange(y, "b d l -> b l d")',
        "GAB0401",
        "`rms_norm` over the time axis reads every position",
    ),
    "a threshold from the mean over all blocks": Port(
        "m = mean(mean(blocks(X, 4), axis=2), axis=1)\nreturn where(X > m[:, None], X, 0.5 * X)",
        "GAB0401",
        "`mean` over the axis of blocks `ceil(L/4)` reads every block",
    ),
    "the last state goes through Z to every position": Port(
        "p = positions()\n"
        "if layer > 0 { y = X + Z.last[:, None] } else { y = X }\n"
        'Z.last = einsum("b l d, l -> b d", y, float(p == max(p, axis=0)))\n'
        "return y",
        "GAB0404",
        "`Z.last` has no time axis and depends on the sequence",
        "    reads last: [B, D]?\n    writes last: [B, D]",
    ),
    "a position divided by the last one": Port(
        "p = positions()\nreturn X * (p / max(p, axis=0, keep=true))[:, None]",
        "GAB0402",
        "`max` over the time axis depends on how long the sequence is",
    ),
    "a filter applied on both sides": Port(
        "p = positions()\nlag = abs(p[:, None] - p[None, :])\nreturn exp(-lag) @ X",
        "GAB0401",
        "`matmul` over the time axis reads every position",
    ),
    "a convolution with `same` padding": Port(
        "p = positions()\nnear = abs(p[:, None] - p[None, :]) <= 1.0\nreturn float(near) @ X",
        "GAB0401",
        "`matmul` reads the position ahead: its mask keeps s <= t + 1",
    ),
    "a mask that keeps one position too many": Port(
        POSITIONS
        + SCORES
        + "return softmax(masked(s, p[None, :] <= p[:, None] + 1.0), axis=-1) @ X",
        "GAB0401",
        "`softmax` reads the position ahead: its mask keeps s <= t + 1",
    ),
    "attention without a mask": Port(
        SCORES + "return softmax(s, axis=-1) @ X",
        "GAB0401",
        "`softmax` over the time axis reads every position",
    ),
    "a chunk's summary without the shift": Port(
        "x = blocks(X, 4)\nreturn unblocks(x + sum(x, axis=2, keep=true))",
        "GAB0401",
        "`sum` over the axis `4` of a block reads up to 3 positions ahead",
    ),
    "summaries of blocks up to the own one": Port(
        "x = blocks(X, 4)\n"
        "n = blocks(positions(), 4)[:, 0]\n"
        's = einsum("n m, b m d -> b n d", float(n[:, None] >= n[None, :]), sum(x, axis=2))\n'
        "return unblocks(x + s[:, :, None])",
        "GAB0401",
        "`sum` over the axis `4` of a block reads up to 3 positions ahead",
    ),
    "pooling that looks ahead by one": Port(
        "x = blocks(X, 2)\nreturn unblocks(0.5 * x + 0.5 * x[:, :, -1:])",
        "GAB0401",
        "`x[:, :, -1:]` reads the position ahead",
    ),
    "experts choose their tokens": Port(
        "m = topk_mask(mean(X, axis=-1), 3, axis=1)\nreturn X * float(m)[:, :, None]",
        "GAB0401",
        "`topk_mask` over the time axis reads every position",
    ),
    "BatchNorm": Port(
        "m = mean(mean(X, axis=0), axis=0)\nreturn X - m",
        "GAB0403",
        "`mean` over the batch axis mixes the rows of the batch",
    ),
    "a sum of ones over the length": Port(
        "n = sum(ones(L), axis=0)\nreturn X / n",
        "GAB0402",
        "`sum` over the time axis depends on how long the sequence is",
    ),
    "positions from the end": Port(
        "left = sum(X, axis=1, keep=true) - cumsum(X)\nreturn X + left",
        "GAB0401",
        "`sum` over the time axis reads every position",
    ),
    "a chunked scan that reads its state after the update": Port(
        "return scan(X) chunk 4 {\n    state S: [B, D] = 0.0\n    S = S + sum(X, axis=1)\n"
        "    return X + S[:, None]\n}",
        "GAB0401",
        "what this `scan` returns depends on positions up to 3 ahead",
    ),
    "a product with zero masks what overflows": Port(
        POSITIONS
        + 's = einsum("b l d, b m d -> b l m", X, X)\n'
        + "w = float(p[:, None] >= p[None, :]) * exp(s)\n"
        + "return w @ X / (p + 1.0)[:, None]",
        "GAB0401",
        "`float(p[:, None] >= p[None, :]) * exp(s)` masks by a product what may be infinite",
    ),
    "an attention capture one ahead": Port(
        "x = X[:, :, None]\ng = mean(X, axis=-1)\n"
        "y = attend(x, x, x) {\n    score = score + g[b, j + 1]\n}\nreturn y[:, :, 0]",
        "GAB0401",
        "`g[b, j + 1]` reads the position ahead",
    ),
    "an attention capture that the softmax cancels": Port(
        "x = X[:, :, None]\ng = mean(X, axis=-1)\n"
        "y = attend(x, x, x) {\n    score = score + g[b, i + 1]\n}\nreturn y[:, :, 0]",
        "GAB0405",
        "`g[b, i + 1]` reads the position ahead",
        shown=False,
    ),
    "a large number as a mask": Port(
        POSITIONS
        + SCORES
        + "s = s + where(p[:, None] >= p[None, :], 0.0, -1e9)\nreturn softmax(s, axis=-1) @ X",
        "GAB0405",
        "an added number is no mask",
        shown=False,
    ),
    "a count of steps summed up": Port(
        "n = scan(X) {\n    state n: [B] = 0.0\n    n = n + 1.0\n    return n\n}\n"
        "return X / sum(n, axis=1, keep=true)[:, :, None]",
        "GAB0402",
        "`sum` over the time axis depends on how long the sequence is",
    ),
    "the padding of the last block": Port(
        "x = blocks(X, 4)\nreturn unblocks(x - mean(exp(x), axis=2, keep=true))",
        "GAB0401",
        "`mean` over the axis `4` of a block reads up to 3 positions ahead",
    ),
}


def _diagnostic(proofs: Proofs) -> Diagnostic:
    return proofs.diagnostics[0]


@pytest.mark.parametrize("name", PORTS)
def test_ports_are_refused(name: str) -> None:
    port = PORTS[name]
    stack = block(port.body, port.members)
    found = prove(stack)
    assert any(p.verdict is Verdict.REFUTED for p in (found.causality, found.length, found.batch))
    confirmed = confirm(found, stack, lengths=LENGTHS)
    diagnostic = _diagnostic(confirmed)
    assert diagnostic.code == port.code
    assert port.message in diagnostic.message
    assert diagnostic.help
    if port.shown:
        witnesses = [confirmed.causality, confirmed.length, confirmed.batch]
        assert any(p.witness is not None for p in witnesses), "no run shows the leak"


def test_ports_differ() -> None:
    """Each fault is told apart by its message or its place."""
    told = {(_diagnostic(prove(block(p.body, p.members))).message, p.body) for p in PORTS.values()}
    assert len(told) == len(PORTS)


UNWRITABLE = {
    "a position divided by L - 1": (
        "return X * (positions() / (L - 1))[:, None]",
        "GAB0207",
        "`L` is a size, never a number",
    ),
    "a shift into the future": ("return shift(X, -1)", "GAB0210", "would read the future"),
    "the last position": ("return X + X[:, -1][:, None]", "GAB0210", "can only be kept whole"),
    "a row of the batch": ("return X + X[0]", "GAB0210", "can only be kept whole"),
    "reversed positions": ("return flip(X, axis=1)", "GAB0101", "no function or unit `flip`"),
    "a rolled sequence": ("return roll(X, 1)", "GAB0101", "no function or unit `roll`"),
    "an FFT over the sequence": ("return fft(X, axis=1)", "GAB0101", "no function or unit `fft`"),
    "a step counter": (
        "state n: [B] = 0.0\nn = n + 1.0\nreturn X * n[:, None, None]",
        "GAB0115",
        "a `state` belongs inside `scan`",
    ),
    "a gather along time": (
        "i = int(X)\nreturn gather(X, i, axis=1)",
        "GAB0204",
        "cannot read along the time axis",
    ),
    "the future of a scan's argument": (
        "g = sigmoid(X)\nreturn scan(x=X) {\n    state S: [B, D] = 0.0\n"
        "    S = S + sum(g, axis=1) * x\n    return S\n}",
        "GAB0115",
        "has a time axis and cannot be captured",
    ),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written(name: str) -> None:
    body, code, message = UNWRITABLE[name]
    source = Source("design.gab", design(body))
    report = check(source, scales=(parse_scale("16x2"),))
    found = [d for d in report.diagnostics if d.code == code and message in d.message]
    assert found, [(d.code, d.message) for d in report.diagnostics]


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
    assert not found.diagnostics
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


def _seconds(stack: Stack) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        prove(stack)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.gab")), ids=lambda path: path.stem)
def test_proving_is_fast(path: Path) -> None:
    assert _seconds(stack_of(path.read_text(encoding="utf-8"), "14M", path.name)) < 0.025


def test_cost_is_linear_in_the_number_of_units() -> None:
    def stack(count: int) -> Stack:
        members = "\n".join(f"    c{i} = Conv(kernel={i + 2})" for i in range(count))
        calls = "\n".join(f"X = X + c{i}(X)" for i in range(count))
        text = design(f"{calls}\nreturn X", members) + (
            "unit Conv(kernel: int) {\n    param w: [D, kernel] = normal()\n"
            "    forward(X) {\n        return tanh(causal_conv(X, w))\n    }\n}\n"
        )
        return stack_of(text, "16x1")

    few, many = _seconds(stack(25)), _seconds(stack(200))
    assert many < 3 * 8 * few, f"25 units {few:.4f} s, 200 units {many:.4f} s"


# ---------------------------------------------------------------- dims that the call binds

CHILDREN = {
    "a number": ("return x / N", Verdict.PROVED, Verdict.REFUTED),
    "the last position": ("return x - x[:, -1:]", Verdict.REFUTED, Verdict.REFUTED),
    "the first position": ("return x - x[:, :1]", Verdict.PROVED, Verdict.PROVED),
    "a cut": (
        "a, b = split(x, sizes=[1, N - 1], axis=1)\n        return concat([b, a], axis=1)",
        Verdict.REFUTED,
        Verdict.REFUTED,
    ),
    "a mean": ("return x - mean(x, axis=1, keep=true)", Verdict.REFUTED, Verdict.REFUTED),
    "a count": ("return x * cos(arange(N))[:, None]", Verdict.PROVED, Verdict.PROVED),
    "a share": ("return x * (arange(N) / N)[:, None]", Verdict.PROVED, Verdict.REFUTED),
    "a gather": ("return gather(x, int(x), axis=1)", Verdict.UNKNOWN, Verdict.UNKNOWN),
    "the identity": ("return eye(N) @ x", Verdict.PROVED, Verdict.PROVED),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_time_under_another_name(name: str) -> None:
    """A child sees the time axis as `N`: what would be refused of `L` must be proved or refuted."""
    body, causality, length = CHILDREN[name]
    text = design("return 0.5 * X + c(X)", "    c = Child()")
    text += f"unit Child() {{\n    forward(x: [B, N, D]) {{\n        {body}\n    }}\n}}\n"
    stack = stack_of(text)
    proofs = prove(stack)
    assert (proofs.causality.verdict, proofs.length.verdict) == (causality, length)
    oracle = Oracle(stack)
    if causality is Verdict.PROVED:
        assert oracle.future(LENGTHS) is None
    if length is Verdict.PROVED:
        assert oracle.prefix(LENGTHS) is None


@pytest.mark.parametrize("seed", range(20))
def test_random_causal_designs_are_proved(seed: int) -> None:
    """Those of the back ends' generator, which writes nothing that leaks."""
    program = generate(seed)
    proofs = prove(stack_of(program.text, f"{program.width}x{program.layers}"))
    assert proofs.are_proved, proofs.diagnostics


def test_rows_under_another_name() -> None:
    text = design("return X + c(X)", "    c = Child()")
    text += "unit Child() {\n    forward(x: [M, L, D]) {\n        return x - x[:1]\n    }\n}\n"
    proofs = prove(stack_of(text))
    assert proofs.batch.verdict is Verdict.REFUTED
    assert _diagnostic(proofs).message == "`x[:1]` reads another row of the batch"


# ---------------------------------------------------------------- the rules of the primitives

ELEMENT_BY_ELEMENT = {
    "normal",
    "uniform",
    "kaiming",
    "xavier",
    "trunc_normal",
    "orthogonal",
    "spread",
}
"""Primitives that take the default rule: those of initialisers, which see no positions."""


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


# ---------------------------------------------------------------- attacks on the rules


def test_the_index_of_a_filled_block_is_no_position() -> None:
    """The last block is filled with zeros: place c of a block of positions is n C + c or 0."""
    body = (
        "x = blocks(X, 4)\nn = blocks(positions(), 4)[:, 3]\n"
        's = einsum("n m, b m d -> b n d", float(n[:, None] > n[None, :]), sum(x, axis=2))\n'
        "return unblocks(x + s[:, :, None])"
    )
    assert proofs_of(body).causality.verdict is not Verdict.PROVED


def test_padding_of_a_chunk_is_no_position() -> None:
    """The last chunk is filled with copies: a mask of positions passed to it keeps them, too."""
    body = (
        "return scan(x=X, p=positions()[None, :] * ones(B, L)) chunk 4 {\n"
        "    state S: [B, D] = 0.0\n    before = S\n    S = S + sum(x, axis=1)\n"
        '    s = x @ rearrange(x, "b c d -> b d c")\n'
        "    a = softmax(masked(s, p[:, :, None] >= p[:, None]), axis=-1)\n"
        "    return before[:, None] + a @ x\n}"
    )
    assert proofs_of(body).causality.verdict is not Verdict.PROVED


def test_shifted_ones_still_count() -> None:
    """What stands at index m + 1 exists only if the sequence is that long, whatever its value."""
    body = (
        "p = positions()\nnear = float(p[:, None] + 1.0 >= p[None, :])\n"
        "n = sum(shift(ones(L), 1)[None, :] * near, axis=1)\nreturn X * n[:, None]"
    )
    stack = block(body)
    assert prove(stack).length.verdict is Verdict.REFUTED
    assert Oracle(stack).prefix((7,)) is not None


def test_a_long_chain_of_states_is_followed_to_its_end() -> None:
    states = [f"    state s{i}: [B, D] = 0.0" for i in range(12)]
    moves = [f"    s{i} = s{i - 1}" for i in range(11, 0, -1)]
    lines = [*states, *moves, "    s0 = x", "    return s11"]
    proofs = proofs_of("return scan(x=X) {\n" + "\n".join(lines) + "\n}", scale="16x1")
    assert proofs.are_proved
    assert proofs.receptive_field[1].value == -11


def test_rounding_does_not_shift_a_bound() -> None:
    """0.7 * 3 is less than 2.1 in floating point: the comparison holds three ahead."""
    body = (
        POSITIONS
        + SCORES
        + (
            "keep = 0.7 * p[None, :] - 0.7 * p[:, None] < 2.1 - 2.1\n"
            "return softmax(masked(s, keep), axis=-1) @ X"
        )
    )
    strict = proofs_of(body)
    assert strict.causality.verdict is Verdict.PROVED
    body = body.replace("2.1 - 2.1", "0.7")
    assert proofs_of(body).causality.verdict is Verdict.REFUTED
