"""The operators: `a + b`, `a < b`, `not a`, and so on. At least one operand is a tensor."""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import NOWHERE, Dependence, Fill, Spoilt
from gabc.dependence.overflow import masked_by_product, unmasked, varies, varying_axes
from gabc.dependence.pointwise import elementwise, known_fills
from gabc.dependence.ranges import combined
from gabc.dependence.values import BINARY, UNARY, compared, with_values
from gabc.graph.nodes import Value
from gabc.graph.pycode import Code, Precedence, binary, unary
from gabc.graph.static import Literal
from gabc.graph.types import Kind, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import Site, Work, pointwise
from gabc.ops.evaluated import Args, operand, tensor
from gabc.ops.kinds import require_kind, widest
from gabc.ops.tiles import as_number, power
from gabc.ops.torch_lazy import torch
from gabc.syntax.source import Span

_PAIR = (Parameter("a", ArgKind.TENSOR), Parameter("b", ArgKind.TENSOR))


class _Binary(Primitive):
    parameters = _PAIR
    internal = True
    keeps_mask = True

    def __init__(
        self, name: str, symbol: str, python: str, apply: Callable[..., object], doc: str
    ) -> None:
        """`symbol` is what the author writes, `python` what the lowering writes."""
        self.name = name
        self.symbol = symbol
        self.doc = doc
        self._python = python
        self._apply = apply

    def shape(self, call: Call) -> TensorType:
        kind = self.kind(call)
        return TensorType(kind, call.broadcast(("a", "b")))

    @abstractmethod
    def kind(self, call: Call) -> Kind:
        """The kind of the result; refused (GAB0109) for operands of the wrong kind."""

    def reference(self, args: Args) -> torch.Tensor:
        result = self._apply(operand(args, "a"), operand(args, "b"))
        assert isinstance(result, torch.Tensor)
        return result

    def cost(self, site: Site) -> Work:
        saved = []
        a, b = site.optional("a"), site.optional("b")
        if self.name in ("mul", "div", "pow"):
            # The derivative in one factor is the other; that of a quotient or power needs both.
            if b is not None and (site.gradients("a") or self.name == "pow"):
                saved.append(b)
            if a is not None and (site.gradients("b") or self.name == "pow"):
                saved.append(a)
        return pointwise(site, saves=saved if site.gradients() else ())

    def lower(self, lowering: Lowering) -> Code:
        return binary(self._python, lowering.code("a"), lowering.code("b"))

    def tile(self, lowering: Lowering) -> Code | None:
        return self.lower(lowering)


class Arithmetic(_Binary):
    """Numbers to numbers. Ints stay ints, but for the true division."""

    def kind(self, call: Call) -> Kind:
        allowed: tuple[Kind, ...] = ("float", "int", "complex")
        if self.name in ("mod", "floordiv"):
            allowed = ("float", "int")
        kinds = [require_kind(call, name, *allowed, symbol=self.symbol).kind for name in "ab"]
        return widest("float", *kinds) if self.name == "div" else widest(*kinds)

    def dependence(self, call: DependenceCall) -> Dependence:
        a, b = call.of("a"), call.of("b")
        result = elementwise([a, b], self._apply, absorbing=_ABSORBING.get(self.name))
        result = replace(result, within=combined(self.name, a.range, b.range))
        if _may_be_infinite(self.name, a, b):
            result = replace(result, may_overflow=True)
        spoilt = _spoilt(self.name, a, b, call.span) or _spoilt(self.name, b, a, call.span)
        if spoilt is not None:
            result = replace(result, spoilt=spoilt)
        if self.name == "div":
            result = _quotient(result, a, b, call.span)
        return with_values(result, BINARY.get(self.name), a, b)

    def tile(self, lowering: Lowering) -> Code | None:
        return None if self.name in ("mod", "floordiv") else self.lower(lowering)


