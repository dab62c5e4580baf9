"""Broadcasting a value to a declared shape: a parameter's initial value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.graph.nodes import Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive
from gabc.ops.create import new_tensor
from gabc.ops.evaluated import integers, number, tensor
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


class Spread(Primitive):
    """Only in initialisers, whose elaboration has checked that the value fits."""

    name = "spread"
    parameters = (Parameter("value", ArgKind.TENSOR), Parameter("dims", ArgKind.DIMS))
    doc = "A number or tensor broadcast to a parameter's shape."
    internal = True
    creates = True

    def shape(self, call: Call) -> TensorType:
        return TensorType(call.type("value").kind, call.dims("dims"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        value, dims = args["value"], integers(args, "dims")
        if isinstance(value, torch.Tensor):
            return torch.broadcast_to(value, dims).clone()
        return tensor(args, "like").new_full(dims, number(args, "value"))

    def lower(self, lowering: Lowering) -> Code:
        value = lowering.code("value")
        sizes = [code.text for code in lowering.codes("dims")]
        if isinstance(lowering.argument("value"), Value):
            return Code(f"{value.within(Precedence.ATOM)}.expand({', '.join(sizes)}).clone()")
        shape = f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
        return new_tensor(lowering, "torch.full", shape, value.text)


PRIMITIVES: tuple[Primitive, ...] = (Spread(),)
