"""Operations along the time axis: shifts, sums, means and the causal mask.

In a chunked scan the time axis is the chunk's; in a scan of single steps there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.bounds import INFINITY, ONE
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.pieces import delayed, masked_by_order
from gabc.dependence.reductions import windowed
from gabc.dependence.values import counted, with_values
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import TensorType
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import ZERO, Kept, Site, Work, copy, grows, reduction, view
from gabc.ops.evaluated import integer, tensor
from gabc.ops.kinds import require_kind
from gabc.ops.method_chain import axis_number
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

X = Parameter("x", ArgKind.VALUE)


class AlongTime(Primitive):
    """Works along the time axis of `x`, which `resolve` adds to the arguments as `axis`."""

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        return {"axis": call.time_axis(call.type("x"))}


def axis_option(lowering: Lowering) -> list[str]:
    """`axis=...` for a helper, whose default is the time axis's usual place, 1."""
    axis = lowering.argument("axis")
    return [] if axis == 1 else [f"axis={axis}"]


class Shift(AlongTime):
    name = "shift"
    parameters = (X, Parameter("k", ArgKind.INT, 1))
    doc = "The value `k` >= 0 positions back in time; zero before the start."

    def shape(self, call: Call) -> TensorType:
        x = call.type("x")
        call.time_axis(x)
        if call.integer("k") < 0:
            raise call.fail(
                "GAB0210",
                f"`shift` by {call.integer('k')} would read the future: `k` counts positions back",
                at="k",
                help="a position can only see itself and those before it",
            )
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return delayed(call, x, call.axis(x), call.integer("k"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, k, axis = tensor(args, "x"), integer(args, "k"), integer(args, "axis")
        positions = x.unbind(axis)
        zero = torch.zeros_like(positions[0])
        earlier = [positions[now - k] if now >= k else zero for now in range(len(positions))]
        return torch.stack(earlier, dim=axis)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        steps = args["k"]
        assert isinstance(steps, int)
        return Memory(("x",), rings={"x": Dim.const(steps)})

    def stream(self, call: StreamCall) -> torch.Tensor:
        return call.past("x")[:, : tensor(call.args, "x").shape[1]]

    def cost(self, site: Site) -> Work:
        x, axis = site.value("x"), site.integer("axis")
        kept = Kept(x, site.per_row(x, axis) * site.integer("k"))
        return replace(copy(site), keeps=(kept,) if grows(site.dims(x)[axis]) else ())

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code("x").text, str(lowering.argument("k"))]
        return call_code(lowering.helper("shift"), *codes, *axis_option(lowering))


class Cumsum(Primitive):
    name = "cumsum"
    parameters = (X, Parameter("axis", ArgKind.INT, None))
    doc = "The sum up to and including each position, along time or along `axis`."
    fills: Mapping[str, float] = {"x": 0.0}

    def shape(self, call: Call) -> TensorType:
        x = call.type("x")
        self.resolve(call)
        return x.with_kind("int") if x.kind == "bool" else x

    def resolve(self, call: Call) -> Mapping[str, Argument]:
        x = call.type("x")
        return {"axis": call.axis(x) if call.given("axis") else call.time_axis(x)}

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        name = call.axis(x)
        result = windowed(call, x, name, -INFINITY, neutral=0.0)
        return with_values(result, lambda values: counted(values, name), x)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, axis = tensor(args, "x"), integer(args, "axis")
        total = torch.zeros_like(x.select(axis, 0))
        totals = []
        for part in x.unbind(axis):
            total = total + (part.long() if part.dtype == torch.bool else part)
            totals.append(total)
        return torch.stack(totals, dim=axis)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(("x",))

    def stream(self, call: StreamCall) -> torch.Tensor:
        return _running_sum(call)

    def cost(self, site: Site) -> Work:
        x, axis = site.value("x"), site.integer("axis")
        kept = Kept(site.outputs[0], site.per_row(site.outputs[0], axis))
        return replace(reduction(site), keeps=(kept,) if grows(site.dims(x)[axis]) else ())

    def lower(self, lowering: Lowering) -> Code:
        axis = lowering.argument("axis")
        assert isinstance(axis, int)
        x = lowering.code("x").within(Precedence.ATOM)
        return call_code(f"{x}.cumsum", str(axis_number(axis, lowering.type("x").rank)))


class RunningMean(AlongTime):
    name = "running_mean"
    parameters = (X,)
    doc = "The mean over all positions up to and including each one."

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "float")
        call.time_axis(x)
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return windowed(call, x, call.axis(x), -INFINITY)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, axis = tensor(args, "x"), integer(args, "axis")
        return _past_means(x, axis, x.shape[axis])

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(("x",))

    def stream(self, call: StreamCall) -> torch.Tensor:
        x = tensor(call.args, "x")
        return (_running_sum(call) / _along(call.positions + 1.0, x)).to(x.dtype)

    def cost(self, site: Site) -> Work:
        x, axis = site.value("x"), site.integer("axis")
        total = Kept(site.outputs[0], site.per_row(x, axis))
        keeps = (total,) if grows(site.dims(x)[axis]) else ()
        return replace(reduction(site, 2, launches=3), keeps=keeps)

    def lower(self, lowering: Lowering) -> Code:
        x = lowering.code("x").text
        return call_code(lowering.helper("running_mean"), x, *axis_option(lowering))


