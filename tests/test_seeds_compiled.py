"""The five seeds: interpreter, generated module and independent references compute one function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from generator.compare import (
    Run,
    differences,
    differentiate,
    drawn_state,
    run_compiled,
    run_reference,
    tokens_of,
)
from seeds import (
    reference_gpt2,
    reference_mamba2,
    reference_retnet,
    reference_rwkv6,
    reference_ttt,
)
from seeds.plain import sample
from torch import Tensor, nn

from gabc.check.report import check
from gabc.codegen.emit import Module, emit
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.ops.verify import verify
from gabc.passes.recurrences import parallelise
from gabc.runtime.load import load
from gabc.runtime.reference import ReferenceModel
from gabc.syntax.source import Source

ROOT = Path(__file__).resolve().parents[1]
VOCAB = 50

SEEDS: Mapping[str, ModuleType] = {
    "gpt2": reference_gpt2,
    "mamba2": reference_mamba2,
    "retnet": reference_retnet,
    "rwkv6": reference_rwkv6,
    "ttt": reference_ttt,
}
RECURRENT = ("mamba2", "retnet", "rwkv6")
"""Those whose scan has a parallel form."""

WIDTHS = {name: 128 if name in ("mamba2", "ttt") else 64 for name in SEEDS}
QUICK, SLOW = (1, 5, 17), (2, 16, 33, 100)

each_seed = pytest.mark.parametrize("name", SEEDS)
each_length = pytest.mark.parametrize(
    "length", [*QUICK, *(pytest.param(length, marks=pytest.mark.slow) for length in SLOW)]
)
loop_and_parallel = pytest.mark.parametrize("parallel", [False, True], ids=["loop", "parallel"])


@cache
def stack_of(name: str, layers: int = 1, width: int | None = None) -> Stack:
    scale = parse_scale(f"{width or WIDTHS[name]}x{layers}")
    path = ROOT / "examples" / f"{name}.gab"
    report = check(Source(path.name, path.read_text(encoding="utf-8")), scales=(scale,))
    assert report.ok, [diagnostic.message for diagnostic in report.diagnostics]
    stack = report.stacks[scale.name]
    for block in stack.blocks:
        for _, instance in block.walk():
            if instance.graph is not None:
                verify(instance.graph, instance)
    return stack


@cache
def module_of(name: str, parallel: bool, *, standalone: bool = False, layers: int = 1) -> Module:
    stack = stack_of(name, layers)
    stack = parallelise(stack) if parallel else stack
    return emit(stack, standalone=standalone, vocab_size=VOCAB)


def model_of(name: str, parallel: bool, *, standalone: bool = False, layers: int = 1) -> nn.Module:
    model_class = load(module_of(name, parallel, standalone=standalone, layers=layers))
    return model_class(vocab_size=VOCAB, seed=0).double()


def block_state(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Random parameters of one block, at no special value; and the exact values of its buffers."""
    state = sample(SEEDS[name].shapes(WIDTHS[name]), seed, scale=0.2)
    if name == "ttt":  # below zero the scale is clamped and has no gradient
        state["ttt.step_scale"] = state["ttt.step_scale"].abs() + 0.1
    if name == "retnet":  # a buffer, which a module holds in float32; equation (8) of the paper
        state["retention.log_decay"] = torch.log(1 - torch.exp2(-5.0 - torch.arange(8.0).double()))
    return state


