"""Time cut into blocks, which may overlap, and joined again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.blocks import cut_into_blocks, join_blocks
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import Kept, Site, Work, copy, grows, view
from gabc.ops.evaluated import integer, tensor
from gabc.ops.method_chain import MethodChain
from gabc.ops.sequence import AlongTime, X, axis_option, refuse_run_time_size
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


class Blocks(AlongTime):
    name = "blocks"
    parameters = (
        X,
        Parameter("size", ArgKind.DIM),
        Parameter("stride", ArgKind.DIM, None, keyword_only=True),
    )
    doc = (
        "Cuts time into blocks: [B, L, ...] to [B, ceil(L / size), size, ...]; beyond the end "
        "there are zeros. `unblocks` is the way back. With `stride=` there are ceil(L / stride) "
        "blocks, which may overlap: block n holds the positions `stride * n` to "
        "`stride * n + size - 1`."
    )

    def shape(self, call: Call) -> TensorType:
        x = call.type("x")
        axis = call.time_axis(x, counts_blocks=False)
        refuse_run_time_size(call, "size")
        size = call.dim("size")
        stride = size
        if call.args["stride"] is not None:
            refuse_run_time_size(call, "stride")
            stride = call.dim("stride")
        number = Dim.apply("ceil", x.dims[axis] / stride)
        return x.with_dims((*x.dims[:axis], number, size, *x.dims[axis + 1 :]))

    def dependence(self, call: DependenceCall) -> Dependence:
        x, size = call.of("x"), call.size("size")
        stride = size if call.args["stride"] is None else call.size("stride")
        return cut_into_blocks(call, x, call.axis(x), size, stride, call.results[0])

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, size, axis = tensor(args, "x"), integer(args, "size"), integer(args, "axis")
        stride = size if args["stride"] is None else integer(args, "stride")
        positions = list(x.unbind(axis))
        starts = range(0, len(positions), stride)
        positions += [torch.zeros_like(positions[0])] * size
        parts = [torch.stack(positions[at : at + size], dim=axis) for at in starts]
        return torch.stack(parts, dim=axis)

    def cost(self, site: Site) -> Work:
        x, axis = site.value("x"), site.integer("axis")
        kept = Kept(x, site.per_row(x, axis) * (site.size_of("size") - 1))
        return replace(copy(site), keeps=(kept,) if grows(site.dims(x)[axis]) else ())

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "size")]
        if lowering.argument("stride") is not None:
            codes.append(f"stride={lowering.code('stride').text}")
        return call_code(lowering.helper("blocks"), *codes, *axis_option(lowering))


class Unblocks(Primitive):
    name = "unblocks"
    parameters = (X,)
    doc = "Joins the blocks made by `blocks`: [B, ceil(L / C), C, ...] to [B, L, ...]."

    def shape(self, call: Call) -> TensorType:
        x = call.type("x")
        axis, time = self._place(call)
        return x.with_dims((*x.dims[:axis], time, *x.dims[axis + 2 :]))

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        axis, time = self._place(call)
        return {"axis": axis, "length": time}

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return join_blocks(call, x, call.axis(x), call.results[0])

    def _place(self, call: Call) -> tuple[int, Dim]:
        """The axis that counts the blocks, which is followed by the one inside them; and L."""
        x = call.type("x")
        if call.time is not None:
            for axis, (number, size) in enumerate(zip(x.dims, x.dims[1:], strict=False)):
                if call.prover.are_equal(number, Dim.apply("ceil", call.time / size)):
                    return axis, call.time
        raise call.fail(
            "GAB0204",
            f"`unblocks` finds no blocks of time in {x}",
            at="x",
            help="it joins two neighbouring axes of sizes ceil(L / C) and C, as `blocks` makes them"
            if call.time is not None
            else "inside `scan` one step has no time axis",
        )

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, axis, length = tensor(args, "x"), integer(args, "axis"), integer(args, "length")
        positions = [position for block in x.unbind(axis) for position in block.unbind(axis)]
        return torch.stack(positions[:length], dim=axis)

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        axis, length = lowering.argument("axis"), lowering.argument("length")
        assert isinstance(axis, int)
        assert isinstance(length, Dim)
        chain = MethodChain(lowering.code("x"), lowering.type("x").rank)
        chain.merge(axis, 2)
        if axis < 3:
            return Code(f"{chain.text}[{':, ' * axis}:{lowering.dim(length).text}]")
        chain.call("narrow", str(axis), "0", lowering.dim(length).text)
        return chain.code


PRIMITIVES: tuple[Primitive, ...] = (Blocks(), Unblocks())