def _quotient(result: Dependence, a: Dependence, b: Dependence, span: Span) -> Dependence:
    """With the zeros of `a` kept. 0 / 0 is not 0: a divisor may be 0 at positions of its own."""
    can_vanish = set() if b.range.has_sign else varying_axes(b)
    kept = unmasked(a.zone(0.0), can_vanish)
    spoilt = result.spoilt
    if kept != a.zone(0.0):
        spoilt = Spoilt(
            span,
            f"`{span.text}` divides a mask's zeros by what may be zero, and 0 / 0 is not 0",
            "mask the quotient: `where(mask, a / b, 0.0)`, or `masked(a / b, mask)`",
        )
    return replace(result, fills=known_fills((*result.fills, Fill(0.0, kept))), spoilt=spoilt)


def _may_be_infinite(name: str, a: Dependence, b: Dependence) -> bool:
    """Whether finite operands can give what is infinite, or not a number, at some position."""
    match name:
        case "div" | "mod" | "floordiv":
            return varies(b) and not b.range.has_sign
        case "pow":
            power = b.constant
            is_polynomial = power is not None and power >= 0 and power == int(power)
            is_defined = is_polynomial or a.range.least > 0.0
            return varies(b) or (varies(a) and not is_defined)
    return False


_ABSORBING = {"mul": 0.0, "add": -math.inf}
"""What one operand may be to decide the result alone."""


_HUGE = 1e3
"""An added number below minus this is meant as a mask."""


def _spoilt(name: str, mask: Dependence, other: Dependence, span: Span) -> Spoilt | None:
    """A product or a sum that is meant to mask and does not."""
    zones = {fill.constant: fill.zone for fill in mask.fills if fill.zone != NOWHERE}
    if name == "mul" and 0.0 in zones and other.may_overflow:
        return masked_by_product(span)
    if name == "add" and any(-math.inf < constant < -_HUGE for constant in zones):
        return Spoilt(
            span,
            "an added number is no mask, however large: a score can be larger",
            "mask the scores themselves: `causal(scores)` or `masked(scores, keep)`",
        )
    return None


class Product(Arithmetic):
    """`a * b`; a mask may multiply a tensor of numbers."""

    def kind(self, call: Call) -> Kind:
        a, b = call.type("a").kind, call.type("b").kind
        if (a, b) == ("bool", "bool"):
            raise call.fail(
                "GAB0109",
                "`*` of two bools: a product of masks is their conjunction",
                help="write `a and b`",
            )
        if "bool" in (a, b) and all(isinstance(call.args[name], Value) for name in "ab"):
            return widest(a, b)
        return super().kind(call)

    def tile(self, lowering: Lowering) -> Code | None:
        return binary("*", as_number(lowering, "a"), as_number(lowering, "b"))


class Power(Arithmetic):
    def kind(self, call: Call) -> Kind:
        kind = super().kind(call)
        exponent = call.args["b"]
        if kind == "int":
            match exponent:
                case Literal(int(number)) if number >= 0:
                    return "int"
            raise call.fail(
                "GAB0109",
                "`**` of ints needs an exponent that is a literal of at least 0",
                at="b",
                help="another power of an int may be a fraction: write float(...) around the base, "
                "or 2.0 for 2",
            )
        return kind

    def tile(self, lowering: Lowering) -> Code | None:
        return power(lowering)


class FloorDivision(Arithmetic):
    """Of floats `floor(a / b)`: torch's `//` has no derivative."""

    def reference(self, args: Args) -> torch.Tensor:
        a, b = operand(args, "a"), operand(args, "b")
        if any(isinstance(x, float) or _is_float(x) for x in (a, b)):
            return torch.floor(torch.as_tensor(a / b))
        return super().reference(args)

    def lower(self, lowering: Lowering) -> Code:
        if lowering.result.kind == "int":
            return super().lower(lowering)
        quotient = binary("/", lowering.code("a"), lowering.code("b"))
        return call_code("torch.floor", quotient.text)


def _is_float(x: torch.Tensor | float) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