class WindowMean(AlongTime):
    name = "window_mean"
    parameters = (X, Parameter("size", ArgKind.DIM))
    doc = "The mean over the last `size` positions, the present one included, or all there are."

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "float")
        call.time_axis(x)
        refuse_run_time_size(call, "size")
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return windowed(call, x, call.axis(x), ONE - call.size("size"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        return _past_means(tensor(args, "x"), integer(args, "axis"), integer(args, "size"))

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        size = args["size"]
        assert isinstance(size, Dim)
        return Memory(("x",), rings={"x": size - 1})

    def stream(self, call: StreamCall) -> torch.Tensor:
        x, size = tensor(call.args, "x"), integer(call.args, "size")
        dtype = torch.promote_types(x.dtype, torch.float32)
        total = call.past("x").unfold(1, size, 1).sum(-1, dtype=dtype)
        return (total / _along((call.positions + 1.0).clamp(max=size), x)).to(x.dtype)

    def cost(self, site: Site) -> Work:
        x, axis = site.value("x"), site.integer("axis")
        kept = Kept(x, site.per_row(x, axis) * (site.size_of("size") - 1))
        keeps = (kept,) if grows(site.dims(x)[axis]) else ()
        work = reduction(site, launches=6)
        saved = site.result if site.gradients() else ZERO
        return replace(work, pointwise=site.result * site.size_of("size"), saved=saved, keeps=keeps)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "size")]
        return call_code(lowering.helper("window_mean"), *codes, *axis_option(lowering))


def _running_sum(call: StreamCall) -> torch.Tensor:
    """The sum of `x` [R, T, ...] up to each position, in float32 at least; carried on."""
    x = tensor(call.args, "x")
    if x.is_floating_point():
        x = x.to(torch.promote_types(x.dtype, torch.float32))
    total = x.cumsum(1)
    if call.carried is not None:
        total = total + call.carried[0][:, None]
    call.carry(total[:, -1])
    return total


def _along(positions: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[R, T] as [R, T, 1, ...], to broadcast with x [R, T, ...]."""
    return positions.reshape(*positions.shape, *(1,) * (x.dim() - 2))


def _past_means(x: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """The mean over at most `size` positions up to each one."""
    means = []
    for end in range(1, x.shape[axis] + 1):
        start = max(0, end - size)
        means.append(x.narrow(axis, start, end - start).mean(axis))
    return torch.stack(means, dim=axis)


def refuse_run_time_size(call: Call, name: str) -> None:
    """A size that shapes a computation is one of the configuration (GAB0207)."""
    for symbol in ("B", "L"):
        if symbol in call.dim(name).symbols():
            raise call.fail(
                "GAB0207",
                f"`{call.primitive.name}` needs a `{name}` of the configuration, and "
                f"`{call.dim(name)}` depends on `{symbol}`",
                at=name,
                help="a position may not depend on how long the sequence is",
            )


class Causal(Primitive):
    name = "causal"
    parameters = (Parameter("a", ArgKind.VALUE),)
    doc = (
        "`a` [..., q, k] masked to keys at or before the query; what consumes it fills the rest: "
        "zeros in a sum, nothing in a softmax or a maximum."
    )

    def shape(self, call: Call) -> TensorType:
        """The type of the mask alone, [q, k]; the elaborator lays it on `a`."""
        a = call.type("a")
        if a.rank < 2:
            raise call.fail(
                "GAB0202",
                f"`causal` masks the last two axes, query and key, and {a} has none",
                at="a",
            )
        query, key = a.dims[-2:]
        message = f"`causal` compares positions of the last two axes of {a}: `{query}` and `{key}`"
        call.require_equal(query, key, f"{message} differ", "a")
        return TensorType("bool", (query, key))

    def dependence(self, call: DependenceCall) -> Dependence:
        return masked_by_order(call)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        a = tensor(args, "a")
        query, key = (torch.arange(size, device=a.device) for size in a.shape[-2:])
        return key[None, :] <= query[:, None]

    def cost(self, site: Site) -> Work:
        return copy(site, launches=2)

    def lower(self, lowering: Lowering) -> Code:
        return call_code(lowering.helper("causal_mask"), lowering.code("a").text)


class Masked(Primitive):
    name = "masked"
    parameters = (Parameter("a", ArgKind.VALUE), Parameter("keep", ArgKind.VALUE))
    doc = "`a` masked to where `keep` is true; what consumes it fills the rest, as with `causal`."

    def shape(self, call: Call) -> TensorType:
        """The type of the mask alone; the elaborator lays it on `a`."""
        a, keep = call.type("a"), require_kind(call, "keep", "bool")
        if keep.rank > a.rank:
            raise call.fail(
                "GAB0202", f"the mask {keep} has more axes than the value {a}", at="keep"
            )
        for dim, place in zip(reversed(keep.dims), reversed(a.dims), strict=False):
            if not dim.is_one:
                message = f"the mask {keep} does not fit {a}: `{dim}` and `{place}` differ"
                call.require_equal(dim, place, message, "keep")
        return keep

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("keep")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        return tensor(args, "keep")

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        return lowering.code("keep")


PRIMITIVES: tuple[Primitive, ...] = (
    Shift(),
    Cumsum(),
    RunningMean(),
    WindowMean(),
    Causal(),
    Masked(),
)
