"""`x[...]` with static items, and the functional update of a state's element.

How a subscript reaches `index` and `set_index`: `items` is a tuple with one item per axis of `x`
(the elaborator expands `...` and adds a `:` for every axis the author left out) and one more for
each new axis. An item is

- `":"`: the whole axis;
- `"..."`: the leading axes of a type that begins with `...`;
- `None`: a new unit axis;
- a `Dim`: one position; the axis goes. A constant below 0 counts from the end;
- `(start, stop, step)`: a slice, each a `Dim` or `None`. Constants below 0 count from the end; the
  step is a constant above 0.

Where items are evaluated, the same with ints for dims. Nothing is clamped: a position or bound
outside the axis is refused (GAB0210).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.pieces import indexed, replaced
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code, Precedence
from gabc.graph.types import ONE, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.bounds import require_at_most
from gabc.ops.cost import Site, Work, copy, view
from gabc.ops.evaluated import operand, tensor
from gabc.ops.kinds import widest
from gabc.ops.lift import LiftCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

SliceItem: TypeAlias = "tuple[Dim | None, Dim | None, Dim | None]"
Item: TypeAlias = "str | Dim | SliceItem | None"


class Index(Primitive):
    name = "index"
    parameters = (Parameter("x", ArgKind.VALUE), Parameter("items", ArgKind.ITEMS))
    doc = (
        "`x[..., 0]`, `x[:, None]`, `x[..., 1:K]`: a position removes its axis, `None` inserts a "
        "unit axis, a slice shortens one. The batch and time axes can only be kept whole."
    )
    internal = True

    def shape(self, call: Call) -> TensorType:
        return subscript_shape(call, call.type("x"))

    def dependence(self, call: DependenceCall) -> Dependence:
        return indexed(call, call.of("x"), subscript_items(call.args["items"]))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        return tensor(args, "x")[_evaluated(args["items"])]

    def lift(self, call: LiftCall) -> Mapping[str, Argument]:
        items = subscript_items(call.args["items"])
        more = call.new_axes(call.value("x"))
        if more and items[:1] != (":",):
            raise call.fail("moves the batch axis")
        return {**call.all(), "items": (*[":"] * more, *items)}

    def cost(self, site: Site) -> Work:
        return view(site)

    def lower(self, lowering: Lowering) -> Code:
        items = subscript_items(lowering.argument("items"))
        x = lowering.code("x").within(Precedence.ATOM)
        return Code(f"{x}[{_written(items, lowering)}]")


class SetIndex(Primitive):
    name = "set_index"
    parameters = (
        Parameter("x", ArgKind.VALUE),
        Parameter("items", ArgKind.ITEMS),
        Parameter("value", ArgKind.TENSOR),
    )
    doc = "`S[..., 0] = value`: the state with some of its elements replaced."
    internal = True

    def shape(self, call: Call) -> TensorType:
        x, value = call.type("x"), call.type("value")
        if None in subscript_items(call.args["items"]):
            raise call.fail(
                "GAB0210", "an assignment has no new axes: leave out `None`", at="items"
            )
        part = subscript_shape(call, x)
        if widest(x.kind, value.kind) != x.kind:
            raise call.fail(
                "GAB0109",
                f"an element of {x} cannot hold {value.kind} values",
                at="value",
                expected=x.kind,
                actual=value.kind,
            )
        if value.rank > part.rank:
            raise call.fail(
                "GAB0202",
                f"the value {value} has more axes than the place it is assigned to, {part}",
                at="value",
                expected=str(part),
                actual=str(value),
            )
        for dim, place in zip(reversed(value.dims), reversed(part.dims), strict=False):
            if not dim.is_one:
                call.require_equal(
                    dim,
                    place,
                    f"the value {value} does not fit its place, which is {part}",
                    "value",
                )
        return x

    def dependence(self, call: DependenceCall) -> Dependence:
        items = subscript_items(call.args["items"])
        return replaced(call, call.of("x"), items, call.of("value"))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x, value = tensor(args, "x"), operand(args, "value")
        places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
        places = places[_evaluated(args["items"])]
        values = torch.as_tensor(value, dtype=x.dtype).expand(places.shape).flatten()
        return x.flatten().scatter(0, places.flatten(), values).reshape(x.shape)

    def cost(self, site: Site) -> Work:
        return copy(site, launches=2)

    def lower(self, lowering: Lowering) -> Code:
        items = subscript_items(lowering.argument("items"))
        while items and items[-1] == ":":
            items = items[:-1]
        parts = [_object(item, lowering) for item in items]
        index = f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        return call_code(
            lowering.helper("set_index"),
            lowering.code("x").text,
            index,
            lowering.code("value").text,
        )


def subscript_items(argument: Argument) -> tuple[Item, ...]:
    """The bound `items` with their types."""
    assert isinstance(argument, tuple)
    return tuple(_item(part) for part in argument)


def _item(part: Argument) -> Item:
    if isinstance(part, tuple):
        start, stop, step = (bound if isinstance(bound, Dim) else None for bound in part)
        return start, stop, step
    assert part is None or isinstance(part, (Dim, str))
    return part


def subscript_shape(call: Call, of: TensorType) -> TensorType:
    """The type of `of[items]`, for the call's argument `items`.

    Refuses: a number of items that does not fit (GAB0202), a cut batch or time axis and a position
    or bound outside its axis (GAB0210).
    """
    items = subscript_items(call.args["items"])
    axes = sum(item is not None for item in items)
    if axes != of.rank:
        raise call.fail(
            "GAB0202",
            f"the subscript has {axes} items and the value {of} has {of.rank} axes",
            at="items",
            help="`None` makes a new axis and counts for none",
        )
    remaining = iter(of.dims)
    dims: list[Dim] = []
    for item in items:
        if item is None:
            dims.append(ONE)
            continue
        dim = next(remaining)
        if isinstance(item, str):
            dims.append(dim)
            continue
        _refuse_cut(call, dim, of)
        if isinstance(item, Dim):
            _require_position(call, item, dim)
        else:
            dims.append(_sliced(call, item, dim))
    return of.with_dims(tuple(dims))


def _refuse_cut(call: Call, dim: Dim, of: TensorType) -> None:
    """The batch and time axes are kept whole: what lies where on them is the proof's business."""
    symbols = dim.symbols()
    if "L" in symbols:
        raise call.fail(
            "GAB0210",
            f"the time axis `{dim}` of {of} can only be kept whole, as `:`",
            at="items",
            help="`shift(x, k)` reads k positions back, `blocks(x, C)` cuts time into blocks; "
            "a design computes all positions alike, so it cannot single one out",
        )
    if "B" in symbols:
        raise call.fail(
            "GAB0210",
            f"the batch axis `{dim}` of {of} can only be kept whole, as `:`",
            at="items",
            help="rows of the batch never mix",
        )


