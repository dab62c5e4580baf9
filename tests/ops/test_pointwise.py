"""Functions of one element, choices, casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch

from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES

from .harness import Given, T, bind, check, dims, lowered, refusal, result_types
from .lowering import HELPERS

X = T("B L D")
POSITIVE = T("B L D", lo=0.2, hi=3.0)
INTS = T("B L", kind="int", lo=-3, hi=5)
MASK = T("B L 1", kind="bool")
Args = Mapping[str, Given]

_OF_ANY = "exp expm1 sin cos tanh erf sigmoid abs square relu silu softplus logsigmoid elu"
_STEPS = "sign floor ceil round"
_OF_POSITIVE = "log log1p sqrt rsqrt reciprocal"

EXAMPLES: dict[str, list[Args]] = {
    **{name: [{"x": X}, {"x": T("")}] for name in f"{_OF_ANY} {_STEPS}".split()},
    **{name: [{"x": POSITIVE}] for name in _OF_POSITIVE.split()},
    "gelu": [{"x": X}, {"x": X, "approximate": "tanh"}],
    "clamp": [
        {"x": X, "lo": -0.5, "hi": 1.0},
        {"x": X, "lo": -0.5},
        {"x": X, "hi": 1.0},
        {"x": INTS, "lo": 0},
        {"x": INTS, "lo": 0.5},
    ],
    "maximum": [{"a": X, "b": T("D")}, {"a": X, "b": 0.5}, {"a": -0.5, "b": X}],
    "minimum": [{"a": X, "b": T("D")}, {"a": X, "b": 0.5}, {"a": INTS, "b": 1}],
    "lerp": [
        {"a": X, "b": T("B L 1"), "weight": T("D")},
        {"a": X, "b": X, "weight": 0.3},
        {"a": 1.0, "b": X, "weight": T("D")},
    ],
    "where": [
        {"condition": MASK, "a": X, "b": T("D")},
        {"condition": MASK, "a": X, "b": 0.0},
        {"condition": MASK, "a": 1.0, "b": X},
        {"condition": T("B L", "bool"), "a": 1, "b": INTS},
        {"condition": T("B 1", "bool"), "a": INTS, "b": T("L")},
        {"condition": MASK, "a": MASK, "b": Literal(False)},
    ],
    "fill": [
        {"x": X, "mask": MASK, "value": 0.0},
        {"x": X, "mask": MASK, "value": -math.inf},
        {"x": INTS, "mask": T("L", kind="bool"), "value": 1.0},
        {"x": MASK, "mask": T("L 1", kind="bool"), "value": 1.0},
        {"x": MASK, "mask": T("L 1", kind="bool"), "value": 0.0},
    ],
    "f32": [{"x": X}],
    "float": [{"x": INTS}, {"x": MASK}],
    "int": [{"x": X}, {"x": MASK}],
    "dropout": [{"x": X, "p": 0.5}],
    "detach": [{"x": X}],
}

CASES = [(name, args) for name, cases in EXAMPLES.items() for args in cases]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_rules_agree(name: str, args: Args) -> None:
    # A finite difference of infinities is no number.
    check(name, args, smooth=args.get("value") != -math.inf)


# By hand: the references are held to something that is not torch's function of the same name.
_KNOWN: dict[str, Callable[[float], float]] = {
    "expm1": math.expm1,
    "log1p": math.log1p,
    "erf": math.erf,
    "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
    "silu": lambda x: x / (1.0 + math.exp(-x)),
    "softplus": lambda x: math.log(1.0 + math.exp(x)),
    "logsigmoid": lambda x: -math.log(1.0 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1.0,
    "gelu": lambda x: x * (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0,
    "rsqrt": lambda x: x**-0.5,
    "round": round,
    "sign": lambda x: math.copysign(1.0, x),
}


@pytest.mark.parametrize("name", _KNOWN)
def test_values(name: str) -> None:
    points = [0.1, 0.5, 1.5, 2.5] if name in ("rsqrt", "log1p") else [-2.5, -0.5, 0.3, 1.5]
    x = T("H", values=torch.tensor(points, dtype=torch.float64))
    wanted = torch.tensor([_KNOWN[name](point) for point in points], dtype=torch.float64)
    torch.testing.assert_close(check(name, {"x": x}, smooth=False)[0], wanted)


def test_softplus_is_linear_above_20_when_compiled() -> None:
    x = T("N", values=torch.tensor([20.5, 30.0, 700.0], dtype=torch.float64))
    check("softplus", {"x": x}, rtol=0.0, atol=2.1e-9, smooth=False)


@pytest.mark.parametrize("name", ["relu", "silu", "gelu", "softplus", "logsigmoid", "elu"])
def test_gradients_are_finite_far_out_and_at_zero(name: str) -> None:
    values = torch.tensor([-800.0, 0.0, 15.0, 800.0], dtype=torch.float64, requires_grad=True)
    result = PRIMITIVES[name].reference({"x": values, "approximate": "none"})
    assert isinstance(result, torch.Tensor)
    (gradient,) = torch.autograd.grad(result.sum(), values)
    assert torch.isfinite(gradient).all()
    check(name, {"x": T("H", values=values.detach())}, smooth=False, atol=2.1e-9)


@pytest.mark.parametrize("name", ["exp", "sin", "tanh", "sigmoid", "sqrt", "rsqrt"])
def test_ints_become_floats(name: str) -> None:
    x = T("B L", kind="int", lo=1, hi=5)
    (result,) = check(name, {"x": x}, rtol=1e-6)
    assert result.is_floating_point()


@pytest.mark.parametrize("name", ["abs", "sign", "square", "floor", "ceil", "round"])
def test_ints_stay_ints(name: str) -> None:
    (result,) = check(name, {"x": INTS})
    assert result.dtype == torch.int64


def test_int_cuts_towards_zero() -> None:
    x = T("H", values=torch.tensor([-1.7, -0.2, 0.9, 1.0], dtype=torch.float64))
    assert check("int", {"x": x}, smooth=False)[0].tolist() == [-1, 0, 0, 1]


def test_detach_stops_gradients() -> None:
    x = torch.ones(3, requires_grad=True)
    result = PRIMITIVES["detach"].reference({"x": x})
    assert isinstance(result, torch.Tensor)
    assert not result.requires_grad


def _text(name: str, args: Args) -> str:
    bound = bind(name, args)
    return lowered(bound, result_types(bound))


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("exp", {"x": X}, "torch.exp(x_0)"),
        ("silu", {"x": X}, "F.silu(x_0)"),
        ("gelu", {"x": X, "approximate": "tanh"}, 'F.gelu(x_0, approximate="tanh")'),
        ("clamp", {"x": X, "lo": 0.0}, "torch.clamp(x_0, min=0.0)"),
        ("maximum", {"a": 1.0, "b": X}, "torch.clamp(x_0, min=1.0)"),
        ("dropout", {"x": X, "p": 0.1}, "F.dropout(x_0, 0.1, self.training)"),
        ("float", {"x": MASK}, "x_0.to(like.dtype)"),
        ("float", {"x": INTS}, "x_0.to(wide_dtype(like))"),
        ("int", {"x": X}, "x_0.long()"),
    ],
)
def test_lowered_text(name: str, args: Args, text: str) -> None:
    assert _text(name, args) == text


def test_dropout_drops_in_training() -> None:
    torch.manual_seed(0)
    bound = bind("dropout", {"x": T("D M", values=torch.ones(6, 7)), "p": 0.5})
    text = lowered(bound, result_types(bound))
    scope = {"F": torch.nn.functional, "x_0": torch.ones(6, 7)}
    result = eval(text.replace("self.training", "True"), scope)
    assert set(result.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_f32_widens_and_keeps_float64(dtype: torch.dtype) -> None:
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.ones(2, dtype=dtype)
    result = PRIMITIVES["f32"].reference({"x": x})
    assert isinstance(result, torch.Tensor)
    helper = HELPERS["f32"](x)
    assert isinstance(helper, torch.Tensor)
    assert result.dtype == helper.dtype == wanted


def test_lerp_promotes() -> None:
    result = HELPERS["lerp"](torch.zeros(2, dtype=torch.bfloat16), torch.ones(2), torch.ones(2))
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32


def test_fill_stops_gradients_outside_the_mask() -> None:
    x = torch.tensor([1.0, math.nan, math.inf], requires_grad=True)
    mask = torch.tensor([True, False, False])
    result = PRIMITIVES["fill"].reference({"x": x, "mask": mask, "value": 0.0})
    assert isinstance(result, torch.Tensor)
    (gradient,) = torch.autograd.grad(result.sum(), x)
    assert result.tolist() == [1.0, 0.0, 0.0]
    assert gradient.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "args", "code", "help"),
    [
        ("exp", {"x": MASK}, "GAB0109", "float(mask)"),
        ("silu", {"x": INTS}, "GAB0109", "float(x)"),
        ("gelu", {"x": X, "approximate": "sigmoid"}, "GAB0109", "tanh"),
        ("clamp", {"x": X}, "GAB0107", "lo=0.0"),
        ("where", {"condition": X, "a": X, "b": X}, "GAB0109", "x > 0.0"),
        ("where", {"condition": MASK, "a": MASK, "b": X}, "GAB0109", "float(mask)"),
        ("float", {"x": X}, "GAB0109", "f32(x)"),
        ("int", {"x": INTS}, "GAB0109", "it is an int"),
        ("f32", {"x": INTS}, "GAB0109", "float(x)"),
        ("fill", {"x": INTS, "mask": T("L", "bool"), "value": -math.inf}, "GAB0109", "float(x)"),
        ("dropout", {"x": X, "p": 1.0}, "GAB0109", ""),
        ("lerp", {"a": INTS, "b": X, "weight": 0.5}, "GAB0109", "float(x)"),
    ],
)
def test_refusals(name: str, args: Args, code: str, help: str) -> None:
    diagnostic = refusal(name, args)
    assert diagnostic.code == code
    assert help in diagnostic.help


def test_shape_of_where_broadcasts_all_three() -> None:
    args = {"condition": T("L 1", "bool"), "a": T("B 1 1"), "b": T("D")}
    (type_,) = result_types(bind("where", args))
    assert type_ == TensorType("float", dims("B L D"))
