"""`einsum` and `@` of two tensors as one thing: which axes meet and which are summed."""

from __future__ import annotations

from dataclasses import dataclass

from gabc.graph.nodes import Node, Value
from gabc.ops.patterns_parse import Side, parse_pattern


@dataclass(frozen=True, slots=True)
class Contraction:
    """A product of two tensors. Axes that are in both and not in the output are summed."""

    left: Value
    left_axes: tuple[str, ...]
    right: Value
    right_axes: tuple[str, ...]
    output_axes: tuple[str, ...]

    def swapped(self) -> Contraction:
        return Contraction(self.right, self.right_axes, self.left, self.left_axes, self.output_axes)


def contraction_of(node: Node) -> Contraction | None:
    """The contraction that a node is; `None` if it is another operation, or has groups of axes."""
    if node.op == "einsum":
        return _einsum(node)
    if node.op == "matmul":
        return _matmul(node)
    return None


def _einsum(node: Node) -> Contraction | None:
    written, values = node.args["pattern"], node.args["xs"]
    assert isinstance(written, str)
    assert isinstance(values, tuple)
    pattern = parse_pattern(written)
    sides = [_names(side) for side in (*pattern.inputs, pattern.output)]
    tensors = [value for value in values if isinstance(value, Value)]
    if len(tensors) != 2 or any(side is None for side in sides):
        return None
    left, right, output = (side or () for side in sides)
    return Contraction(tensors[0], left, tensors[1], right, output)


def _names(side: Side) -> tuple[str, ...] | None:
    if any(len(axis.letters) != 1 or axis.is_ellipsis for axis in side):
        return None
    return tuple(axis.letters[0].name for axis in side)


def _matmul(node: Node) -> Contraction | None:
    a, b = node.args["a"], node.args["b"]
    assert isinstance(a, Value)
    assert isinstance(b, Value)
    rank = a.type.rank
    if rank < 2 or rank != b.type.rank or a.type.dims[:-2] != b.type.dims[:-2]:
        return None
    leading = tuple(f"a{place}" for place in range(rank - 2))
    return Contraction(
        a, (*leading, "row", "inner"), b, (*leading, "inner", "column"), (*leading, "row", "column")
    )
