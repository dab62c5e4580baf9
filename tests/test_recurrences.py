"""Recurrences: the class of each, and that its parallel form is the loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from decode.compare import assert_equals_whole
from designs import example
from generator.blocks import block_nodes, compiled, interpreted, leaves_of
from generator.compare import differences
from generator.recurrent_designs import DESIGNS, WIDTH
from measured_cost import VOCAB, measure

from gabc.check.cost import cost, value_at
from gabc.check.report import check
from gabc.cli.main import main
from gabc.cli.show_recurrences import NOTHING
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.ops.verify import verify
from gabc.passes import optimise
from gabc.passes.recurrences import parallelise
from gabc.recurrences.classify import classify
from gabc.recurrences.facts import Remedy
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).parents[1] / "examples"
LOOPS = [name for name, design in DESIGNS.items() if design.reason]
PARALLEL = [name for name in DESIGNS if name not in LOOPS]


def stack_of(name: str) -> Stack:
    scale = parse_scale(f"{WIDTH}x1")
    report = check(Source("step.gab", DESIGNS[name].text), scales=(scale,))
    assert report.ok, [d.message for d in report.diagnostics]
    return report.stacks[scale.name]


@pytest.mark.parametrize("name", DESIGNS)
def test_class(name: str) -> None:
    design = DESIGNS[name]
    (facts,) = classify(stack_of(name))
    kinds = tuple(state.kind.value for state in facts.states)
    if design.reason:
        assert not facts.is_parallel
        assert design.reason in facts.reason
        assert facts.remedy
        assert facts.reason_span is not None
        assert facts.launches > 0
        return
    assert kinds == design.classes, facts
    if design.decays:
        assert tuple(state.decay for state in facts.states) == design.decays
    assert facts.is_parallel


@pytest.mark.parametrize("name", ["h", "matrix_called", "decay_of_each_other"])
def test_the_remedy_does_not_depend_on_names(name: str) -> None:
    text = DESIGNS["summed over an axis whose size has no name"].text
    body = f"    state {name}: [B, D] = 0.0\n    {name} = tanh({name}) + x\n    return {name}\n"
    start = text.index("    state h")
    end = text.index("        }", start)
    scale = parse_scale(f"{WIDTH}x1")
    report = check(Source("step.gab", text[:start] + body + text[end:]), scales=(scale,))
    assert report.ok, [d.message for d in report.diagnostics]
    (facts,) = classify(report.stacks[scale.name])
    assert facts.remedy == Remedy.LINEAR


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_form_is_the_loop(name: str) -> None:
    stack = stack_of(name)
    parallel = parallelise(stack)
    assert all(node.op != "scan" for node in block_nodes(parallel))
    for length in (1, 7, 65):
        state = leaves_of(stack, length)
        loop = interpreted(stack, state)
        assert not differences(loop, interpreted(parallel, state)), "reference"
        assert not differences(loop, compiled(parallel, state)), "module"


@pytest.mark.parametrize("name", LOOPS)
def test_loops_stay(name: str) -> None:
    stack = stack_of(name)
    parallel = parallelise(stack)
    assert [node.op for node in block_nodes(parallel)].count("scan") == 1
    state = leaves_of(stack, 5)
    assert not differences(interpreted(stack, state), compiled(parallel, state))


# ---------------------------------------------------------------- what is said of them


LIBRARY = {
    "from std.linear_attention import GatedLinearAttention": ("decayed outer product",),
    "from std.delta import DeltaNet": ("delta rule",),
    "from std.delta import GatedDeltaNet": ("delta rule",),
    "from std.delta import KimiDeltaAttention": ("delta rule",),
    "from std.delta import GatedDeltaProduct": ("delta product",),
    "from std.rwkv import RWKV4TimeMix": ("max-plus", "elementwise", "elementwise"),
    "from std.rwkv import RWKV7TimeMix": ("delta rule",),
    "from std.recurrent import LRU": ("elementwise", "elementwise"),
    "from std.recurrent import RGLRU": ("elementwise",),
    "from std.ssm import MambaMixer": ("elementwise",),
    "from std.ssm import S4D": ("elementwise", "elementwise"),
    "from std.xlstm import MLSTM": ("max-plus", "decayed outer product", "elementwise"),
    "from std.xlstm import SLSTM": ("sequential",) * 4,
}


@pytest.mark.parametrize("line", LIBRARY)
def test_library(line: str) -> None:
    unit = line.split()[-1]
    text = f"gab Root\n{line}\nunit Root() {{ mix = {unit}() forward(X) {{ return X + mix(X) }} }}"
    report = check(Source("design.gab", text))
    (stack,) = report.stacks.values()
    found = classify(stack)
    kinds = {tuple(state.kind.value for state in facts.states) for facts in found}
    assert kinds == {LIBRARY[line]}
    warned = any(diagnostic.code == "GAB0720" for diagnostic in report.diagnostics)
    assert warned == any(not facts.is_parallel for facts in found)


@pytest.mark.parametrize("seed", ["gpt2", "mamba2", "retnet", "rwkv6", "ttt"])
def test_seeds_have_no_warning(seed: str) -> None:
    path = EXAMPLES / f"{seed}.gab"
    report = check(Source(str(path), path.read_text(encoding="utf-8")), folder=path.parent)
    assert not [d for d in report.diagnostics if d.code == "GAB0720"]


def test_warning_names_cost_and_place() -> None:
    design = DESIGNS["a tanh of the state"]
    found = check(Source("step.gab", design.text), scales=(parse_scale(f"{WIDTH}x2"),)).diagnostics
    (warning,) = [diagnostic for diagnostic in found if diagnostic.code == "GAB0720"]
    assert warning.span.text == "scan(x, z)"
    assert "4,096 operations in turn at L = 2048" in warning.message
    (related,) = warning.related
    assert related.span.text == "tanh(h + x)"


def test_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "step.gab"
    path.write_text(DESIGNS["a tanh of the state"].text, encoding="utf-8")
    main(["show", str(path), "--recurrences", "--scale", f"{WIDTH}x1", "--length", "100"])
    out = capsys.readouterr().out
    assert "h: sequential, 2 operations a step, 200 in turn at L = 100" in out
    assert "why: `tanh` of the state is not linear (step.gab:" in out
    path.write_text(DESIGNS["mlstm"].text, encoding="utf-8")
    main(["show", str(path), "--recurrences", "--json", "--scale", f"{WIDTH}x1"])
    (found,) = json.loads(capsys.readouterr().out)["recurrences"]
    assert found["parallel"]
    assert [state["class"] for state in found["states"]] == [*DESIGNS["mlstm"].classes]
    main(["show", str(EXAMPLES / "gpt2.gab"), "--recurrences"])
    assert capsys.readouterr().out.strip() == NOTHING


def test_show_counts_the_updates(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = EXAMPLES / "deltaproduct.gab"
    main(["show", str(path), "--recurrences"])
    assert "S: delta product, 2 updates one after another, one decay per head" in (
        capsys.readouterr().out
    )
    four = tmp_path / "four.gab"
    four.write_text(path.read_text(encoding="utf-8").replace("steps: int = 2", "steps: int = 4"))
    main(["show", str(four), "--recurrences", "--json"])
    (found,) = json.loads(capsys.readouterr().out)["recurrences"]
    assert [state["updates"] for state in found["states"]] == [4]


@pytest.mark.parametrize("length", [64, 100])
def test_cost_of_a_delta_product(length: int) -> None:
    """Its products are those of a delta rule over twice as many steps."""
    stack = optimise(example("deltaproduct", "64x1"))
    found, total = measure(stack, 2, length), cost(stack, vocab_size=VOCAB).total
    assert value_at(total.matmul, length, 2) == pytest.approx(found.forward, rel=0.03)
    training = value_at(total.matmul + total.matmul_backward, length, 2)
    assert training == pytest.approx(found.training, rel=0.03)


@pytest.mark.parametrize("name", ["deltaproduct, read before", "gated deltaproduct of six"])
def test_a_delta_product_is_one_call(name: str) -> None:
    parallel = parallelise(stack_of(name))
    (node,) = block_nodes(parallel, "delta_product")
    assert node.args["read_before"] == ("before" in name)
    for _, instance in parallel.blocks[0].walk():
        if instance.graph is not None:
            verify(instance.graph, instance)


OTHERWISE = """
gab Product

