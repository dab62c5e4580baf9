"""Scales, exact parameter counts without torch, and fitting a design to a reference size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import gabc
from gabc.check.report import check
from gabc.elaborate.scales import SCALES, ScaleError, parse_scale
from gabc.graph.instance import Scale, Stack
from gabc.runtime.inspect import count_parameters, inspect
from gabc.runtime.scale_fit import TOLERANCE, FitError, fit_scale
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).parent.parent / "examples"
SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
REFERENCES = [name for name, scale in SCALES.items() if scale.reference_params is not None]

# genesys.md: parameters per block at D = 128, 256, 512, 768 (TTT as far as the original runs).
PER_BLOCK = {
    "gpt2": (213_760, 853_504, 3_214_336, 7_082_496),
    "mamba2": (236_556, 865_816, 3_307_056, 7_325_256),
    "retnet": (229_664, 918_080, 3_277_952, 7_079_616),
    "rwkv6": (232_000, 676_992, 2_205_952, 4_586_880),
    "ttt": (194_708, 774_420),
}


def text_of(name: str) -> str:
    return (EXAMPLES / f"{name}.gab").read_text(encoding="utf-8")


def stack_at(text: str) -> Callable[[Scale], Stack | None]:
    source = Source("design.gab", text)
    return lambda scale: check(source, scales=[scale]).stacks.get(scale.name)


def stack(text: str, scale: str) -> Stack:
    found = stack_at(text)(parse_scale(scale))
    assert found is not None
    return found


# ---------------------------------------------------------------- scales


def test_names() -> None:
    assert parse_scale("1.3B") == parse_scale("1300M")
    assert parse_scale("14M").reference_params == 5_280_384
    custom = parse_scale("96x3")
    assert (custom.D, custom.n_layers, custom.reference_params) == (96, 3, None)


@pytest.mark.parametrize("name", ["", "14", "64x", "x2", "64x2x2", "0x2", "64x0", "-64x2", "²x2"])
def test_no_such_scale(name: str) -> None:
    with pytest.raises(ScaleError):
        parse_scale(name)


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("name", SEEDS)
def test_parameters_per_block(name: str) -> None:
    for scale, expected in zip(("14M", "31M", "70M", "125M"), PER_BLOCK[name], strict=False):
        count = count_parameters(stack(text_of(name), scale), 32_000)
        assert count.per_block == (expected,) * SCALES[scale].n_layers
        assert count.embedding == 32_000 * SCALES[scale].D


COUNTED = {
    "array and unequal layers": """
gab A
unit Expert(width: int) {
    w = Linear(D, width)
    v = Linear(width, D, bias=false)
    param gain: [D] = ones()
    buffer half: [D] = 0.5
    forward(X) { return v(silu(w(X))) * gain * half }
}
unit A() {
    experts = [Expert(width=8), Expert(width=8), Expert(width=24)]
    if layer == 2 { extra = Linear(D, D) }
    forward(X) {
        for e in experts { X = X + e(X) }
        if layer == 2 { X = X + extra(X) }
        return X
    }
}
""",
    "shared child and untied head": """
gab A with tie=false
unit Inner() {
    w = Linear(D, D)
    forward(X) { return w(X) }
}
unit A() {
    shared inner = Inner()
    own = Linear(D, D)
    forward(X) { return X + inner(own(X)) }
}
""",
    "slot": """
