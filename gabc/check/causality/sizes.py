"""What the dims and numbers of one unit mean in the names of the whole design."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from gabc.dependence.bounds import INFINITY, ONE, Bound, number, sized
from gabc.dependence.domain import Axis, Extent
from gabc.dims import Dim
from gabc.graph.block_axis import block_stride
from gabc.graph.instance import Instance
from gabc.graph.nodes import Graph
from gabc.graph.static import (
    Static,
    StaticFault,
    StaticValue,
    UnknownStatic,
    evaluate,
    names,
    to_dim,
)
from gabc.graph.types import LEADING, B, L

Numbers = dict[str, "int | Fraction"]


class UnitSizes:
    """`names` are prefixed by the unit's path: `attn.window`. `numbers` has the value of each.

    `bound_at_call` are the dims that the call binds, in the design's names; `leading` the axes for
    which `...` stands.
    """

    def __init__(
        self,
        instance: Instance,
        path: str,
        numbers: Numbers,
        bound_at_call: Mapping[str, Dim],
        leading: tuple[Axis, ...],
    ) -> None:
        self._instance = instance
        self._prefix = f"{path}." if path else ""
        self.numbers = numbers
        self._leading = leading
        self._meanings: dict[str, Dim] = {"B": B, "L": L, **bound_at_call}
        self._bounds: dict[Dim, Bound] = {}
        self._axes: dict[tuple[Dim, ...], tuple[Axis, ...]] = {}

    def meaning(self, dim: Dim) -> Dim:
        """The dim in the design's names."""
        symbols = dim.symbols()
        if not symbols:
            return dim
        return dim.substitute({name: self._meaning_of(name) for name in sorted(symbols)})

    def _meaning_of(self, name: str) -> Dim:
        found = self._meanings.get(name)
        if found is None:
            found = self._meanings[name] = self._define(name)
        return found

    def _define(self, name: str) -> Dim:
        if name in self._instance.dims:
            expanded = to_dim(self._instance.dims[name], {})
            if expanded is not None and name not in expanded.symbols():
                return self.meaning(expanded)
        full = name if name == "D" else self._prefix + name
        self.numbers[full] = _exact(self._value_of(name))
        return Dim.symbol(full)

    def _value_of(self, name: str) -> StaticValue:
        """The value of a name; `norm.width` is one of a child, which its caller knows too."""
        return self._instance.env[name]

    def bound(self, dim: Dim) -> Bound:
        """A size of the configuration, symbolic and at the scale; infinite if it counts positions.

        A dim that the call binds may turn out to be the length.
        """
        found = self._bounds.get(dim)
        if found is None:
            meaning = self.meaning(dim)
            if meaning.symbols() & {"B", "L"}:
                found = INFINITY
            else:
                found = sized(meaning.evaluate(self.numbers), meaning)
            self._bounds[dim] = found
        return found

    def number(self, static: Static) -> Bound | None:
        """A static number, infinite if it counts positions; `None` if it is no number."""
        dim = to_dim(static, {})
        if dim is not None and self._is_known(dim):
            return self.bound(dim)
        try:
            value = evaluate(static, self._instance.env)
        except (UnknownStatic, StaticFault):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return Bound(value)
        return number(_exact(value)) if isinstance(value, (int, float)) else None

    def counted(self, static: Static) -> frozenset[str]:
        """Which of B and L a number depends on, through a dim that the call binds."""
        found: set[str] = set()
        for name in names(static):
            if name in self._meanings:
                found |= self._meanings[name].symbols() & {"B", "L"}
        return frozenset(found)

    def _is_known(self, dim: Dim) -> bool:
        return all(
            name in self._meanings or isinstance(self._instance.env.get(name), (int, float))
            for name in dim.symbols()
        )

    def axes(self, dims: Sequence[Dim]) -> tuple[Axis, ...]:
        """The axes of a type; `...` stands for the leading axes of the call."""
        key = tuple(dims)
        found = self._axes.get(key)
        if found is None:
            parts: list[Axis] = []
            for dim in key:
                parts.extend(self._leading if dim == LEADING else (axis_of(self, dim),))
            found = self._axes[key] = tuple(parts)
        return found


def axis_of(sizes: UnitSizes, dim: Dim) -> Axis:
    """The axis of a size in the unit's names."""
    meaning = sizes.meaning(dim)
    symbols = meaning.symbols()
    for symbol, extent in (("L", Extent.TIME), ("B", Extent.BATCH)):
        if symbol in symbols:
            return _counting(meaning, Dim.symbol(symbol), extent, sizes)
    return Axis(Extent.STATIC, sizes.bound(dim), dim=meaning)


def _counting(meaning: Dim, unit: Dim, extent: Extent, sizes: UnitSizes) -> Axis:
    """An axis of size L, L + k, or ceil(L / C): index i exists if L > C i - k."""
    rest = meaning - unit
    (symbol,) = unit.symbols()
    if symbol not in rest.symbols():
        offset = rest.evaluate(sizes.numbers)
        return Axis(extent, None, ONE, sized(offset, rest), dim=meaning)
    size = block_stride(meaning, unit)
    if size is not None:
        spacing = sized(size.evaluate(sizes.numbers), size)
        return Axis(extent, None, spacing, dim=meaning)
    return Axis(extent, None, None, dim=meaning)


def _exact(value: StaticValue) -> int | Fraction:
    """A decimal stands for the decimal number, not for its binary neighbour."""
    assert isinstance(value, (int, float))
    return Fraction(repr(value)) if isinstance(value, float) else int(value)


def bound_dims(
    graph: Graph, args: Sequence[tuple[Axis, ...]]
) -> tuple[dict[str, Dim], tuple[Axis, ...]]:
    """The dims that the arguments bind, and the axes for which `...` stands."""
    leading: tuple[Axis, ...] = ()
    for value, axes in zip(graph.inputs, args, strict=True):
        dims = value.type.dims
        if dims[:1] == (LEADING,):
            leading = axes[: len(axes) - (len(dims) - 1)]
    bound: dict[str, Dim] = {}
    for dim in graph.call_dims:
        rank = graph.inputs[dim.argument].type.rank
        name = dim.axis if dim.axis < 0 else dim.axis - rank
        bound[dim.name] = args[dim.argument][name].dim
    return bound, leading
