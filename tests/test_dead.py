"""Dead parts by data flow, held against gradients (see `language/dead.md`).

What is called dead must have a gradient of exactly zero at every layer; in smooth designs all else
must have another one at some layer.
"""

from __future__ import annotations

import pytest
import torch
from designs import EXAMPLES, stack_of
from generator.compare import drawn_state, run_reference, tokens_of
from generator.examine import VOCAB
from generator.examine import stack_of as generated_stack
from generator.program import generate
from small_designs import DESIGNS

from gabc.check.dead import find_dead
from gabc.check.report import check
from gabc.graph.instance import Stack
from gabc.runtime.model import build
from gabc.syntax.source import Source

SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
CODES = ("GAB0307", "GAB0502", "GAB0504")

UNITS = {
    "attention": (
        "MultiHeadAttention(heads=4)",
        "MultiHeadAttention(heads=4, kv_heads=2, window=3)",
    ),
    "conv": ("ShortConv()",),
    "linear_attention": ("GatedLinearAttention(heads=4)",),
    "mlp": ("GatedMLP()", "MLP()"),
    "norm": ("RMSNorm()", "LayerNorm()"),
    "retention": ("MultiScaleRetention(heads=4)",),
    "rwkv": ("RWKV6TimeMix()", "RWKV6ChannelMix()"),
    "ssm": ("Mamba2Mixer()",),
    "ttt": ("TTTLinear()",),
}

PARTLY = """
gab Partly

unit Two() {
    kept = Linear(D, D)
    lost = Linear(D, D)
    param gain: [D] = ones()

    forward(X) {
        return kept(X) * gain, lost(X) * gain
    }
}

unit Partly() {
    reads memory: [B, L, D]?, seen: [B, L, D]?
    writes memory: [B, L, D], seen: [B, L, D]
    two   = Two()
    first = Linear(D, D)
    write = Linear(D, D)
    blind = Linear(D, D)
    param zero: [D] = ones()
    buffer none_: [D] = zeros()
    param a: [D] = ones()
    param b: [D] = ones()
    param c: [D] = ones()
    param s: [D] = ones()

    forward(X) {
        y, _ = two(X)
        last = Z.memory ?? first(X)
        Z.memory = write(last)
        _seen = Z.seen ?? X
        Z.seen = blind(X)
        h = scan(x=X) {
            state f: [B, D] = s
            state g: [B, D] = 0.0
            state i: [B, D] = 0.0
            f = 0.5 * f + g
            g = 0.5 * g + a * x
            i = 0.5 * i + b * x + f
            return f
        }
        X = X + y + last + h + zero * none_
        return X + c
    }
}
"""
DEAD = {"two.lost", "blind", "zero", "b"}


def parts(stack: Stack) -> set[str]:
    """The paths of the dead parts of a stack."""
    found = [d for d in find_dead(stack) if d.code == "GAB0502"]
    return {d.message.split("`")[1] for d in found}


def gradients(stack: Stack, seed: int = 0) -> dict[str, float]:
    """The largest gradient of each parameter, by its name in a block, over all blocks."""
    model = build(stack, vocab_size=VOCAB, seed=seed, optimised=False)
    trained = {name for name, _ in model.named_parameters()}
    run = run_reference(stack, drawn_state(model, seed), tokens_of(7, VOCAB))
    largest: dict[str, float] = {}
    for name, gradient in run.gradients.items():
        where, _, rest = name.partition(".")
        if name in trained and where == "blocks":
            path = rest.partition(".")[2]
            size = float(gradient.abs().max()) if gradient.numel() else 0.0
            largest[path] = max(largest.get(path, 0.0), size)
    return largest


def is_below(path: str, parts_: set[str]) -> bool:
    return any(path == part or path.startswith(f"{part}.") for part in parts_)


def test_dead_parts_are_those_without_a_gradient() -> None:
    stack = stack_of(PARTLY, "8x3")
    dead = parts(stack)
    assert dead == DEAD
    for path, largest in gradients(stack).items():
        assert (largest == 0.0) is is_below(path, dead), path


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_have_none(name: str) -> None:
    text = (EXAMPLES / f"{name}.gab").read_text(encoding="utf-8")
    found = check(Source(f"{name}.gab", text)).diagnostics
    assert not [d for d in found if d.code in CODES]


def library_design(module: str, constructor: str) -> str:
    name = constructor.partition("(")[0]
    return (
        f"gab Root\nfrom std.{module} import {name}\n"
        f"unit Root() {{ u = {constructor} forward(X) {{ return X + u(X) }} }}\n"
    )


@pytest.mark.parametrize(
    ("module", "constructor"), [(m, c) for m, constructors in UNITS.items() for c in constructors]
)
def test_the_library_has_none(module: str, constructor: str) -> None:
    stack = stack_of(library_design(module, constructor), "64x2")
    assert not find_dead(stack)
    assert all(largest > 0.0 for largest in gradients(stack).values())


@pytest.mark.parametrize("name", DESIGNS)
def test_small_designs_agree_with_gradients(name: str) -> None:
    stack = stack_of(DESIGNS[name], "16x2")
    dead = parts(stack)
    for path, largest in gradients(stack).items():
        if is_below(path, dead):
            assert largest == 0.0, path


@pytest.mark.parametrize("first", [0, pytest.param(100, marks=pytest.mark.slow)])
def test_random_programs_agree_with_gradients(first: int) -> None:
    """Nothing that has a gradient is called dead."""
    torch.manual_seed(0)
    compared = silent = 0
    for seed in range(first, first + (12 if first == 0 else 80)):
        stack = generated_stack(generate(seed))
        if not isinstance(stack, Stack):
            continue
        dead = parts(stack)
        for path, largest in gradients(stack, seed).items():
            compared += 1
            if is_below(path, dead):
                silent += 1
                assert largest == 0.0, (seed, path)
    assert compared > 50
    assert silent > 0, "no dead part was drawn: the comparison says nothing"


def test_text_and_flow_do_not_report_twice() -> None:
    text = """gab Root
unit Root() {
    lost = Linear(D, D)
    mix = Linear(D, D)
    forward(X) { return X + mix(X) }
}
"""
    found = [d for d in check(Source("design.gab", text)).diagnostics if d.code == "GAB0502"]
    assert [d.message for d in found] == ["the child `lost` is never used"]
