"""Constants, positions and random initial values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gabc.dims import Dim
from gabc.graph.types import TensorType
from gabc.runtime.functional.initial import Init

from .harness import (
    Given,
    bind,
    check,
    dims,
    lowered,
    reference,
    refusal,
    result_types,
    run,
)
from .lowering import HELPERS

Args = Mapping[str, Given]
WEIGHT = TensorType("float", dims("D K"))
VECTOR = TensorType("float", dims("D"))

EXAMPLES: dict[str, list[Args]] = {
    "positions": [{}],
    "arange": [{"n": "K"}, {"n": 7}],
    "eye": [{"n": "K"}],
    "zeros": [{"dims": ("B", "H", "K")}],
    "ones": [{"dims": ("B", "L", "D")}],
}
INITIAL: dict[str, list[Args]] = {
    "zeros": [{}, {"dims": ("K",)}],
    "ones": [{}],
    "arange": [{"n": "D"}],
    "eye": [{"n": "K"}],
    "normal": [{}, {"std": 0.02}, {"mean": 1.0, "std": 0.5}],
    "uniform": [{}, {"lo": -3.0, "hi": -1.0}],
    "kaiming": [{}, {"fan_in": "M"}],
    "xavier": [{}, {"gain": 0.5}],
    "trunc_normal": [{"std": 0.02}, {"std": 1.0, "cut": 0.5}],
    "orthogonal": [{}, {"gain": 2.0}],
}


@pytest.mark.parametrize(
    ("name", "args"), [(name, args) for name, cases in EXAMPLES.items() for args in cases]
)
def test_rules_agree(name: str, args: Args) -> None:
    check(name, args)


@pytest.mark.parametrize(
    ("name", "args"), [(name, args) for name, cases in INITIAL.items() for args in cases]
)
def test_rules_agree_in_an_initialiser(name: str, args: Args) -> None:
    bound = bind(name, args, parameter=WEIGHT, time=None)
    types = result_types(bound)
    text = lowered(bound, types)
    assert "like" not in text
    (expected,), (found,) = reference(bound), run(text, bound)
    assert found.dtype == torch.float32
    assert found.device.type == "cpu"
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)


def test_known_values() -> None:
    assert check("positions", {})[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert check("arange", {"n": 3})[0].tolist() == [0.0, 1.0, 2.0]
    assert check("eye", {"n": 2})[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert check("ones", {"dims": (2, "V")})[0].tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_new_tensors_are_float32_at_least(dtype: torch.dtype) -> None:
    bound = bind("positions", {})
    text = lowered(bound, result_types(bound))
    assert text == "torch.arange(L, dtype=wide_dtype(like), device=like.device)"
    found = eval(text, {**HELPERS, "torch": torch, "L": 1000, "like": torch.zeros(1, dtype=dtype)})
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert len(found.unique()) == 1000


def _draw(name: str, args: Args, shape: str = "D K", init: Init | None = None) -> Tensor:
    bound = bind(name, args, parameter=TensorType("float", dims(shape)), time=None)
    text = lowered(bound, result_types(bound))
    sizes = {"D": 300, "K": 200, "M": 50, "N": 3}
    found = eval(text, {**sizes, "init": Init(0) if init is None else init})
    assert isinstance(found, Tensor)
    return found


def test_kaiming_is_the_default_of_a_linear_layer() -> None:
    bound = 200**-0.5
    linear = nn.Linear(200, 300).weight.detach()
    for weights in (linear, _draw("kaiming", {})):
        assert weights.abs().max() <= bound
        assert weights.abs().max() == pytest.approx(bound, rel=1e-3)
        assert weights.std().item() == pytest.approx(bound / math.sqrt(3.0), rel=0.02)
    assert _draw("kaiming", {"fan_in": "M"}).abs().max().item() == pytest.approx(50**-0.5, rel=1e-3)


def test_distributions() -> None:
    normal = _draw("normal", {"mean": 1.0, "std": 0.5})
    assert normal.mean().item() == pytest.approx(1.0, abs=0.01)
    assert normal.std().item() == pytest.approx(0.5, rel=0.01)
    uniform = _draw("uniform", {"lo": -3.0, "hi": -1.0})
    assert -3.0 <= uniform.min() <= -2.999
    assert -1.001 <= uniform.max() <= -1.0
    xavier = _draw("xavier", {"gain": 2.0})
    assert xavier.abs().max().item() == pytest.approx(2.0 * math.sqrt(6.0 / 500.0), rel=1e-3)
    truncated = _draw("trunc_normal", {"std": 0.1})
    assert truncated.abs().max() <= 0.2
    # The deviation of a normal cut at two deviations: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
    phi, within = math.exp(-2.0) / math.sqrt(2.0 * math.pi), math.erf(math.sqrt(2.0))
    assert truncated.std().item() == pytest.approx(0.1 * math.sqrt(1 - 4 * phi / within), rel=0.02)


@pytest.mark.parametrize("shape", ["D K", "K D", "N M K"])
def test_orthogonal(shape: str) -> None:
    q = _draw("orthogonal", {"gain": 2.0}, shape)
    *_, rows, columns = q.shape
    gram = q @ q.mT if rows <= columns else q.mT @ q
    identity = 4.0 * torch.eye(min(rows, columns))
    torch.testing.assert_close(gram, identity.expand_as(gram), atol=1e-5, rtol=0)


def test_a_draw_depends_on_seed_path_name_and_count_only() -> None:
    def draw(seed: int, path: str, name: str) -> Tensor:
        init = Init(seed)
        for part in path.split("."):
            init = init.child(part)
        return init.normal(name, (8,))

    base = draw(0, "blocks.0", "weight")
    assert torch.equal(base, draw(0, "blocks.0", "weight"))
    assert torch.equal(base, Init(0, "blocks.0").normal("weight", (8,)))
    assert not torch.equal(base, draw(0, "blocks.0", "bias"))
    assert not torch.equal(base, draw(0, "blocks.1", "weight"))
    assert not torch.equal(base, draw(1, "blocks.0", "weight"))
    init = Init(0, "blocks.0")
    first, other, second = (init.normal(name, (8,)) for name in ("weight", "bias", "weight"))
    assert torch.equal(base, first)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_draws_do_not_touch_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    Init(0).uniform("weight", (8,))
    assert torch.equal(before, torch.random.get_rng_state())


def test_lowered_text_leaves_out_defaults() -> None:
    bound = bind("normal", {"std": 0.02}, parameter=VECTOR, time=None)
    assert lowered(bound, result_types(bound)) == 'init.normal("weight", (D,), std=0.02)'
    bound = bind("kaiming", {}, parameter=WEIGHT, time=None)
    assert lowered(bound, result_types(bound)) == 'init.kaiming("weight", (D, K))'
    bound = bind("ones", {}, parameter=VECTOR, time=None)
    assert lowered(bound, result_types(bound)) == "torch.ones(D)"


SCALAR = TensorType("float", ())


@pytest.mark.parametrize(
    ("name", "args", "options", "code", "help"),
    [
        ("positions", {}, {"time": None}, "GAB0115", "`t`"),
        ("positions", {}, {"time": Dim.symbol("C")}, "GAB0115", "p=positions()"),
        ("positions", {}, {"parameter": VECTOR}, "GAB0115", "arange(n)"),
        ("arange", {"n": "L"}, {}, "GAB0207", "positions()"),
        ("arange", {"n": "B*K"}, {}, "GAB0207", "batch"),
        ("eye", {"n": "L"}, {}, "GAB0207", "positions()[:, None]"),
        ("zeros", {"dims": ()}, {}, "GAB0107", "zeros(B, L, D)"),
        ("normal", {}, {}, "GAB0115", "param noise"),
        ("normal", {}, {"parameter": TensorType("int", dims("D"))}, "GAB0501", ""),
        ("xavier", {}, {"parameter": VECTOR}, "GAB0501", "normal"),
        ("orthogonal", {}, {"parameter": VECTOR}, "GAB0501", "normal"),
        ("kaiming", {}, {"parameter": SCALAR}, "GAB0501", "fan_in=D"),
    ],
)
def test_refusals(name: str, args: Args, options: dict[str, Any], code: str, help: str) -> None:
    diagnostic = refusal(name, args, **options)
    assert diagnostic.code == code
    assert help in diagnostic.help
