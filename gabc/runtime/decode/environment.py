"""The sizes of a call, and the arguments of a primitive as numbers and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import cast

from torch import Tensor

from gabc.check.streaming import Layout
from gabc.dims import Dim
from gabc.graph.nodes import Argument, ChildRef, Graph, Value
from gabc.graph.static import Apply, Literal, Ref, StaticList, StaticValue, evaluate
from gabc.graph.types import B, L
from gabc.ops.evaluated import Evaluated


def bound_sizes(
    graph: Graph,
    args: Sequence[Tensor],
    hidden: Sequence[int],
    sizes: Mapping[str, StaticValue],
) -> dict[str, StaticValue]:
    """The dims that a call binds. B and L are the caller's where no argument has them.

    `hidden` counts the axes that stand before those of an argument's type.
    """
    bound: dict[str, StaticValue] = {name: sizes[name] for name in ("B", "L") if name in sizes}
    for name, dim in (("B", B), ("L", L)):
        for value, tensor, before in zip(graph.inputs, args, hidden, strict=True):
            if dim in value.type.dims:
                bound[name] = tensor.shape[value.type.dims.index(dim) + before]
                break
    for call_dim in graph.call_dims:
        axis = call_dim.axis
        before = hidden[call_dim.argument] if axis >= 0 else 0
        bound[call_dim.name] = args[call_dim.argument].shape[axis + before]
    return bound


def size_of(dim: Dim, env: Mapping[str, StaticValue]) -> int:
    """A dim as a number. A decimal stands for the decimal number."""
    numbers: dict[str, int] = {}
    for name in dim.symbols():
        value = env[name]
        numbers[name] = cast(int, Fraction(repr(value)) if isinstance(value, float) else value)
    size = dim.evaluate(numbers)
    if size.denominator != 1:
        raise ValueError(f"{dim} is {size} here")
    return size.numerator


def evaluated(
    argument: Argument, values: Mapping[Value, Tensor], env: Mapping[str, StaticValue]
) -> Evaluated:
    """A bound argument at run time."""
    match argument:
        case Value():
            return values[argument]
        case Dim():
            return size_of(argument, env)
        case Literal() | Ref() | Apply() | StaticList():
            return cast("Evaluated", evaluate(argument, env))
        case tuple():
            return tuple(evaluated(part, values, env) for part in argument)
        case ChildRef():
            raise TypeError(f"the child {argument.name} is no argument of a primitive")
    return argument


def rows_first(x: Tensor, layout: Layout, is_hidden: bool) -> Tensor:
    """A value with a time axis as [R, T, ...]. `is_hidden`: its rows stand in front of its axes."""
    assert layout.time is not None
    if layout.rows is not None:
        if (layout.rows, layout.time) == (0, 1):
            return x
        return x.movedim((layout.rows, layout.time), (0, 1))
    if layout.has_unit_for_rows:
        return x.squeeze(1) if is_hidden else x
    if is_hidden:
        return x.movedim(layout.time + 1, 1)
    return x.movedim(layout.time, 0).unsqueeze(0)


def in_place(x: Tensor, layout: Layout, is_hidden: bool) -> Tensor:
    """[R, T, ...] in the order of its type; the way back from `rows_first`."""
    assert layout.time is not None
    if layout.rows is not None:
        if (layout.rows, layout.time) == (0, 1):
            return x
        return x.movedim((0, 1), (layout.rows, layout.time))
    if layout.has_unit_for_rows:
        return x.unsqueeze(1) if is_hidden else x[:1]
    if is_hidden:
        return x.movedim(1, layout.time + 1)
    return x[0].movedim(0, layout.time)
