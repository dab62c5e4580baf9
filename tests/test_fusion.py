"""Groups of pointwise operations: what is fused, what not and why, and that the meaning stays.

On a CPU a fused module runs the plain form of each group, forward and backward; the backward was
derived by the compiler, so its gradients are compared with those that torch finds for the module
that is not fused. The Triton form is tested in `kernels/test_generated.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from designs import EXAMPLES, example, stack_of
from generator.compare import differences, drawn_state, run_compiled, run_reference, tokens_of
from generator.examine import VOCAB, is_discontinuous
from generator.examine import stack_of as program_stack
from generator.program import generate

from gabc.cli.main import main
from gabc.codegen.emit import emit, is_fused
from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.passes.fusion import Fusion, fuse, fusions
from gabc.runtime.load import load
from gabc.runtime.model import build

pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

GOLDEN = Path(__file__).parent / "golden"
ALL = sorted(path.stem for path in EXAMPLES.glob("*.gab"))
QUICK = ("gpt2", "rwkv6")


def fused_difference(stack: Stack, seed: int, length: int) -> list[str]:
    """How outputs and gradients of a fused module differ from those of the plain one."""
    stack = optimise(stack)
    fused = fuse(stack)
    if not is_fused(fused):
        return []
    plain, model = (
        load(emit(form, standalone=False, vocab_size=VOCAB))(vocab_size=VOCAB, seed=0).eval()
        for form in (stack, fused)
    )
    state, tokens = drawn_state(plain, seed), tokens_of(length, VOCAB)
    return differences(run_compiled(plain, state, tokens), run_compiled(model, state, tokens))


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ALL]
)
def test_examples_compute_what_they_did(name: str) -> None:
    assert fused_difference(example(name), 0, 7) == []


def fault_of(seed: int) -> list[str]:
    stack = program_stack(generate(seed))
    assert not isinstance(stack, list), stack
    length = (1, 2, 3, 7)[seed % 4]
    found = fused_difference(stack, seed, length)
    if not found:
        return []
    state = drawn_state(build(stack, vocab_size=VOCAB), seed)
    tokens = tokens_of(length, VOCAB)
    expected = run_reference(stack, state, tokens)
    return [] if is_discontinuous(stack, expected, state, tokens) else found


@pytest.mark.parametrize("seed", [2, 3, 8, 9, 12, 27, 108, 122])
def test_generated_programs_compute_what_they_did(seed: int) -> None:
    assert fault_of(seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 220, 40))
def test_many_generated_programs_compute_what_they_did(first: int) -> None:
    faults = {seed: fault for seed in range(first, first + 40) if (fault := fault_of(seed))}
    assert faults == {}


# ------------------------------------------------------------------------------ what is fused


def fusion_in(text: str, unit: str = "Root") -> Fusion:
    found = dict(fusions(optimise(stack_of(text))))
    return found[unit]


def operations(fusion: Fusion) -> list[str]:
    return [" ".join(node.op for node in group.nodes) for group in fusion.groups]


def unit(body: str, members: str = "") -> str:
    return f"gab Root\nunit Root() {{\n{members}\nforward(X) {{\n{body}\n}}\n}}\n"


def test_a_chain_is_one_group_and_is_named_after_unit_and_line() -> None:
    fusion = fusion_in(unit("y = tanh(X) * X\nreturn exp(-y)"))
    assert operations(fusion) == ["tanh mul neg exp"]
    assert [group.name for group in fusion.groups] == ["root_6"]
    assert fusion.groups[0].traffic.launches == 4


def test_bytes_are_those_of_operands_and_results() -> None:
    """At D = 16, 2 bytes: tanh reads 1 and writes 1, mul reads 2 and writes 1; fused 1 and 1."""
    (group,) = fusion_in(unit("return tanh(X) * X")).groups
    assert (group.traffic.before, group.traffic.after) == (5 * 32, 2 * 32)


def test_operations_beside_each_other_share_their_operand() -> None:
    """Two chains from one operand to two calls."""
    fusion = fusion_in(
        unit("return a(sin(X) * 2.0) + b(cos(X) * 3.0)", "a = Linear(D, D)\nb = Linear(D, D)")
    )
    assert operations(fusion) == ["sin mul cos mul"]


def test_rows_of_two_sizes_are_two_groups() -> None:
    """What is summed over K may scale rows of V: one kernel has rows of one width."""
    found = dict(fusions(optimise(example("rwkv6"))))
    assert operations(found["RWKV6TimeMix"]) == ["exp neg", "mul mul sum", "mul add", "silu mul"]


@pytest.mark.parametrize(
    ("body", "members", "reason"),
    [
        ("return X + w(tanh(X))", "w = Linear(D, D)", "alone: beside it w (a call of a unit)"),
        (
            "y = tanh(X)\nz = shift(y, 1)\nreturn y * z",
            "",
            "what lies between needs a part of it first",
        ),
        (
            "n = softmax(X, axis=-1)\nreturn softmax(n, axis=-1)",
            "",
            "a second row reduction",
        ),
    ],
)
def test_what_is_not_fused_says_why(body: str, members: str, reason: str) -> None:
    fusion = fusion_in(unit(body, members))
    assert any(reason in unfused.reason for unfused in fusion.unfused), [
        (unfused.node.op, unfused.reason) for unfused in fusion.unfused
    ]


def test_a_dead_operation_keeps_nothing_alive() -> None:
    fusion = fusion_in(unit("y = tanh(X)\nz = softmax(y, axis=-1)\nreturn y * 2.0"))
    assert operations(fusion) == ["tanh mul"]


def test_what_detach_cuts_off_has_a_gradient_of_zero() -> None:
    text = unit("y = detach(sin(X)) * 2.0\nz = tanh(shift(y, 1)) * 3.0\nreturn X * z")
    assert fused_difference(stack_of(text), 0, 5) == []


# ------------------------------------------------------------------------------ text


def kernels_of(name: str, scale: str = "14M") -> str:
    return emit(fuse(optimise(example(name, scale))), standalone=False).kernels


def test_kernels_of_gpt2_word_for_word(update_golden: bool) -> None:
    path = GOLDEN / "gpt2_kernels.py"
    text = kernels_of("gpt2")
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_text_is_as_ruff_formats_it(tmp_path: Path) -> None:
    for name in ("gpt2", "rwkv6", "ngpt", "jamba", "gla"):
        module = emit(fuse(optimise(example(name))), standalone=False)
        (tmp_path / f"{name}.py").write_text(module.text, encoding="utf-8")
        (tmp_path / f"{name}_kernels.py").write_text(module.kernels, encoding="utf-8")
    for command in (
        ["format", "--diff", "--isolated", "--line-length", "100", "."],
        ["check", "--isolated", "--select", "F,E7,E9,B006,B018,B020", "."],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[:4000]


@pytest.mark.slow
def test_text_does_not_depend_on_hashing() -> None:
    script = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]);"
        "from test_fusion import kernels_of;"
        "print(hashlib.sha256(kernels_of('rwkv6').encode()).hexdigest())"
    )
    own = os.environ.get("PYTHONHASHSEED")
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": "4321" if own == "1234" else "1234"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(kernels_of("rwkv6").encode()).hexdigest()


# ------------------------------------------------------------------------------ commands


def test_show_fusion(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    monkeypatch.chdir(EXAMPLES)
    assert main(["show", "--fusion", "rwkv6.gab"]) == 0
    text = capsys.readouterr().out
    path = GOLDEN / "rwkv6_fusion.txt"
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_show_fusion_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--fusion", "--json", str(EXAMPLES / "gpt2.gab")]) == 0
    found = {entry["unit"]: entry for entry in json.loads(capsys.readouterr().out)["fusion"]}
    (group,) = found["GatedMLP"]["groups"]
    assert group["operations"] == ["silu", "mul"]
    assert group["bytes_per_token"] < group["bytes_per_token_unfused"]


def test_a_design_without_pointwise_operations(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    design = tmp_path / "plain.gab"
    design.write_text(unit("return w(X)", "w = Linear(D, D)"), encoding="utf-8")
    assert main(["show", "--fusion", str(design)]) == 0
    assert capsys.readouterr().out.startswith("nothing to fuse")


@pytest.mark.slow
def test_compile_writes_the_kernels_beside_the_module(tmp_path: Path) -> None:
    design = str(EXAMPLES / "gpt2.gab")
    arguments = ["compile", design, "-o", str(tmp_path), "--scale", "64x2", "--backend", "triton"]
    assert main(arguments) == 0
    script = (
        "import torch, gpt2; model = gpt2.GPT2(vocab_size=11);"
        "model(torch.tensor([[1, 2, 3]])).sum().backward();"
        "print(gpt2.kernels.gated_mlp_16)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "gabc_generated.gated_mlp_16_" in done.stdout

    kernels = tmp_path / "gpt2_kernels.py"
    kernels.write_text(kernels.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    assert main(arguments) == 2
    assert main([*arguments, "--force"]) == 0


def test_a_standalone_module_has_no_kernels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    design = str(EXAMPLES / "gpt2.gab")
    arguments = ["compile", design, "-o", str(tmp_path / "out"), "--backend"]
    assert main([*arguments, "triton", "--standalone"]) == 2
    assert "leave out one" in capsys.readouterr().err
    assert main([*arguments, "cuda"]) == 2
    assert "knows torch and triton" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
