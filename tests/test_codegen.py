"""Generated modules: equal to the reference, readable, stable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import cast

import pytest
import torch
from designs import EXAMPLES, example, randomise, stack_of
from small_designs import DESIGNS
from torch import Tensor, nn

from gabc.codegen.emit import emit
from gabc.codegen.helpers import library
from gabc.codegen.source_map import read_source_map
from gabc.graph.instance import Stack
from gabc.graph.names import MODULE_ATTRIBUTES
from gabc.runtime.functional.linear_attention import linear_attention
from gabc.runtime.load import load
from gabc.runtime.model import build
from gabc.runtime.reference import ReferenceModel

VOCAB = 11
LENGTHS = (1, 2, 5, 17)
TOLERANCE = 1e-10


def tokens(length: int) -> Tensor:
    return torch.randint(0, VOCAB, (2, length), generator=torch.Generator().manual_seed(length))


def gradients(logits: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    found = torch.autograd.grad((logits * weight).sum(), parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def assert_equal_to_reference(stack: Stack, standalone: bool = False) -> None:
    """Logits and all gradients, in float64, at all lengths."""
    model = build(stack, vocab_size=VOCAB, standalone=standalone).double()
    tensors = randomise(model)
    reference = ReferenceModel(stack, tensors)
    trained = [tensor for tensor in tensors.values() if tensor.requires_grad]
    for length in LENGTHS:
        compiled, meant = model(tokens(length)), reference(tokens(length))
        assert meant.abs().max() > 0.01
        torch.testing.assert_close(compiled, meant, rtol=TOLERANCE, atol=TOLERANCE)
        pairs = zip(gradients(compiled, trained), gradients(meant, trained), strict=True)
        for got, wanted in pairs:
            scale = 1.0 + wanted.abs().max().item()
            torch.testing.assert_close(got, wanted, rtol=TOLERANCE, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", DESIGNS)
def test_equals_reference(name: str) -> None:
    assert_equal_to_reference(stack_of(DESIGNS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.gab")), ids=lambda path: path.stem)
def test_example_equals_reference(path: Path) -> None:
    assert_equal_to_reference(example(path.stem))


@pytest.mark.parametrize("name", ["scan", "chunk", "attention_block", "z"])
def test_standalone_equals_reference(name: str) -> None:
    assert_equal_to_reference(stack_of(DESIGNS[name]), standalone=True)


def ruff(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_text_is_as_ruff_formats_it(tmp_path: Path) -> None:
    for name, text in DESIGNS.items():
        for standalone in (False, True):
            path = tmp_path / f"{name}_{standalone}.py"
            path.write_text(emit(stack_of(text), standalone=standalone).text, encoding="utf-8")
    for path in sorted(EXAMPLES.glob("*.gab")):
        text = emit(example(path.stem), standalone=True).text
        (tmp_path / f"{path.stem}.py").write_text(text, encoding="utf-8")
    found = ruff("format", "--line-length", "100", "--diff", str(tmp_path))
    assert found.returncode == 0, found.stdout
    # F: names undefined or unused; E501 is not asked for, since docstrings keep their formulas.
    linted = ruff("check", "--select", "F,E7,E9,B006,B018,B020", str(tmp_path))
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("name", DESIGNS)
def test_standalone_text_imports_only_torch_and_the_standard_library(name: str) -> None:
    text = emit(stack_of(DESIGNS[name]), standalone=True).text
    assert "gabc." not in "\n".join(
        line for line in text.splitlines() if line.startswith(("import", "from"))
    )


def test_text_does_not_depend_on_the_hash_seed() -> None:
    script = (
        "from designs import stack_of; from small_designs import DESIGNS\n"
        "from gabc.codegen.emit import emit; import hashlib\n"
        "texts = [emit(stack_of(t), standalone=True) for t in DESIGNS.values()]\n"
        "whole = ''.join(m.text + m.source_map.to_json() for m in texts)\n"
        "print(hashlib.sha256(whole.encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_source_map_leads_back_to_the_design() -> None:
    module = emit(stack_of(DESIGNS["residual"]), standalone=True)
    source_map = read_source_map(module.source_map.to_json())
    lines = module.text.splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if "gelu" in line]
    place = source_map.lines[number]
    assert (place.file, place.text) == ("design.gab", "return down(gelu(up(X)))")


def test_an_error_in_forward_carries_the_line_of_the_design() -> None:
    model = build(stack_of(DESIGNS["residual"]), vocab_size=VOCAB)
    down = model.get_submodule("blocks.1.mlp.down")
    down.weight = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(RuntimeError) as caught:
        model(tokens(3))
    notes = "\n".join(caught.value.__notes__)
    assert "return down(gelu(up(X)))" in notes
    assert "design.gab:20:" in notes
    assert notes.index("X = X + mlp(norm(X))") < notes.index("return down"), "outermost first"


def test_equal_classes_are_shared_and_different_ones_numbered() -> None:
    module = emit(stack_of(DESIGNS["by_layer"], "16x4"), standalone=True)
    assert module.classes == ("MLP", "MixBlock", "MixBlock_2")


def test_initial_values_depend_on_seed_and_name_only() -> None:
    stack = stack_of(DESIGNS["residual"])
    first, again, other = (build(stack, vocab_size=VOCAB, seed=seed) for seed in (0, 0, 1))
    deeper = build(stack_of(DESIGNS["residual"], "16x3"), vocab_size=VOCAB, seed=0)
    name = "blocks.1.mlp.up.weight"
    values = first.state_dict()[name]
    assert torch.equal(values, again.state_dict()[name])
    assert torch.equal(values, deeper.state_dict()[name])
    assert not torch.equal(values, other.state_dict()[name])
    assert not torch.equal(values, first.state_dict()["blocks.0.mlp.up.weight"])
    embedding = first.state_dict()["embedding.weight"]
    assert embedding.std().item() == pytest.approx(0.02, rel=0.2)


def test_every_parameter_is_initialised() -> None:
    for text in DESIGNS.values():
        stack = stack_of(text)
        model = load(emit(stack, standalone=False))(vocab_size=VOCAB, seed=None)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.data.fill_(float("nan"))
        cast("Callable[[int], None]", model.init_parameters)(0)
        for name, tensor in model.state_dict().items():
            assert not tensor.isnan().any(), name


HOSTILE = ("a", "a_b", "keys", "keys_", "type", "_x", "__x", "seed")


@pytest.mark.parametrize(("name", "other"), [*permutations(HOSTILE, 2)])
def test_no_two_names_become_one(name: str, other: str) -> None:
    """Members, shared modules, variables and units of names that generated code has or makes."""
    text = f"""
        gab Root
        unit Root() {{
            {name} = Inner(2.0)
            shared {other} = Linear(D, D)
            shared {name}_{other}_s = Linear(D, D)
            forward(X) {{
                {name}_{other}_s_2 = X * 2.0
                return {other}(X) + {name}(X) - {name}_{other}_s({name}_{other}_s_2)
            }}
        }}
        unit Inner({name}: float, {other}: float = 3.0) {{
            shared {other}_s = Linear(D, D)
            forward(X) {{
                {other}_s_2 = X * {name}
                return {other}_s({other}_s_2) * {other}
            }}
        }}
    """
    stack = stack_of(text, "8x1")
    model = build(stack, vocab_size=VOCAB).double()
    tensors = randomise(model)
    assert len([key for key in tensors if key.startswith("shared.")]) == 6
    reference = ReferenceModel(stack, tensors)
    torch.testing.assert_close(model(tokens(3)), reference(tokens(3)))


def test_shared_child_knows_the_depth_where_blocks_differ() -> None:
    """With blocks that differ the depth is a number of the text, no argument of the model."""
    text = """
        gab Root
        unit Root() {
            if layer == 1 { shared common = Inner() }
            own = Linear(D, D)
            forward(X) {
                if layer == 1 { return own(X) + common(X) } else { return own(X) }
            }
        }
        unit Inner() {
            wo = Linear(D, D, bias=false, init=uniform(0.0, 1.0) / n_layers)
            forward(X) { return wo(X) }
        }
    """
    model = build(stack_of(text, "16x4"), vocab_size=VOCAB)
    largest = model.get_parameter("shared.common.wo.weight").max().item()
    assert 0.2 < largest <= 0.25


def test_a_name_that_ends_like_an_ambient_one_is_no_ambient_one() -> None:
    text = """
        gab Root
        unit Root(sublayer: int = layer) {
            inner = Inner(sublayer=layer + 1)
            forward(X) {
                if layer == 0 { return X + inner(X) }
                return inner(X)
            }
        }
        unit Inner(sublayer: int) { forward(X) { return X * sublayer } }
    """
    assert_equal_to_reference(stack_of(text, "8x2"))


def test_recurrences_are_in_float32_under_autocast() -> None:
    """The loop's products, on whatever the products before it have rounded."""
    text = """
        gab Root
        unit Root() {
            param W: [D, D] = normal(0.0, 0.3)
            forward(X) {
                V = einsum("a b, b c -> a c", W, W)
                return scan(X) {
                    state S: [B, D] = 0.0
                    S = tanh(einsum("b d, d e -> b e", S, V) + X)
                    return S
                }
            }
        }
    """
    block = build(stack_of(text, "16x1"), vocab_size=VOCAB).get_submodule("blocks.0")
    X = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    W = cast("Tensor", block.W).detach()
    V = (W.bfloat16() @ W.bfloat16()).float()
    S, steps = torch.zeros(2, 16), []
    for X_t in X.unbind(1):
        S = torch.tanh(S @ V + X_t)
        steps.append(S)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(block(X), torch.stack(steps, 1))


