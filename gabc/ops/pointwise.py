"""Functions of one element at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.overflow import varies
from gabc.dependence.pointwise import elementwise
from gabc.dependence.ranges import combined, image, is_finite_at
from gabc.dependence.values import BINARY, UNARY, with_values
from gabc.graph.nodes import Value
from gabc.graph.pycode import Code
from gabc.graph.types import Kind, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import ZERO, Site, Work, pointwise
from gabc.ops.evaluated import Args, operand, optional_number, tensor, text
from gabc.ops.kinds import require_kind, widest
from gabc.ops.tiles import TILES, tile_of
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class _Function:
    """`reference` is `None` where torch's function of this name says it all.

    `ints`: what an int operand gives; torch's math functions promote ints, its activations do not.
    """

    name: str
    lowered: str
    reference: Callable[[Tensor], Tensor] | None
    doc: str
    ints: Literal["float", "int", "refused"] = "float"

    @property
    def backward(self) -> Literal["operand", "result", "nothing"]:
        """What torch keeps for the derivative."""
        if self.name in _BY_RESULT:
            return "result"
        return "nothing" if self.name in _WITHOUT_DERIVATIVE else "operand"


_BY_RESULT = ("exp", "expm1", "sqrt", "rsqrt", "reciprocal", "tanh", "sigmoid", "relu")
_WITHOUT_DERIVATIVE = ("sign", "floor", "ceil", "round")


class Pointwise(Primitive):
    """One tensor in, one of the same shape out."""

    parameters = (Parameter("x", ArgKind.VALUE),)
    keeps_mask = True

    def __init__(self, function: _Function) -> None:
        self.name = function.name
        self.doc = function.doc
        self._function = function

    def shape(self, call: Call) -> TensorType:
        allowed: tuple[Kind, ...] = ("float", "int")
        if self._function.ints == "refused":
            allowed = ("float",)
        type_ = require_kind(call, "x", *allowed)
        return type_ if self._function.ints == "int" else type_.with_kind("float")

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        function = _ON_NUMBERS[self.name]
        overflow = x.may_overflow or (varies(x) and not is_finite_at(self.name, x.range))
        result = elementwise([x], function, may_overflow=overflow)
        result = replace(result, within=image(self.name, function, x.range))
        return with_values(result, UNARY.get(self.name), x)

    def reference(self, args: Args) -> Tensor:
        reference = self._function.reference
        if reference is None:
            reference = getattr(torch, self.name)
        return reference(tensor(args, "x"))

    def cost(self, site: Site) -> Work:
        kept = {"result": site.outputs[0], "operand": site.value("x")}.get(self._function.backward)
        return pointwise(site, saves=() if kept is None or not site.gradients() else (kept,))

    def lower(self, lowering: Lowering) -> Code:
        return call_code(self._function.lowered, lowering.code("x").text)

    def tile(self, lowering: Lowering) -> Code | None:
        return tile_of(lowering, TILES.get(self.name), "x")


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


_ON_NUMBERS: Mapping[str, Callable[[float], float]] = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1.0 / math.sqrt(x),
    "reciprocal": lambda x: 1.0 / x,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "sigmoid": _sigmoid,
    "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0),
    "square": lambda x: x * x,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "logsigmoid": lambda x: -math.log1p(math.exp(-x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
}
"""The functions on plain numbers: what becomes of a constant."""


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


_FUNCTIONS = (
    _Function("exp", "torch.exp", None, "e to the power `x`."),
    _Function("expm1", "torch.expm1", None, "`exp(x) - 1`, exact near 0."),
    _Function("log", "torch.log", None, "The natural logarithm."),
    _Function("log1p", "torch.log1p", None, "`log(1 + x)`, exact near 0."),
    _Function("sqrt", "torch.sqrt", None, "The square root."),
    _Function("rsqrt", "torch.rsqrt", lambda x: 1.0 / torch.sqrt(x), "`1 / sqrt(x)`."),
    _Function("reciprocal", "torch.reciprocal", lambda x: 1.0 / x, "`1 / x`."),
    _Function("sin", "torch.sin", None, "The sine of an angle in radians."),
    _Function("cos", "torch.cos", None, "The cosine of an angle in radians."),
    _Function("tanh", "torch.tanh", None, "The hyperbolic tangent."),
    _Function("erf", "torch.erf", None, "The error function."),
    _Function("sigmoid", "torch.sigmoid", None, "`1 / (1 + exp(-x))`."),
    _Function("abs", "torch.abs", None, "The absolute value.", "int"),
    _Function("sign", "torch.sign", None, "-1, 0 or 1; its gradient is 0.", "int"),
    _Function("square", "torch.square", lambda x: x * x, "`x * x`.", "int"),
    _Function("floor", "torch.floor", None, "Rounded down; its gradient is 0.", "int"),
    _Function("ceil", "torch.ceil", None, "Rounded up; its gradient is 0.", "int"),
    _Function(
        "round",
        "torch.round",
        None,
        "The nearest whole number, halves to the even one; its gradient is 0.",
        "int",
    ),
    _Function(
        "relu", "F.relu", lambda x: torch.where(x <= 0, 0.0, x), "`x` where positive, else 0."
    ),
    _Function("silu", "F.silu", lambda x: x * torch.sigmoid(x), "`x * sigmoid(x)`.", "refused"),
    _Function(
        "softplus",
        "F.softplus",
        _softplus,
        "`log(1 + exp(x))`. Compiled, it is `x` itself above 20: off by less than 2.1e-9.",
        "refused",
    ),
    _Function(
        "logsigmoid", "F.logsigmoid", lambda x: -_softplus(-x), "`log(sigmoid(x))`.", "refused"
    ),
    _Function(
        "elu",
        "F.elu",
        lambda x: torch.where(x > 0, x, torch.expm1(torch.clamp(x, max=0.0))),
        "`x` where positive, else `exp(x) - 1`.",
        "refused",
    ),
)


class Gelu(Primitive):
    name = "gelu"
    parameters = (
        Parameter("x", ArgKind.VALUE),
        Parameter("approximate", ArgKind.TEXT, "none", keyword_only=True),
    )
    doc = (
        "`x` times the standard normal distribution function, exact by default; "
        '`approximate="tanh"` is the tanh formula (Hendrycks and Gimpel 2016, arXiv 1606.08415).'
    )
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        approximate = call.text("approximate")
        if approximate not in ("none", "tanh"):
            raise call.fail(
                "GAB0109",
                f'`gelu` has no approximation "{approximate}"',
                at="approximate",
                help='leave it out for the exact function, or write approximate="tanh"',
            )
        return require_kind(call, "x", "float")

    def dependence(self, call: DependenceCall) -> Dependence:
        return elementwise([call.of("x")], lambda x: 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0))))

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        if text(args, "approximate") == "tanh":
            inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
            return 0.5 * x * (1.0 + torch.tanh(inner))
        return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))

    def cost(self, site: Site) -> Work:
        return pointwise(site, saves=(site.value("x"),) if site.gradients() else ())

    def lower(self, lowering: Lowering) -> Code:
        x = lowering.code("x").text
        if lowering.argument("approximate") == "tanh":
            return call_code("F.gelu", x, 'approximate="tanh"')
        return call_code("F.gelu", x)

    def tile(self, lowering: Lowering) -> Code | None:
        is_tanh = lowering.argument("approximate") == "tanh"
        return tile_of(lowering, "tile.gelu_tanh" if is_tanh else "tile.gelu", "x")


class Clamp(Primitive):
    name = "clamp"
    parameters = (
        Parameter("x", ArgKind.VALUE),
        Parameter("lo", ArgKind.NUMBER, None),
        Parameter("hi", ArgKind.NUMBER, None),
    )
    synonyms: Mapping[str, str] = {"min": "lo", "max": "hi"}
    doc = "`x`, but at least `lo` and at most `hi`, each a static number that may be left out."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        type_ = require_kind(call, "x", "float", "int")
        limits = [name for name in ("lo", "hi") if call.given(name)]
        if not limits:
            raise call.fail(
                "GAB0107",
                "`clamp` needs a limit",
                help="write clamp(x, lo=0.0), clamp(x, hi=1.0) or both",
            )
        kinds = [require_kind(call, name, "float", "int").kind for name in limits]
        return type_.with_kind(widest(type_.kind, *kinds))

    def dependence(self, call: DependenceCall) -> Dependence:
        x, lo, hi = call.of("x"), call.optional("lo"), call.optional("hi")
        result = x
        if lo is not None:
            result = _extremum("maximum", x, lo)
        if hi is not None:
            result = _extremum("minimum", result, hi)
        return result

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        lo, hi = optional_number(args, "lo"), optional_number(args, "hi")
        if lo is not None:
            x = torch.where(x < lo, lo, x)
        return x if hi is None else torch.where(x > hi, hi, x)

    def cost(self, site: Site) -> Work:
        return pointwise(site, saves=(site.value("x"),) if site.gradients() else ())

    def lower(self, lowering: Lowering) -> Code:
        limits = [
            f"{keyword}={lowering.code(name).text}"
            for keyword, name in (("min", "lo"), ("max", "hi"))
            if lowering.argument(name) is not None
        ]
        return call_code("torch.clamp", lowering.code("x").text, *limits)

    def tile(self, lowering: Lowering) -> Code | None:
        text = lowering.code("x").text
        for name, function in (("lo", "maximum"), ("hi", "minimum")):
            if lowering.given(name):
                text = f"tile.{function}({text}, {lowering.code(name).text})"
        return Code(text)


def _extremum(name: str, a: Dependence, b: Dependence) -> Dependence:
    result = elementwise([a, b], max if name == "maximum" else min)
    result = replace(result, within=combined(name, a.range, b.range))
    return with_values(result, BINARY[name], a, b)


class Extremum(Primitive):
    """`maximum` and `minimum`. A static number becomes a limit: `torch.maximum` takes tensors."""

    parameters = (Parameter("a", ArgKind.TENSOR), Parameter("b", ArgKind.TENSOR))
    keeps_mask = True

    def __init__(self, name: Literal["maximum", "minimum"], limit: Literal["min", "max"]) -> None:
        self.name = name
        self.doc = f"The {'larger' if name == 'maximum' else 'smaller'} of `a` and `b`, by element."
        self._limit = limit

    def shape(self, call: Call) -> TensorType:
        kinds = [require_kind(call, name, "float", "int").kind for name in ("a", "b")]
        return TensorType(widest(*kinds), call.broadcast(("a", "b")))

    def dependence(self, call: DependenceCall) -> Dependence:
        return _extremum(self.name, call.of("a"), call.of("b"))

    def reference(self, args: Args) -> Tensor:
        a, b = operand(args, "a"), operand(args, "b")
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return torch.maximum(a, b) if self.name == "maximum" else torch.minimum(a, b)
        x, limit = (a, b) if isinstance(a, torch.Tensor) else (b, a)
        assert isinstance(x, torch.Tensor)
        return torch.where(x < limit if self.name == "maximum" else x > limit, limit, x)

    def cost(self, site: Site) -> Work:
        return pointwise(site, saves=tuple(site.operands()) if site.gradients() else ())

    def lower(self, lowering: Lowering) -> Code:
        a, b = lowering.code("a").text, lowering.code("b").text
        values = [isinstance(lowering.argument(name), Value) for name in ("a", "b")]
        if all(values):
            return call_code(f"torch.{self.name}", a, b)
        x, limit = (a, b) if values[0] else (b, a)
        return call_code("torch.clamp", x, f"{self._limit}={limit}")

    def tile(self, lowering: Lowering) -> Code | None:
        return tile_of(lowering, f"tile.{self.name}", "a", "b")


class Lerp(Primitive):
    name = "lerp"
    parameters = (
        Parameter("a", ArgKind.TENSOR),
        Parameter("b", ArgKind.TENSOR),
        Parameter("weight", ArgKind.TENSOR),
    )
    doc = "`a + weight * (b - a)`: `a` at weight 0, `b` at weight 1."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        for name in ("a", "b", "weight"):
            require_kind(call, name, "float")
        return TensorType("float", call.broadcast(("a", "b", "weight")))

    def dependence(self, call: DependenceCall) -> Dependence:
        operands = [call.of(name) for name in ("a", "b", "weight")]
        return elementwise(operands, lambda a, b, weight: a + weight * (b - a))

    def reference(self, args: Args) -> Tensor:
        a, b, weight = (operand(args, name) for name in ("a", "b", "weight"))
        result = (1.0 - weight) * a + weight * b
        assert isinstance(result, torch.Tensor)
        return result

    def cost(self, site: Site) -> Work:
        saved = site.result if site.gradients("weight") else ZERO  # b - a
        work = pointwise(site, flops=3, launches=3)
        weight = site.optional("weight")
        saves = () if weight is None or not site.gradients("a", "b") else (weight,)
        return replace(work, saves=saves, saved=saved, extra_traffic=4 * site.result)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("a", "b", "weight")]
        return call_code(lowering.helper("lerp"), *codes)

    def tile(self, lowering: Lowering) -> Code | None:
        return tile_of(lowering, "tile.lerp", "a", "b", "weight")


PRIMITIVES: tuple[Primitive, ...] = (
    *(Pointwise(function) for function in _FUNCTIONS),
    Gelu(),
    Clamp(),
    Extremum("maximum", "min"),
    Extremum("minimum", "max"),
    Lerp(),
)