def block_input(name: str, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(2, length, WIDTHS[name], generator=generator, dtype=torch.float64)


def run_plain(name: str, state: Mapping[str, Tensor]) -> Run:
    """The independent reference; X stands among the parameters, so that its gradient is seen."""
    return differentiate(lambda leaves: {"X": SEEDS[name].block(leaves["X"], leaves)}, state)


def run_block_reference(stack: Stack, state: Mapping[str, Tensor]) -> Run:
    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        named = {f"blocks.0.{name}": tensor for name, tensor in leaves.items()}
        model = ReferenceModel(stack, {**named, "embedding.weight": leaves["X"]})
        return {"X": model.block(0, leaves["X"], {})[0]}

    return differentiate(forward, state)


def run_block_compiled(model: nn.Module, state: Mapping[str, Tensor]) -> Run:
    block = model.get_submodule("blocks.0")

    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        parameters = {name: tensor for name, tensor in leaves.items() if name != "X"}
        return {"X": torch.func.functional_call(block, parameters, (leaves["X"],), strict=True)}

    return differentiate(forward, state)


def parameters_only(run: Run, model: nn.Module) -> Run:
    """Without the gradients of buffers, which the independent references have as constants."""
    buffers = {name.removeprefix("blocks.0.") for name, _ in model.named_buffers()}
    return Run(run.outputs, {n: g for n, g in run.gradients.items() if n not in buffers})


@each_length
@each_seed
def test_block_equals_the_independent_reference(name: str, length: int) -> None:
    state = {**block_state(name), "X": block_input(name, length)}
    model = model_of(name, parallel=False)
    expected = parameters_only(run_plain(name, state), model)
    # The convolution's first taps meet nothing but padding in a short sequence.
    assert length < 4 or all(gradient.any() for gradient in expected.gradients.values())
    interpreted = run_block_reference(stack_of(name), state)
    assert not differences(expected, interpreted)
    assert not differences(interpreted, run_block_compiled(model, state))
    for parallel in (False, True):
        assert not differences(expected, run_block_compiled(model_of(name, parallel), state))


@loop_and_parallel
@each_length
@each_seed
def test_whole_model_equals_the_interpreter(name: str, length: int, parallel: bool) -> None:
    model = model_of(name, parallel, layers=2)
    state = drawn_state(model, seed=length, noise=0.05)
    tokens = tokens_of(length, VOCAB)
    expected = run_reference(stack_of(name, layers=2), state, tokens)
    assert set(dict(model.named_parameters())) <= set(expected.gradients)
    assert expected.gradients["embedding.weight"].any()
    assert not differences(expected, run_compiled(model, state, tokens))


@each_seed
def test_parallel_form_interpreted_is_the_loop(name: str) -> None:
    """The interpreter's own meaning of what the pass puts in."""
    state = {**block_state(name), "X": block_input(name, 19)}
    loop = run_block_reference(stack_of(name), state)
    assert not differences(loop, run_block_reference(parallelise(stack_of(name)), state))


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrences_are_found(name: str) -> None:
    ops = [
        node.op
        for _, instance in parallelise(stack_of(name)).blocks[0].walk()
        if instance.graph is not None
        for node in instance.graph.nodes
    ]
    assert "linear_attention" in ops
    assert "scan" not in ops


GATES = {
    "mamba2": ("mixer1.dt_bias", "mixer2.dt_bias"),
    "retnet": ("retention.log_decay",),
    "rwkv6": ("time_mix.decay_base",),
}
"""The parameter or buffer that opens and closes the gates of a seed."""

EXTREMES = {
    "mamba2": (-60.0, 200.0),  # the step softplus(dt): nearly 0 keeps all, 200 forgets all
    "retnet": (0.0, -1e5, float("-inf")),
    "rwkv6": (-60.0, 10.0, 700.0),  # exp(-exp(w)): 1, 0, and 0 beyond what exp can hold
}


@pytest.mark.parametrize(
    ("name", "gate"), [(name, gate) for name, gates in EXTREMES.items() for gate in gates]
)
@pytest.mark.parametrize("length", [7, pytest.param(100, marks=pytest.mark.slow)])
def test_extreme_gates(name: str, gate: float, length: int) -> None:
    state = {**block_state(name), "X": block_input(name, length)}
    for parameter in GATES[name]:
        state[parameter] = torch.full_like(state[parameter], gate)
    loop = run_block_compiled(model_of(name, parallel=False), state)
    parallel = run_block_compiled(model_of(name, parallel=True), state)
    interpreted = run_block_reference(stack_of(name), state)
    gates = dict.fromkeys(GATES[name])
    runs = [
        # Where a gate is shut for good its own gradient is 0 * inf in every form.
        Run(run.outputs, {n: g for n, g in run.gradients.items() if n not in gates})
        for run in (interpreted, loop, parallel)
    ]
    assert all(torch.isfinite(output).all() for output in runs[0].outputs.values())
    assert not differences(runs[0], runs[1])
    assert not differences(runs[0], runs[2])


@loop_and_parallel
@each_seed
def test_standalone_text_computes_the_same(name: str, parallel: bool) -> None:
    state = {**block_state(name), "X": block_input(name, 18)}
    imported = run_block_compiled(model_of(name, parallel), state)
    standalone = run_block_compiled(model_of(name, parallel, standalone=True), state)
    # Not bit by bit: the kernel's function and the pasted one may sum in another order.
    assert not differences(imported, standalone, tolerance=1e-14)


def test_standalone_text_needs_nothing_but_torch(tmp_path: Path) -> None:
    """Executed where `gabc` cannot be imported, and compared with the module that imports it."""
    script = [
        "import sys",
        "from importlib import util",
        "class Refuse:",
        "    def find_spec(self, name, path=None, target=None):",
        "        if name.partition('.')[0] in ('gabc', 'triton_kernels', 'einops'):",
        "            raise ImportError(name)",
        "sys.meta_path.insert(0, Refuse())",
        "import torch",
        "results = {}",
        "for name, model in [line.split() for line in open('models.txt')]:",
        "    spec = util.spec_from_file_location(name, name + '.py')",
        "    module = util.module_from_spec(spec)",
        "    spec.loader.exec_module(module)",
        "    built = getattr(module, model)(seed=3).double()",
        "    tokens = torch.arange(19)[None] % 50",
        "    results[name] = built(tokens).detach()",
        "assert not any(name.partition('.')[0] == 'gabc' for name in sys.modules)",
        "torch.save(results, 'results.pt')",
    ]
    models = []
    for name in SEEDS:
        module = module_of(name, parallel=True, standalone=True)
        (tmp_path / f"{name}.py").write_text(module.text, encoding="utf-8")
        models.append(f"{name} {module.model}")
    (tmp_path / "models.txt").write_text("\n".join(models), encoding="utf-8")
    (tmp_path / "script.py").write_text("\n".join(script), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = torch.load(tmp_path / "results.pt")
    for name in SEEDS:
        model = load(module_of(name, parallel=True))(vocab_size=VOCAB, seed=3).double()
        expected = model(torch.arange(19)[None] % VOCAB).detach()
        torch.testing.assert_close(results[name], expected, rtol=1e-12, atol=1e-12)