def test_linear_attention_is_in_float32_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 9, 2, 4, generator=generator)
    decay = -torch.rand(1, 9, 2, generator=generator)
    expected = linear_attention(q, k, v, decay)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear_attention(q, k, v, decay), expected)


def test_sizes_may_be_chosen_at_construction() -> None:
    model = load(emit(stack_of(DESIGNS["residual"]), standalone=False))
    assert model(vocab_size=5, D=24, n_layers=3)(torch.zeros(1, 4, dtype=torch.long)).shape == (
        1,
        4,
        5,
    )


def test_a_size_that_does_not_divide_is_refused_at_construction() -> None:
    model = load(emit(stack_of(DESIGNS["attention_block"]), standalone=False))
    with pytest.raises(ValueError, match="4 does not divide 18"):
        model(vocab_size=5, D=18)


def test_names_of_nn_module_are_known() -> None:
    module = nn.ModuleDict()
    taken = {name for name in {*dir(module), *vars(module)} if not name.startswith("_")}
    assert taken <= MODULE_ATTRIBUTES


def test_helpers_have_unique_names() -> None:
    assert "attend" in library().helpers  # `library` raises for a name defined twice


def test_source_map_is_json() -> None:
    data = json.loads(emit(stack_of(DESIGNS["z"]), standalone=False).source_map.to_json())
    assert data["version"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "z", "attention_block", "scan"])
def test_traces_as_one_graph(name: str) -> None:
    model = build(stack_of(DESIGNS[name]), vocab_size=VOCAB).double()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens(5)), model(tokens(5)))


def test_bfloat16_model_keeps_states_in_float32() -> None:
    model = build(stack_of(DESIGNS["scan"]), vocab_size=VOCAB).bfloat16()
    logits = model(tokens(5))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()
