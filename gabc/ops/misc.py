"""Choice by a mask, casts, and the operations that change no value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.pointwise import chosen, elementwise
from gabc.dependence.values import UNARY, with_values
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import ZERO, Site, Work, copy, pointwise, view
from gabc.ops.evaluated import Args, number, operand, tensor
from gabc.ops.kinds import BOOL_TO_NUMBER, require_kind, widest
from gabc.ops.tiles import as_number, tile_of
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor

_X = Parameter("x", ArgKind.VALUE)


class Where(Primitive):
    name = "where"
    parameters = (
        Parameter("condition", ArgKind.VALUE),
        Parameter("a", ArgKind.TENSOR),
        Parameter("b", ArgKind.TENSOR),
    )
    doc = "`a` where the condition holds, `b` elsewhere; all three broadcast."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        require_kind(call, "condition", "bool", help="compare, as in where(x > 0.0, a, b)")
        kinds = [call.type(name).kind for name in ("a", "b")]
        if kinds.count("bool") == 1:
            raise call.fail(
                "GAB0109",
                "`where` chooses between a bool and a number",
                at="a" if kinds[0] == "bool" else "b",
                help=BOOL_TO_NUMBER,
            )
        return TensorType(widest(*kinds), call.broadcast(("condition", "a", "b")))

    def dependence(self, call: DependenceCall) -> Dependence:
        return chosen(call.of("condition"), call.of("a"), call.of("b"))

    def reference(self, args: Args) -> Tensor:
        return torch.where(tensor(args, "condition"), operand(args, "a"), operand(args, "b"))

    def cost(self, site: Site) -> Work:
        return pointwise(site, saves=(site.value("condition"),) if site.gradients() else ())

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("condition", "a", "b")]
        return call_code("torch.where", *codes)

    def tile(self, lowering: Lowering) -> Code | None:
        return tile_of(lowering, "tl.where", "condition", "a", "b")


class Fill(Primitive):
    name = "fill"
    parameters = (_X, Parameter("mask", ArgKind.VALUE), Parameter("value", ArgKind.NUMBER))
    doc = "`x` where the mask holds, `value` elsewhere: a masked value as its consumer wants it."
    internal = True

    def shape(self, call: Call) -> TensorType:
        require_kind(call, "mask", "bool")
        x = call.type("x")
        value = call.args["value"]
        assert isinstance(value, Literal)
        assert isinstance(value.value, float)
        if x.kind == "int" and not value.value.is_integer():
            raise call.fail(
                "GAB0109",
                f"masked ints have no {value.value} to stand outside the mask",
                at="x",
                help="write float(x) first",
            )
        return x.with_dims(call.broadcast(("x", "mask")))

    def dependence(self, call: DependenceCall) -> Dependence:
        return chosen(call.of("mask"), call.of("x"), call.of("value"))

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        value = number(args, "value")
        if not x.is_floating_point():
            value = bool(value) if x.dtype == torch.bool else int(value)
        return torch.where(tensor(args, "mask"), x, value)

    def cost(self, site: Site) -> Work:
        return pointwise(site, saves=(site.value("mask"),) if site.gradients("x") else ())

    def lower(self, lowering: Lowering) -> Code:
        x, mask = lowering.code("x").text, lowering.code("mask").text
        value = lowering.code("value").text
        match lowering.type("x").kind:
            case "bool":
                value = str(value != "0.0")
            case "int":
                value = str(int(float(value)))
        return call_code("torch.where", mask, x, value)

    def tile(self, lowering: Lowering) -> Code | None:
        return tile_of(lowering, "tl.where", "mask", "x", "value")


class Float32(Primitive):
    name = "f32"
    parameters = (_X,)
    doc = "`x` in float32, or in float64 if it is that: for what must not be rounded to bfloat16."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        return require_kind(call, "x", "float")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def cost(self, site: Site) -> Work:
        return view(site)  # a cast only where autocast has narrowed

    def lower(self, lowering: Lowering) -> Code:
        return call_code(lowering.helper("f32"), lowering.code("x").text)

    def tile(self, lowering: Lowering) -> Code | None:
        return lowering.code("x")


class ToFloat(Primitive):
    name = "float"
    parameters = (_X,)
    creates = True
    doc = "Ints or bools as floats; true is 1.0, false is 0.0."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        help = "leave it out; f32(x) asks for float32" if call.type("x").kind == "float" else ""
        return require_kind(call, "x", "int", "bool", help=help).with_kind("float")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Args) -> Tensor:
        return tensor(args, "x").to(tensor(args, "like").dtype)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        x = lowering.code("x").within(Precedence.ATOM)
        like = lowering.like()
        if like is None:
            return call_code(f"{x}.float")
        # A mask is exact in any float type; large ints are not exact in bfloat16.
        if lowering.type("x").kind == "bool":
            return call_code(f"{x}.to", f"{like.within(Precedence.ATOM)}.dtype")
        return call_code(f"{x}.to", call_code(lowering.helper("wide_dtype"), like.text).text)

    def tile(self, lowering: Lowering) -> Code | None:
        return as_number(lowering, "x")


class ToInt(Primitive):
    name = "int"
    parameters = (_X,)
    doc = "Floats cut off towards zero, or bools as 0 and 1, as 64-bit ints."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        help = "leave it out: it is an int" if call.type("x").kind == "int" else ""
        return require_kind(call, "x", "float", "bool", help=help).with_kind("int")

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return with_values(elementwise([x], int, may_overflow=False), UNARY["int"], x)

    def reference(self, args: Args) -> Tensor:
        x = tensor(args, "x")
        return torch.trunc(x).to(torch.int64) if x.is_floating_point() else x.to(torch.int64)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        return call_code(f"{lowering.code('x').within(Precedence.ATOM)}.long")


class Detach(Primitive):
    name = "detach"
    parameters = (_X,)
    doc = "`x`, with no gradient through it."
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        return call.type("x")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Args) -> Tensor:
        return tensor(args, "x").detach()

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        return call_code(f"{lowering.code('x').within(Precedence.ATOM)}.detach")

    def tile(self, lowering: Lowering) -> Code | None:
        return lowering.code("x")


class Dropout(Primitive):
    name = "dropout"
    parameters = (_X, Parameter("p", ArgKind.NUMBER))
    doc = (
        "In training sets each element to 0 with probability `p` and divides the others by "
        "`1 - p`; otherwise, and in proofs and tests, `x`."
    )
    keeps_mask = True

    def shape(self, call: Call) -> TensorType:
        p = call.args["p"]
        if isinstance(p, Literal) and not (isinstance(p.value, (int, float)) and 0 <= p.value < 1):
            raise call.fail(
                "GAB0109",
                f"the dropout probability must lie in [0, 1), and it is {p.value}",
                at="p",
            )
        return require_kind(call, "x", "float")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Args) -> Tensor:
        return tensor(args, "x").clone()

    def cost(self, site: Site) -> Work:
        # Only training drops; it keeps which elements it did not.
        return replace(pointwise(site), saved=site.result if site.gradients() else ZERO)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "p")]
        return call_code("F.dropout", *codes, "self.training")


PRIMITIVES: tuple[Primitive, ...] = (
    Where(),
    Fill(),
    Float32(),
    ToFloat(),
    ToInt(),
    Detach(),
    Dropout(),
)
