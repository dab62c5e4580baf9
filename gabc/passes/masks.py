"""Reads masks of attention weights: which pairs of a query i and a key j they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gabc.dims import Dim
from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.static import Apply, Literal, Ref, Static

Definitions = Mapping[Value, Node]


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


def window_of(mask: Value, definitions: Definitions) -> Window | None:
    """What a mask [.., i, j] keeps if that is a causal window; `None` if it says anything else."""
    bounds = _bounds(mask, definitions)
    if bounds is None or not any(bound.size is None for bound in bounds):
        return None
    sizes = [bound.size for bound in bounds if bound.size is not None]
    return Window(None) if not sizes else Window(sizes[0]) if len(sizes) == 1 else None


def _bounds(mask: Value, definitions: Definitions) -> list[_Bound] | None:
    """The conjunction that a mask is; `None` if a part of it is not understood."""
    node = definitions.get(mask)
    if node is None:
        return None
    match node.op:
        case "causal":
            return [_Bound(None)]
        case "masked":
            return _bounds(_tensor(node.args["keep"]), definitions)
        case "logical_and":
            parts = [_bounds(_tensor(node.args[name]), definitions) for name in ("a", "b")]
            return None if None in parts else [bound for part in parts for bound in part or ()]
        case "ge" | "gt" | "le" | "lt":
            return _comparison(node, definitions)
    return None


def _tensor(argument: Argument) -> Value:
    assert isinstance(argument, Value)
    return argument


def _comparison(node: Node, definitions: Definitions) -> list[_Bound] | None:
    """Of two expressions in i and j."""
    a = _places(node.args["a"], definitions)
    b = _places(node.args["b"], definitions)
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


def _places(argument: Argument, definitions: Definitions) -> _Places | None:
    """An expression as a sum of a query's position, a key's position and a size."""
    if isinstance(argument, Static):
        size = _size(argument)
        return None if size is None else _Places(0, 0, size)
    node = definitions.get(argument) if isinstance(argument, Value) else None
    if node is None:
        return None
    match node.op:
        case "positions":
            return _Places(0, 1, Dim.const(0))  # [L] stands on the last axis, that of the keys
        case "index":
            return _axis_of(node, definitions)
        case "add" | "sub":
            a, b = _places(node.args["a"], definitions), _places(node.args["b"], definitions)
            if a is None or b is None:
                return None
            sign = 1 if node.op == "add" else -1
            return _Places(
                a.query + sign * b.query, a.key + sign * b.key, a.offset + sign * b.offset
            )
    return None


def _axis_of(node: Node, definitions: Definitions) -> _Places | None:
    """`positions()[:, None]` are queries, `positions()[None, :]` keys."""
    inner = definitions.get(_tensor(node.args["x"]))
    if inner is None or inner.op != "positions":
        return None
    items = node.args["items"]
    if items == (":", None):
        return _Places(1, 0, Dim.const(0))
    if items == (None, ":"):
        return _Places(0, 1, Dim.const(0))
    return None


def _size(static: Static) -> Dim | None:
    """A number or a name as a size."""
    match static:
        case Literal(value=int() as value) if not isinstance(value, bool):
            return Dim.const(value)
        case Ref(name=name):
            return Dim.symbol(name)
        case Apply(op="+" | "-" | "*" as operator, args=(left, right)):
            a, b = _size(left), _size(right)
            if a is None or b is None:
                return None
            return a + b if operator == "+" else a - b if operator == "-" else a * b
    return None
