"""Tensors made from nothing but sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.dependence.bounds import ZERO, number
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import NOWHERE, Constraint, Dependence, Fill
from gabc.dependence.forms import Line, axis_form
from gabc.dependence.values import constant_values, line_values
from gabc.dependence.zones import difference_of
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import B, L, TensorType
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import Site, Work, copy
from gabc.ops.evaluated import Args, integer, integers, tensor
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    Tensor = torch.Tensor


class Positions(Primitive):
    name = "positions"
    parameters = ()
    creates = True
    doc = "`[0.0, 1.0, ..., L - 1]`: where each position of the sequence stands."

    def shape(self, call: Call) -> TensorType:
        if call.parameter is not None:
            raise call.fail(
                "GAB0115",
                "an initialiser has no sequence, so no `positions`",
                help="`arange(n)` counts to a size of the configuration",
            )
        if call.time is None:
            raise call.fail(
                "GAB0115",
                "`positions` is the whole sequence's, and a scan sees one step",
                help="`t` is the step's position",
            )
        if call.time != L:
            raise call.fail(
                "GAB0115",
                "`positions` is the whole sequence's, and this scan sees one chunk",
                help="pass them to the scan, as in scan(x, p=positions()) chunk C { ... }; "
                f"arange({call.time}) counts inside the chunk",
            )
        return TensorType("float", (L,))

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        return {"length": L}

    def dependence(self, call: DependenceCall) -> Dependence:
        return Dependence(call.results[0], values=line_values(Line(axis_form(-1))))

    def reference(self, args: Args) -> Tensor:
        return _count(args, integer(args, "length"))

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(())

    def stream(self, call: StreamCall) -> Tensor:
        return call.positions

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        return new_tensor(lowering, "torch.arange", lowering.dim(L).text)


class Arange(Primitive):
    name = "arange"
    parameters = (Parameter("n", ArgKind.DIM),)
    creates = True
    doc = "`[0.0, 1.0, ..., n - 1]`, floats."

    def shape(self, call: Call) -> TensorType:
        return TensorType("float", (_size(call, "write positions() for 0.0 ... L - 1"),))

    def dependence(self, call: DependenceCall) -> Dependence:
        return Dependence(call.results[0], values=line_values(Line(axis_form(-1))))

    def reference(self, args: Args) -> Tensor:
        return _count(args, integer(args, "n"))

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        return new_tensor(lowering, "torch.arange", lowering.code("n").text)


class Eye(Primitive):
    name = "eye"
    parameters = (Parameter("n", ArgKind.DIM),)
    creates = True
    doc = "The identity matrix `[n, n]`."

    def shape(self, call: Call) -> TensorType:
        n = _size(call, "compare positions, as in positions()[:, None] == positions()[None, :]")
        return TensorType("float", (n, n))

    def dependence(self, call: DependenceCall) -> Dependence:
        diagonal = Constraint(difference_of(-2, -1), ZERO, ZERO, call.span)
        return Dependence(call.results[0], fills=(Fill(0.0, ((diagonal,),)),))

    def reference(self, args: Args) -> Tensor:
        index = _count(args, integer(args, "n"))
        return torch.where(index[:, None] == index, torch.ones_like(index), 0.0)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        return new_tensor(lowering, "torch.eye", lowering.code("n").text)


class Constant(Primitive):
    """`zeros` and `ones`. In an initialiser the sizes may be left out: they are the parameter's."""

    parameters = (Parameter("dims", ArgKind.DIMS, variadic=True),)
    creates = True

    def __init__(self, name: str, value: float) -> None:
        self.name = name
        self.doc = (
            f"A tensor of {value} with the given sizes; `{name}()` in an initialiser has the "
            "parameter's."
        )
        self._value = value

    def shape(self, call: Call) -> TensorType:
        dims = call.dims("dims")
        if dims:
            return TensorType("float", dims)
        if call.parameter is None:
            raise call.fail(
                "GAB0107",
                f"`{self.name}` needs sizes here",
                help=f"write {self.name}(B, L, D), or {self._value}, which broadcasts",
            )
        return TensorType("float", call.parameter.dims)

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        return {"dims": self.shape(call).dims}

    def dependence(self, call: DependenceCall) -> Dependence:
        constant = number(int(self._value))
        return Dependence(
            call.results[0], fills=(Fill(self._value, NOWHERE),), values=constant_values(constant)
        )

    def reference(self, args: Args) -> Tensor:
        return tensor(args, "like").new_full(integers(args, "dims"), self._value)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        sizes = [code.text for code in lowering.codes("dims")] or ["()"]
        return new_tensor(lowering, f"torch.{self.name}", *sizes)


def _count(args: Args, n: int) -> Tensor:
    like = tensor(args, "like")
    return torch.arange(n, dtype=like.dtype, device=like.device)


def _size(call: Call, time_help: str) -> Dim:
    n = call.dim("n")
    for dim, help in ((L, time_help), (B, "rows of the batch cannot be told apart")):
        if not n.symbols().isdisjoint(dim.symbols()):
            raise call.fail(
                "GAB0207", f"`{dim}` is no number for `{call.primitive.name}`", at="n", help=help
            )
    return n


def new_tensor(lowering: Lowering, function: str, *sizes: str) -> Code:
    """A call that makes a tensor on the right device, in float32 at least.

    Positions above 256 have no exact bfloat16; what a state starts from accumulates.
    """
    like = lowering.like()
    if like is None:
        # torch.arange of ints would be ints.
        return call_code(function, *sizes, *["dtype=torch.float32"] * (function == "torch.arange"))
    dtype = call_code(lowering.helper("wide_dtype"), like.text).text
    device = f"{like.within(Precedence.ATOM)}.device"
    return call_code(function, *sizes, f"dtype={dtype}", f"device={device}")


PRIMITIVES: tuple[Primitive, ...] = (
    Positions(),
    Arange(),
    Eye(),
    Constant("zeros", 0.0),
    Constant("ones", 1.0),
)
