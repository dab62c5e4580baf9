"""Reads masks of attention weights: which pairs of a query i and a key j they keep."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from gabc.dims import Dim
from gabc.dims.opaque import is_integral
from gabc.elaborate.scope import integers
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, Graph, Node, Value
from gabc.graph.static import Static, to_dim


@dataclass(frozen=True, slots=True)
class Window:
    """Keys with 0 <= i - j, and i - j < `size` if that is given."""

    size: Dim | None


@dataclass(frozen=True, slots=True)
class _Bound:
    """`i - j >= 0`, or `i - j < size`."""

    size: Dim | None


@dataclass(frozen=True, slots=True)
class _Places:
    """`query` i + `key` j + `offset`, where `query` and `key` are 1, 0 or -1."""

    query: int
    key: int
    offset: Dim


def window_of(mask: Value, reader: Reader) -> Window | None:
    """What a mask [.., i, j] keeps if that is a causal window; `None` if it says anything else."""
    bounds = reader.bounds(mask)
    if bounds is None or not any(bound.size is None for bound in bounds):
        return None
    sizes = [bound.size for bound in bounds if bound.size is not None]
    return Window(None) if not sizes else Window(sizes[0]) if len(sizes) == 1 else None


def is_window_size(size: Dim, instance: Instance) -> bool:
    """Whether it is at least 1 at the scale: `attend` has no window of no key."""
    return size.symbols() <= instance.env.keys() and instance.size(size) >= 1


def integers_of(graph: Graph, instance: Instance) -> set[str]:
    """The names of whole numbers: dims, those of the call too, and int hyperparameters."""
    return integers(instance.env).keys() | {dim.name for dim in graph.call_dims}


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads the masks of one unit: what defines its values, and which of its names are ints.

    In the block of an `attend`, `query` and `key` are its i and j.
    """

    definitions: Mapping[Value, Node]
    integers: Set[str]
    query: Value | None = None
    key: Value | None = None

    def bounds(self, mask: Value) -> list[_Bound] | None:
        """The conjunction that a mask is; `None` if a part of it is not understood."""
        node = self.definitions.get(mask)
        if node is None:
            return None
        match node.op:
            case "causal":
                return [_Bound(None)]
            case "masked":
                return self.bounds(_tensor(node.args["keep"]))
            case "logical_and":
                parts = [self.bounds(_tensor(node.args[name])) for name in ("a", "b")]
                return None if None in parts else [bound for part in parts for bound in part or ()]
            case "ge" | "gt" | "le" | "lt":
                return self._comparison(node)
        return None

    def _comparison(self, node: Node) -> list[_Bound] | None:
        """Of two expressions in i and j, which are whole numbers: a < b is a <= b - 1."""
        a, b = self._places(node.args["a"]), self._places(node.args["b"])
        if a is None or b is None:
            return None
        if node.op in ("le", "lt"):
            a, b = b, a
        # a - b >= 0, or > 0 where it is strict: query i + key j + offset.
        query, key, offset = a.query - b.query, a.key - b.key, a.offset - b.offset
        if node.op in ("gt", "lt"):
            offset = offset - 1
        if (query, key) == (1, -1) and offset == Dim.const(0):
            return [_Bound(None)]
        if (query, key) == (-1, 1):
            return [_Bound(offset + 1)]  # i - j <= offset
        return None

    def _places(self, argument: Argument) -> _Places | None:
        """An expression as a sum of a query's position, a key's position and a size."""
        if isinstance(argument, Static):
            size = self._size(argument)
            return None if size is None else _Places(0, 0, size)
        if not isinstance(argument, Value):
            return None
        if argument in (self.query, self.key):
            is_query = argument is self.query
            return _Places(int(is_query), int(not is_query), Dim.const(0))
        node = self.definitions.get(argument)
        if node is None:
            return None
        match node.op:
            case "positions":
                return _Places(0, 1, Dim.const(0))  # [L] stands on the last axis, the keys'
            case "index":
                return self._axis_of(node)
            case "add" | "sub":
                a, b = self._places(node.args["a"]), self._places(node.args["b"])
                if a is None or b is None:
                    return None
                sign = 1 if node.op == "add" else -1
                query, key = a.query + sign * b.query, a.key + sign * b.key
                return _Places(query, key, a.offset + sign * b.offset)
        return None

    def _axis_of(self, node: Node) -> _Places | None:
        """`positions()[:, None]` are queries, `positions()[None, :]` keys."""
        inner = self.definitions.get(_tensor(node.args["x"]))
        if inner is None or inner.op != "positions":
            return None
        items = node.args["items"]
        if items == (":", None):
            return _Places(1, 0, Dim.const(0))
        if items == (None, ":"):
            return _Places(0, 1, Dim.const(0))
        return None

    def _size(self, static: Static) -> Dim | None:
        """A whole number, by its form and by the kinds of its names; `None` for any other."""
        size = to_dim(static, {})
        if size is None or not is_integral(size) or not size.symbols() <= self.integers:
            return None
        return size


def _tensor(argument: Argument) -> Value:
    assert isinstance(argument, Value)
    return argument