gab A
from std.norm import RMSNorm
unit PreNorm(mixer: unit) {
    norm = RMSNorm()
    forward(X) { return X + mixer(norm(X)) }
}
unit Mixer(width: int = 12) {
    w = Linear(D, width)
    v = Linear(width, D)
    forward(X) { return v(w(X)) }
}
unit A() {
    block = PreNorm(mixer=Mixer(width=20))
    forward(X) { return block(X) }
}
""",
}


@pytest.mark.parametrize("name", COUNTED)
def test_count_is_what_torch_counts(name: str) -> None:
    """The count from the elaborated tree against that of the module that is built from it."""
    from gabc.runtime.model import build

    design = stack(COUNTED[name], "16x4")
    counted = count_parameters(design, 40)
    model = build(design, vocab_size=40)
    assert counted.total == sum(parameter.numel() for parameter in model.parameters())
    blocks = model.get_submodule("blocks")
    per_block = [
        sum(parameter.numel() for parameter in block.parameters()) for block in blocks.children()
    ]
    assert list(counted.per_block) == per_block


def test_equal_neighbours_are_one_entry_of_the_tree() -> None:
    tree = inspect(stack(COUNTED["array and unequal layers"], "16x4"), 40).tree
    blocks = [(child.name, child.copies) for child in tree.children if "blocks" in child.name]
    assert blocks == [("blocks.0-1", 2), ("blocks.2", 1), ("blocks.3", 1)]
    experts = [(child.name, child.copies) for child in tree.children[1].children]
    assert experts == [("experts.0-1", 2), ("experts.2", 1)]


# ---------------------------------------------------------------- fitting


@pytest.mark.parametrize("scale", REFERENCES)
@pytest.mark.parametrize("name", SEEDS)
def test_every_seed_fits_every_reference(name: str, scale: str) -> None:
    asked = SCALES[scale]
    found = fit_scale(stack_at(text_of(name)), asked)
    fitted = stack(text_of(name), f"{found.scale.D}x{found.scale.n_layers}")
    total = count_parameters(fitted, 32_000).total
    assert total == found.parameters
    assert asked.reference_params is not None
    assert abs(total - asked.reference_params) <= TOLERANCE * asked.reference_params
    assert found.scale.learning_rate == asked.learning_rate


def test_what_is_near_enough_stays() -> None:
    found = fit_scale(stack_at(text_of("gpt2")), SCALES["14M"])
    assert found.scale is SCALES["14M"]
    assert "nothing changed" in str(found)


def test_depth_before_width() -> None:
    found = fit_scale(stack_at(text_of("mamba2")), SCALES["14M"])
    assert (found.scale.D, found.scale.n_layers) == (128, 5)
    assert str(found).startswith("fitted to 14M: 5 blocks in place of 6; 5,278,908 parameters")


def test_widths_at_which_the_design_is_ill_formed_are_passed_over() -> None:
    text = """
gab Wide
unit Wide() {
    require D % 96 == 0
    up = Linear(D, 4 * D)
    down = Linear(4 * D, D)
    forward(X) { return X + down(silu(up(X))) }
}
"""
    found = fit_scale(stack_at(text), SCALES["31M"])
    assert found.scale.D % 96 == 0
    assert abs(found.deviation) <= TOLERANCE


def test_layers_that_differ_are_counted() -> None:
    text = """
gab Tapered
unit Tapered() {
    w = Linear(D, D * (layer + 1))
    v = Linear(D * (layer + 1), D)
    forward(X) { return X + v(silu(w(X))) }
}
"""
    found = fit_scale(stack_at(text), SCALES["70M"])
    assert abs(found.deviation) <= TOLERANCE
    fitted = stack(text, f"{found.scale.D}x{found.scale.n_layers}")
    assert count_parameters(fitted, 32_000).total == found.parameters


def test_nothing_fits() -> None:
    text = """
gab Huge
unit Huge() {
    up = Linear(D, 4096 * D)
    down = Linear(4096 * D, D)
    forward(X) { return X + down(up(X)) }
}
"""
    with pytest.raises(FitError, match="the closest is"):
        fit_scale(stack_at(text), SCALES["14M"])
    with pytest.raises(FitError, match="no reference size"):
        fit_scale(stack_at(text), SCALES["13B"])


def test_compile_with_fit() -> None:
    compiled = gabc.compile(text_of("rwkv6"), scale="31M", fit=True)
    assert compiled.fit is not None
    assert compiled.stack is not None
    assert compiled.stack.scale.n_layers == 7
    assert compiled.text is not None
    assert "n_layers: int = 7" in compiled.text