class Comparison(_Binary):
    """Numbers to bool; `==` and `!=` also compare bools with bools."""

    def kind(self, call: Call) -> Kind:
        kinds = [call.type(name).kind for name in "ab"]
        is_equality = self.name in ("eq", "ne")
        if not (is_equality and kinds == ["bool", "bool"]):
            allowed: tuple[Kind, ...] = (
                ("float", "int", "complex") if is_equality else ("float", "int")
            )
            for name in "ab":
                require_kind(call, name, *allowed, symbol=self.symbol)
        return "bool"

    def dependence(self, call: DependenceCall) -> Dependence:
        return compared(self.name, call.of("a"), call.of("b"), call.span)


class Logical(_Binary):
    """Bools to bool, element by element; both sides are always evaluated."""

    def kind(self, call: Call) -> Kind:
        for name in "ab":
            require_kind(call, name, "bool", symbol=self.symbol, help=_LOGICAL_HELP)
        return "bool"

    def dependence(self, call: DependenceCall) -> Dependence:
        both = self.name == "logical_and"
        return elementwise(
            [call.of("a"), call.of("b")], min if both else max, absorbing=0.0 if both else 1.0
        )


_LOGICAL_HELP = "compare first, as in `x > 0.0`; to gate a tensor multiply by the gate"


class Negation(Primitive):
    name = "neg"
    parameters = (Parameter("a", ArgKind.VALUE),)
    doc = "`-a`."
    internal = True
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        help = "write `not mask`" if call.type("a").kind == "bool" else ""
        return require_kind(call, "a", "float", "int", "complex", symbol="-", help=help)

    def dependence(self, call: DependenceCall) -> Dependence:
        a = call.of("a")
        return with_values(elementwise([a], operator.neg), UNARY["neg"], a)

    def reference(self, args: Args) -> torch.Tensor:
        return -tensor(args, "a")

    def lower(self, lowering: Lowering) -> Code:
        return unary("-", lowering.code("a"))

    def tile(self, lowering: Lowering) -> Code | None:
        return self.lower(lowering)


class LogicalNot(Primitive):
    name = "logical_not"
    parameters = (Parameter("a", ArgKind.VALUE),)
    doc = "`not a`, element by element."
    internal = True
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        return require_kind(call, "a", "bool", symbol="not", help=_LOGICAL_HELP)

    def dependence(self, call: DependenceCall) -> Dependence:
        return elementwise([call.of("a")], lambda a: 1.0 - a)

    def reference(self, args: Args) -> torch.Tensor:
        return torch.logical_not(tensor(args, "a"))

    def lower(self, lowering: Lowering) -> Code:
        return Code(f"~{lowering.code('a').within(Precedence.UNARY)}", Precedence.UNARY)

    def tile(self, lowering: Lowering) -> Code | None:
        return self.lower(lowering)


PRIMITIVES: tuple[Primitive, ...] = (
    Arithmetic("add", "+", "+", operator.add, "`a + b`."),
    Arithmetic("sub", "-", "-", operator.sub, "`a - b`."),
    Product("mul", "*", "*", operator.mul, "`a * b`; one operand may be a mask, read as 0 and 1."),
    Arithmetic("div", "/", "/", operator.truediv, "`a / b`, the true division: always a float."),
    Power("pow", "**", "**", operator.pow, "`a ** b`."),
    Arithmetic(
        "mod", "%", "%", operator.mod, "`a % b`, with the sign of `b`, as Python's; never fmod."
    ),
    FloorDivision(
        "floordiv", "//", "//", operator.floordiv, "`a // b`, rounded down; its gradient is 0."
    ),
    Comparison("eq", "==", "==", operator.eq, "`a == b`."),
    Comparison("ne", "!=", "!=", operator.ne, "`a != b`."),
    Comparison("lt", "<", "<", operator.lt, "`a < b`."),
    Comparison("le", "<=", "<=", operator.le, "`a <= b`."),
    Comparison("gt", ">", ">", operator.gt, "`a > b`."),
    Comparison("ge", ">=", ">=", operator.ge, "`a >= b`."),
    Logical("logical_and", "and", "&", operator.and_, "`a and b`, element by element."),
    Logical("logical_or", "or", "|", operator.or_, "`a or b`, element by element."),
    Negation(),
    LogicalNot(),
)
