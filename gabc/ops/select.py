"""Choosing elements by data: indexing by int tensors, the k largest, one-hot masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.bounds import ONE
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Dependence, Extent, Values
from gabc.dependence.forms import Line, axis_form
from gabc.dependence.lookup import Place, looked_up
from gabc.dependence.moves import moved, renaming
from gabc.dependence.pointwise import broadcast_axes
from gabc.dependence.reductions import normalisation, reduced
from gabc.dependence.values import compared
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.bounds import require_at_most
from gabc.ops.cost import Kept, Site, Work, grows, log2, pointwise
from gabc.ops.cost import tensors as operands_of
from gabc.ops.evaluated import integer, tensor, tensors
from gabc.ops.kinds import require_kind
from gabc.ops.lift import LiftCall, along_axis
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_X = Parameter("x", ArgKind.VALUE)
_UNIT = Axis(Extent.STATIC, ONE)
_INDEX = Parameter("index", ArgKind.VALUE)


class Lookup(Primitive):
    name = "lookup"
    parameters = (_X, Parameter("indices", ArgKind.VALUES, variadic=True))
    doc = (
        "`bias[h, i - j]` in an `attend` block: the element at int tensors that broadcast "
        "together. The indices take the first axes in order; an index outside its axis reads 0."
    )
    internal = True

    def shape(self, call: Call) -> TensorType:
        x, indices = call.type("x"), call.values("indices")
        if len(indices) > x.rank:
            raise call.fail(
                "GAB0202",
                f"{len(indices)} indices into {x}, which has {x.rank} axes",
                at="indices",
            )
        for value in indices:
            if value.type.kind != "int":
                raise call.fail(
                    "GAB0109",
                    f"an index is an int, and this one is {value.type}",
                    at="indices",
                    help="`int(x)` cuts a float off",
                )
        return x.with_dims((*_together(call, indices), *x.dims[len(indices) :]))

    def dependence(self, call: DependenceCall) -> Dependence:
        x, indices = call.of("x"), call.all("indices")
        rest = x.rank - len(indices)
        by = {name: name - rest for name in range(-32, 0)}
        together = (*broadcast_axes(indices), *x.axes[len(indices) :])
        places = [
            Place(place + 1, x.axes[place], moved(index, together, renaming(by)))
            for place, index in enumerate(indices)
        ]
        names = {place.name - 1 - x.rank: place.name for place in places}
        # The legs on the axes that are read get the places' names before they are looked up.
        return looked_up(call, x, places, names, call.results[0])

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        return _padded_lookup(tensor(args, "x"), tensors(args, "indices"))

    def cost(self, site: Site) -> Work:
        x, indices = site.value("x"), tuple(operands_of(site.args["indices"]))
        dims = site.dims(x)
        has_past = any(map(grows, dims)) and any("B" in dim.symbols() for dim in dims)
        return Work(
            launches=Dim.const(3 + 5 * len(indices)),
            saves=indices if site.gradients("x") else (),
            keeps=(Kept(x, site.per_row(x)),) if has_past else (),
        )

    def lower(self, lowering: Lowering) -> Code:
        indices = [code.text for code in lowering.codes("indices")]
        return call_code(lowering.helper("lookup"), lowering.code("x").text, *indices)


def _together(call: Call, indices: tuple[Value, ...]) -> tuple[Dim, ...]:
    """The dims that the indices broadcast to (GAB0201)."""
    rank = max((value.type.rank for value in indices), default=0)
    result = [Dim.const(1)] * rank
    for value in indices:
        for place in range(-value.type.rank, 0):
            dim = value.type.dims[place]
            if result[place].is_one:
                result[place] = dim
            elif not dim.is_one:
                shapes = " and ".join(str(index.type) for index in indices)
                message = f"the indices {shapes} do not broadcast: `{result[place]}` and `{dim}`"
                call.require_equal(result[place], dim, message, "indices")
    return tuple(result)


def _padded_lookup(x: torch.Tensor, indices: list[torch.Tensor]) -> torch.Tensor:
    """Every indexed axis gets one more element, zero, which all indices outside it read."""
    sizes = [size + 1 if axis < len(indices) else size for axis, size in enumerate(x.shape)]
    padded = torch.zeros(sizes, dtype=x.dtype, device=x.device)
    padded[tuple(slice(size) for size in x.shape)] = x
    inside = []
    for size, index in zip(x.shape, indices, strict=False):
        inside.append(torch.where((index < 0) | (index >= size), size, index))
    return padded[tuple(inside)]


class Take(Primitive):
    name = "take"
    parameters = (Parameter("table", ArgKind.VALUE), _INDEX)
    doc = (
        "Rows of a table by index, as of a codebook: `table` [N, ...], `index` [*I] -> [*I, ...]. "
        "An index outside the table reads zeros."
    )

    def shape(self, call: Call) -> TensorType:
        table, index = call.type("table"), require_kind(call, "index", "int")
        if not table.rank:
            raise call.fail("GAB0202", "`take` needs a table with rows", at="table")
        _refuse_data_dependence(call, table.dims[0], "table")
        return table.with_dims((*index.dims, *table.dims[1:]))

    def dependence(self, call: DependenceCall) -> Dependence:
        table, index = call.of("table"), call.of("index")
        by = {name: name - (table.rank - 1) for name in range(-32, 0)}
        place = Place(1, table.axes[0], moved(index, call.results[0], renaming(by)))
        return looked_up(call, table, [place], {-table.rank: 1}, call.results[0])

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        table, index = tensor(args, "table"), tensor(args, "index")
        asked = index.reshape(*index.shape, *(1,) * (table.dim() - 1))
        found = torch.zeros_like(table[0]).expand(*index.shape, *table.shape[1:])
        for row in range(table.shape[0]):
            found = torch.where(asked == row, table[row], found)
        return found

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        if call.new_axes(call.value("table")):
            raise call.fail("reads a table that changes with time")
        return call.all()

    def cost(self, site: Site) -> Work:
        saves = (site.value("index"),) if site.gradients("table") else ()
        return Work(launches=Dim.const(8), saves=saves)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("table", "index")]
        return call_code(lowering.helper("lookup"), *codes)


def _refuse_data_dependence(call: Call, dim: Dim, at: str) -> None:
    """Which position or row is read may not depend on data: no proof could follow it (GAB0204)."""
    for symbol, axis in (("L", "time"), ("B", "batch")):
        if symbol in dim.symbols():
            raise call.fail(
                "GAB0204",
                f"`{call.primitive.name}` cannot read along the {axis} axis `{dim}` by data",
                at=at,
                help="`shift(x, k)` reads a fixed number of positions back; `attend` and `masked` "
                "choose among all past positions"
                if axis == "time"
                else "rows of the batch never mix",
            )


class Gather(Primitive):
    name = "gather"
    parameters = (_X, _INDEX, Parameter("axis", ArgKind.INT, -1))
    doc = (
        "Elements of `x` along an axis, by index: `index` has the shape of `x` but along the axis, "
        "and so has the result. An index outside the axis reads 0."
    )

    def shape(self, call: Call) -> TensorType:
        x, index = call.type("x"), require_kind(call, "index", "int")
        axis = call.axis(x)
        if index.rank != x.rank:
            raise call.fail(
                "GAB0202",
                f"`gather` needs an index with the axes of {x}, not {index}",
                at="index",
                help="`take(table, index)` reads whole rows of a table",
            )
        _refuse_data_dependence(call, x.dims[axis], "axis")
        for place, (dim, other) in enumerate(zip(x.dims, index.dims, strict=True)):
            if place != axis:
                message = (
                    f"`gather` is given {x} and the index {index}: `{dim}` and `{other}` differ"
                )
                call.require_equal(dim, other, message, "index")
        return x.with_dims(index.dims)

    def dependence(self, call: DependenceCall) -> Dependence:
        x, index = call.of("x"), call.of("index")
        name = call.axis(x)
        place = Place(1, x.axes[name], index)
        return looked_up(call, x, [place], {name: 1}, call.results[0])

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, index, axis = tensor(args, "x"), tensor(args, "index"), integer(args, "axis")
        axis %= x.dim()
        places = list(torch.meshgrid([torch.arange(n) for n in index.shape], indexing="ij"))
        places[axis] = index
        return _padded_lookup(x, [place.to(x.device) for place in places])

    def cost(self, site: Site) -> Work:
        saves = (site.value("index"),) if site.gradients("x") else ()
        return Work(launches=Dim.const(6), saves=saves)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "index")]
        return call_code(lowering.helper("gather"), *codes, str(lowering.argument("axis")))


class OneHot(Primitive):
    name = "one_hot"
    parameters = (_X, Parameter("n", ArgKind.DIM))
    doc = "A mask [..., n], true at the index `x` [...]; all false if it lies outside 0 ... n - 1."

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "int")
        return TensorType("bool", (*x.dims, call.dim("n")))

    def dependence(self, call: DependenceCall) -> Dependence:
        axes = call.results[0]
        x = moved(call.of("x"), (*axes[:-1], _UNIT), renaming({n: n - 1 for n in range(-32, 0)}))
        line = Line(axis_form(-1))
        return compared("eq", x, Dependence(axes[-1:], values=Values((line,), (line,))), call.span)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x = tensor(args, "x")
        return torch.stack([x == place for place in range(integer(args, "n"))], dim=-1)

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return call.all()

    def cost(self, site: Site) -> Work:
        return pointwise(site, launches=2)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "n")]
        return call_code(lowering.helper("one_hot"), *codes)


class TopK(Primitive):
    name = "topk"
    parameters = (_X, Parameter("k", ArgKind.DIM), Parameter("axis", ArgKind.INT, -1))
    doc = (
        "The `k` largest values along an axis in falling order, and their indices; of equal values "
        "the one with the lower index comes first. `best, places = topk(x, 2)`."
    )
    fills: Mapping[str, float] = {"x": float("-inf")}

    def shape(self, call: Call) -> tuple[TensorType, TensorType]:
        x = require_kind(call, "x", "float", "int")
        axis = call.axis(x)
        k = call.dim("k")
        require_at_most(
            call, k, x.dims[axis], "GAB0209", f"`topk` is asked for the {k} largest", "k"
        )
        kept = x.with_dims((*x.dims[:axis], k, *x.dims[axis + 1 :]))
        return kept, kept.with_kind("int")

    def dependence(self, call: DependenceCall) -> tuple[Dependence, Dependence]:
        x = call.of("x")
        name = call.axis(x)
        chosen = reduced(call, x, name, neutral=float("-inf"), keep=True)
        best = replace(chosen, axes=call.results[0], fills=())
        return best, best

    def reference(self, args: Mapping[str, Evaluated]) -> tuple[torch.Tensor, torch.Tensor]:
        x, k, axis = tensor(args, "x"), integer(args, "k"), integer(args, "axis")
        rank = _rank(x.movedim(axis, -1))
        size = x.shape[axis]
        places = torch.stack([(rank == place).int().argmax(-1) for place in range(k)], dim=-1)
        chosen = places.unsqueeze(-1) == torch.arange(size, device=x.device)
        values = torch.where(chosen, x.movedim(axis, -1).unsqueeze(-2), 0).sum(-1)
        return values.movedim(-1, axis), places.movedim(-1, axis)

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        x = site.value("x")
        comparisons = site.elements(x) * log2(site.dims(x)[site.integer("axis")])
        saves = (site.outputs[1],) if site.gradients("x") else ()
        return Work(pointwise=comparisons, saves=saves)

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "k")]
        return call_code(lowering.helper("topk"), *codes, str(lowering.argument("axis")))


class TopKMask(Primitive):
    name = "topk_mask"
    parameters = (_X, Parameter("k", ArgKind.DIM), Parameter("axis", ArgKind.INT, -1))
    doc = (
        "True at the `k` largest values along an axis, or at all valid ones if there are fewer; of "
        "equal values the one with the lower index is chosen."
    )
    fills: Mapping[str, float] = {"x": float("-inf")}

    def shape(self, call: Call) -> TensorType:
        x = require_kind(call, "x", "float", "int")
        call.axis(x)
        return x.with_kind("bool")

    def dependence(self, call: DependenceCall) -> Dependence:
        x = call.of("x")
        return normalisation(call, x, call.axis(x), neutral=float("-inf"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, axis = tensor(args, "x"), integer(args, "axis")
        chosen = _rank(x.movedim(axis, -1)).movedim(-1, axis) < integer(args, "k")
        return chosen & (x > float("-inf"))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        x = site.value("x")
        comparisons = site.elements(x) * log2(site.dims(x)[site.integer("axis")])
        return Work(pointwise=comparisons, launches=Dim.const(5))

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("x", "k")]
        return call_code(lowering.helper("topk_mask"), *codes, str(lowering.argument("axis")))


def _rank(x: torch.Tensor) -> torch.Tensor:
    """How many elements of the last axis come before each one, by value and then by index."""
    size = x.shape[-1]
    earlier = torch.arange(size)[None, :] < torch.arange(size)[:, None]
    mine, other = x.unsqueeze(-1), x.unsqueeze(-2)
    return ((other > mine) | ((other == mine) & earlier.to(x.device))).sum(-1)


PRIMITIVES: tuple[Primitive, ...] = (
    Lookup(),
    Take(),
    Gather(),
    OneHot(),
    TopK(),
    TopKMask(),
)