unit Product(heads: int = 2, steps: int = 3) {
    dim H = heads
    dim K = D / H
    w = Linear(D, steps * D)
    forward(X) {
        k = rearrange(w(X), "b l (n h k) -> b l n h k", n=steps, k=K)
        o = scan(k) {
            state S: [B, H, K, K] = 0.0
            for j in range(steps) {
                old = einsum("b h k, b h k v -> b h v", k[:, j], S)
                S = einsum("b h k, b h v -> b h k v", k[:, j], k[:, 0] - old) + S
            }
            return einsum("b h k, b h k v -> b h v", k[:, 1], S)
        }
        return X + rearrange(o, "b l h v -> b l (h v)")
    }
}
"""
"""The states between the updates are [B, D / K, K, K], which equals the state's type."""


def test_a_delta_product_whose_sizes_are_written_otherwise() -> None:
    scale = parse_scale(f"{WIDTH}x1")
    stack = check(Source("step.gab", OTHERWISE), scales=(scale,)).stacks[scale.name]
    parallel = parallelise(stack)
    assert block_nodes(parallel, "delta_product")
    state = leaves_of(stack, 9)
    loop = interpreted(stack, state)
    assert not differences(loop, interpreted(parallel, state))
    assert not differences(loop, compiled(parallel, state))


@pytest.mark.parametrize("name", [name for name in PARALLEL if "deltaproduct" in name])
def test_a_delta_product_decodes(name: str) -> None:
    stack = stack_of(name)
    assert_equals_whole(stack, optimise(stack))


def test_a_state_too_large_to_keep_stays_a_loop() -> None:
    """Its decay may be negative, and the states of all positions would be 64 times the scores."""
    text = DESIGNS["a matrix whose decay may be negative"].text
    large = text.replace("dim K = 3", "dim K = 512").replace("dim V = 4", "dim V = 512")
    scale = parse_scale(f"{WIDTH}x1")
    (facts,) = classify(check(Source("step.gab", large), scales=(scale,)).stacks[scale.name])
    assert not facts.is_parallel
    assert "its decay may be zero or negative" in facts.reason
    assert "524,288 elements are too many" in facts.reason