def _require_position(call: Call, position: Dim, size: Dim) -> None:
    number = position.as_int()
    if number is not None and number < 0:
        # -k lies on the axis when the axis has k positions.
        _at_most(call, Dim.const(-number), size, f"there is no position {number}")
    else:
        _at_most(call, position + 1, size, f"there is no position `{position}`")


def _sliced(call: Call, item: SliceItem, size: Dim) -> Dim:
    start, stop, step = item
    if step is not None and (step.as_int() or 0) < 1:
        raise call.fail(
            "GAB0210",
            f"a slice's step is a number above 0, not `{step}`",
            at="items",
        )
    first = Dim.const(0) if start is None else _from_end(call, start, size)
    last = size if stop is None else _from_end(call, stop, size)
    if stop is not None:
        _at_most(call, last, size, f"the slice ends at `{stop}`")
    _at_most(call, first + 1, last, f"the slice from `{first}` to `{last}` is empty")
    width = last - first
    every = 1 if step is None else step.as_int() or 1
    return width if every == 1 else Dim.apply("ceil", width / every)


def _from_end(call: Call, bound: Dim, size: Dim) -> Dim:
    number = bound.as_int()
    if number is None or number >= 0:
        return bound
    _at_most(call, Dim.const(-number), size, f"there is no position {number}")
    return size + number


def _at_most(call: Call, small: Dim, large: Dim, message: str) -> None:
    require_at_most(call, small, large, "GAB0210", message, "items")


def _evaluated(items: Evaluated) -> tuple[int | slice | EllipsisType | None, ...]:
    assert isinstance(items, tuple)
    index: list[int | slice | EllipsisType | None] = []
    for item in items:
        if isinstance(item, tuple):
            start, stop, step = (None if bound is None else _int(bound) for bound in item)
            index.append(slice(start, stop, step))
        elif isinstance(item, str):
            index.append(Ellipsis if item == "..." else slice(None))
        else:
            index.append(None if item is None else _int(item))
    return tuple(index)


def _int(value: Evaluated) -> int:
    assert isinstance(value, int)
    return value


def _written(items: Sequence[Item], lowering: Lowering) -> str:
    """As an author writes it: no trailing `:`, and `...` for three or more in front."""
    kept = list(items)
    while len(kept) > 1 and kept[-1] == ":":
        kept.pop()
    leading = next((place for place, item in enumerate(kept) if item != ":"), 0)
    whole = len(kept) == len(items)
    parts = [_text(item, lowering) for item in kept]
    return ", ".join(["...", *parts[leading:]] if whole and leading >= 3 else parts)


def _text(item: Item, lowering: Lowering) -> str:
    if not isinstance(item, tuple):
        return lowering.dim(item).text if isinstance(item, Dim) else str(item)
    bounds = ["" if bound is None else lowering.dim(bound).text for bound in item]
    if all(_is_simple(bound) for bound in bounds):
        start, stop, step = bounds
        return f"{start}:{stop}" + (f":{step}" if step else "")
    # Beside anything but names and numbers the colon is spaced like an operator.
    start, stop, step = (f" {bound} " if bound else "" for bound in bounds)
    return f"{start}:{stop}{':' if step else ''}{step}".strip()


def _is_simple(bound: str) -> bool:
    bare = bound.removeprefix("-")
    return not bare or bare.isidentifier() or bare.isdigit()


def _object(item: Item, lowering: Lowering) -> str:
    """The item outside square brackets."""
    if isinstance(item, Dim):
        return lowering.dim(item).text
    bounds = item if isinstance(item, tuple) else (None, None, None)
    start, stop, step = ("None" if b is None else lowering.dim(b).text for b in bounds)
    if step != "None":
        return f"slice({start}, {stop}, {step})"
    return f"slice({stop})" if start == "None" else f"slice({start}, {stop})"


PRIMITIVES: tuple[Primitive, ...] = (Index(), SetIndex())
