"""Taking tensors apart and putting them together, and the matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gabc.dependence.bounds import ZERO as NOTHING
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Dependence
from gabc.dependence.pieces import concatenated, piece, stacked
from gabc.dependence.reductions import Factor, contraction
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code, Precedence, binary
from gabc.graph.types import Kind, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import Kept, Site, Work, copy, grows, view
from gabc.ops.evaluated import integer, integers, tensor, tensors
from gabc.ops.kinds import require_kind, widest
from gabc.ops.lift import LiftCall, along_axis
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_AXIS = Parameter("axis", ArgKind.INT, -1)


class Split(Primitive):
    name = "split"
    parameters = (
        Parameter("x", ArgKind.VALUE),
        Parameter("parts", ArgKind.INT, None, keyword_only=True),
        Parameter("sizes", ArgKind.DIMS, None, keyword_only=True),
        Parameter("axis", ArgKind.INT, -1, keyword_only=True),
    )
    doc = (
        "Cuts an axis into equal `parts=` or into given `sizes=`; one result each. "
        "`a, b = split(x, parts=2)`."
    )

    def shape(self, call: Call) -> tuple[TensorType, ...]:
        x = call.type("x")
        axis = call.axis(x)
        dim = x.dims[axis]
        if call.given("parts") == call.given("sizes"):
            raise call.fail(
                "GAB0107",
                "`split` needs either `parts` or `sizes`",
                help="`split(x, parts=2)` gives two equal parts, `split(x, sizes=[A, B])` "
                "parts of these sizes",
            )
        _refuse_cut(call, dim)
        if call.given("parts"):
            parts = call.integer("parts")
            if parts < 1:
                raise call.fail("GAB0203", f"nothing splits into {parts} parts", at="parts")
            message = f"the axis `{dim}` does not split into {parts} equal parts"
            call.require_divides(Dim.const(parts), dim, message, "parts")
            sizes: tuple[Dim, ...] = (dim / parts,) * parts
        else:
            sizes = call.dims("sizes")
            total = sum(sizes, Dim.const(0))
            written = " + ".join(str(size) for size in sizes)
            message = f"the sizes {written} are `{total}`, and the axis they cut is `{dim}`"
            call.require_equal(total, dim, message, "sizes")
        return tuple(x.with_dims((*x.dims[:axis], s, *x.dims[axis + 1 :])) for s in sizes)

    def dependence(self, call: DependenceCall) -> tuple[Dependence, ...]:
        x = call.of("x")
        name = call.axis(x)
        parts: list[Dependence] = []
        start = NOTHING
        for axes in call.results:
            parts.append(piece(call, x, name, start, axes))
            start = start + (axes[name].size or NOTHING)
        return tuple(parts)

    def reference(self, args: Mapping[str, Evaluated]) -> tuple[torch.Tensor, ...]:
        x, axis = tensor(args, "x"), integer(args, "axis")
        if args["sizes"] is None:
            parts = integer(args, "parts")
            sizes: tuple[int, ...] = (x.shape[axis] // parts,) * parts
        else:
            sizes = integers(args, "sizes")
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        return tuple(x.narrow(axis, at, size) for at, size in zip(starts, sizes, strict=True))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call)

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        x = lowering.code("x").within(Precedence.ATOM)
        axis = f"dim={lowering.argument('axis')}"
        if lowering.given("parts"):
            return call_code(f"{x}.chunk", str(lowering.argument("parts")), axis)
        sizes = ", ".join(code.text for code in lowering.codes("sizes"))
        return call_code(f"{x}.split", f"[{sizes}]", axis)


def _refuse_cut(call: Call, dim: Dim) -> None:
    symbols = dim.symbols()
    if "L" in symbols:
        raise call.fail(
            "GAB0204",
            f"`{call.primitive.name}` cannot cut the time axis `{dim}`",
            at="axis",
            help="cut time into blocks with `blocks(x, size)`, undo it with `unblocks(x)`",
        )
    if "B" in symbols:
        raise call.fail(
            "GAB0204",
            f"`{call.primitive.name}` cannot cut the batch axis `{dim}`: its rows never mix",
            at="axis",
        )


class Concat(Primitive):
    name = "concat"
    parameters = (Parameter("xs", ArgKind.VALUES), _AXIS)
    doc = "Tensors one after another along an axis: `concat([a, b], axis=-1)`."

    def shape(self, call: Call) -> TensorType:
        values = _some_values(call)
        first = values[0].type
        axis = call.axis(first)
        _require_like(call, values, axis)
        if "B" in first.dims[axis].symbols():
            raise call.fail(
                "GAB0204",
                f"`concat` cannot lengthen the batch axis `{first.dims[axis]}`: its rows never mix",
                at="axis",
            )
        total = sum((value.type.dims[axis] for value in values), Dim.const(0))
        dims = (*first.dims[:axis], total, *first.dims[axis + 1 :])
        return TensorType(_common_kind(values), dims)

    def dependence(self, call: DependenceCall) -> Dependence:
        xs = call.all("xs")
        axis = call.integer("axis")
        return concatenated(call, xs, axis if axis < 0 else axis - xs[0].rank)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        xs, axis = tensors(args, "xs"), integer(args, "axis")
        sizes = [x.shape[axis] for x in xs]
        shape = list(xs[0].shape)
        shape[axis] = sum(sizes)
        whole = torch.zeros(shape, dtype=_promoted(xs), device=xs[0].device)
        for place, x in enumerate(xs):
            indices = torch.arange(sizes[place], device=x.device) + sum(sizes[:place])
            whole = whole.index_copy(axis, indices, x.to(whole.dtype))
        return whole

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call, "xs")

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        parts = ", ".join(code.text for code in lowering.codes("xs"))
        return call_code("torch.cat", f"[{parts}]", f"dim={lowering.argument('axis')}")


class Stack(Primitive):
    name = "stack"
    parameters = (Parameter("xs", ArgKind.VALUES), Parameter("axis", ArgKind.INT, 0))
    doc = "Tensors of one shape side by side along a new axis: `stack([a, b], axis=-1)`."

    def shape(self, call: Call) -> TensorType:
        values = _some_values(call)
        _require_like(call, values)
        first = values[0].type
        rank = first.rank + 1
        axis = call.integer("axis")
        if not -rank <= axis < rank:
            raise call.fail(
                "GAB0204",
                f"`stack` cannot make axis {axis} of a result with {rank} axes",
                at="axis",
                help=f"axes run from {-rank} to {rank - 1}",
            )
        axis %= rank
        dims = (*first.dims[:axis], Dim.const(len(values)), *first.dims[axis:])
        return TensorType(_common_kind(values), dims)

    def dependence(self, call: DependenceCall) -> Dependence:
        xs = call.all("xs")
        axis = call.integer("axis")
        return stacked(call, xs, axis if axis < 0 else axis - xs[0].rank - 1)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        xs = tensors(args, "xs")
        parts = [x.to(_promoted(xs)).unsqueeze(integer(args, "axis")) for x in xs]
        return torch.cat(parts, dim=integer(args, "axis"))

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        return along_axis(call, "xs", is_new=True)

    def cost(self, site: Site) -> Work:
        return copy(site)

    def lower(self, lowering: Lowering) -> Code:
        parts = ", ".join(code.text for code in lowering.codes("xs"))
        return call_code("torch.stack", f"[{parts}]", f"dim={lowering.argument('axis')}")


def _some_values(call: Call) -> tuple[Value, ...]:
    values = call.values("xs")
    if not values:
        raise call.fail("GAB0107", f"`{call.primitive.name}` needs at least one tensor", at="xs")
    return values


def _require_like(call: Call, values: Sequence[Value], but: int | None = None) -> None:
    """All of one rank (GAB0202) and of equal dims (GAB0201), the axis `but` excepted."""
    first = values[0].type
    for value in values[1:]:
        message = f"`{call.primitive.name}` is given {first} and {value.type}"
        if value.type.rank != first.rank:
            raise call.fail("GAB0202", f"{message}, which differ in rank", at="xs")
        for axis, (left, right) in enumerate(zip(first.dims, value.type.dims, strict=True)):
            if axis != but:
                differ = f"{message}: `{left}` and `{right}` differ at axis {axis}"
                call.require_equal(left, right, differ, "xs")


def _common_kind(values: Sequence[Value]) -> Kind:
    return widest(*(value.type.kind for value in values))


def _promoted(xs: Sequence[torch.Tensor]) -> torch.dtype:
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


class Matmul(Primitive):
    name = "matmul"
    parameters = (Parameter("a", ArgKind.VALUE), Parameter("b", ArgKind.VALUE))
    doc = (
        "`a @ b`: the matrix product of the last two axes, for each element of the leading ones. "
        "A tensor with one axis is a row on the left, a column on the right."
    )
    internal = True
    fills: Mapping[str, float] = {"a": 0.0, "b": 0.0}

    def shape(self, call: Call) -> TensorType:
        a = require_kind(call, "a", "float", "complex", symbol="@")
        b = require_kind(call, "b", "float", "complex", symbol="@")
        if a.kind != b.kind:
            raise call.fail("GAB0109", f"`@` does not mix kinds, and is given {a} and {b}")
        if not a.rank or not b.rank:
            raise call.fail("GAB0202", f"`@` needs axes to sum over, and is given {a} and {b}")
        inner, other = a.dims[-1], b.dims[max(-2, -b.rank)]
        message = f"`@` sums the last axis of {a} with the {_inner_axis(b)} axis of {b}: "
        call.require_equal(inner, other, f"{message}`{inner}` and `{other}` differ")
        leading = broadcast_dims(call, a.dims[:-2], b.dims[:-2], f"`@` is given {a} and {b}")
        rows = a.dims[-2:-1]
        columns = b.dims[-1:] if b.rank > 1 else ()
        return TensorType(a.kind, (*leading, *rows, *columns))

    def dependence(self, call: DependenceCall) -> Dependence:
        a, b = call.of("a"), call.of("b")
        names_a = {name: name for name in range(-a.rank, 0)}
        names_b = {name: name for name in range(-b.rank, 0)}
        names_a[-1] = names_b[max(-2, -b.rank)] = 1
        if b.rank == 1:  # the rows of `a` come last
            names_a |= {name: name + 1 for name in range(-a.rank, -1)}
        elif a.rank == 1:  # the columns of `b` take the place of the rows
            names_b |= {name: name + 1 for name in range(-b.rank, -2)}
        dropped: dict[int, Axis] = {1: a.axes[-1]}
        return contraction(call, [Factor(a, names_a), Factor(b, names_b)], call.results[0], dropped)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        a, b = tensor(args, "a"), tensor(args, "b")
        left = a if a.dim() > 1 else a[None]
        right = b if b.dim() > 1 else b[:, None]
        # Column by column, so that [..., rows, inner] is the largest tensor made.
        columns = [
            (left * right[..., :, column].unsqueeze(-2)).sum(-1)
            for column in range(right.shape[-1])
        ]
        product = torch.stack(columns, dim=-1)
        product = product if b.dim() > 1 else product.squeeze(-1)
        return product if a.dim() > 1 else product.squeeze(-2 if b.dim() > 1 else -1)

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        a, b = call.value("a"), call.value("b")
        rank = call.results[0].rank
        if call.new_axes(a) and a.type.rank != rank:
            raise call.fail("sums over an axis of a value without rows")
        if call.new_axes(b) and (b.type.rank < 3 or b.type.rank != rank):
            raise call.fail("mixes rows of the batch, or gives them another place")
        return call.all()

    def cost(self, site: Site) -> Work:
        a, b = site.value("a"), site.value("b")
        left, right = site.dims(a), site.dims(b)
        flops = 2 * site.result * left[-1]
        # A query's row needs the keys or values of all positions.
        meets = grows(left[-1]) or (len(left) > 1 and grows(left[-2]) and grows(right[-1]))
        is_key = len(right) > 1 and meets and any("B" in dim.symbols() for dim in right)
        keeps = (Kept(b, site.per_row(b)),) if is_key else ()
        saves = [*[a][: site.gradients("b")], *[b][: site.gradients("a")]]
        if len(left) == 1 or len(right) == 1:
            # A kernel of its own, which torch's counter passes over.
            return Work(
                pointwise=flops,
                pointwise_backward=flops * site.gradients(),
                saves=tuple(saves),
                keeps=keeps,
            )
        return Work(
            matmul=flops,
            matmul_backward=flops * site.gradients(),
            saves=tuple(saves),
            keeps=keeps,
        )

    def lower(self, lowering: Lowering) -> Code:
        return binary("@", lowering.code("a"), lowering.code("b"))


def _inner_axis(b: TensorType) -> str:
    return "second last" if b.rank > 1 else "only"


def broadcast_dims(
    call: Call, left: Sequence[Dim], right: Sequence[Dim], message: str
) -> tuple[Dim, ...]:
    """Broadcast two lists of dims; only a literal unit axis stretches (GAB0201)."""
    result: list[Dim] = []
    for place in range(-max(len(left), len(right)), 0):
        dims = [dims[place] for dims in (left, right) if -place <= len(dims)]
        wide = [dim for dim in dims if not dim.is_one]
        if len(wide) == 2:
            differ = f"{message}: `{wide[0]}` and `{wide[1]}` differ and cannot broadcast"
            call.require_equal(wide[0], wide[1], differ)
        result.append(wide[0] if wide else dims[0])
    return tuple(result)


PRIMITIVES: tuple[Primitive, ...] = (Split(), Concat(), Stack(), Matmul())
