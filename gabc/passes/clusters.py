"""Grows groups of operations along their edges, as long as one kernel can compute each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from gabc.graph.nodes import Graph, Node, Value
from gabc.passes.fusable import ROW_REDUCTIONS
from gabc.passes.rewrite import ends, reads
from gabc.passes.tile_shapes import is_one_run, joint_shape, last_dim, padded, spans_rows

MAX_NODES = 40
MAX_TENSORS = 14
"""Of a group, operands and results: beyond them registers run out."""


@dataclass(eq=False)
class Clusters:
    """The groups found so far. `of` has the group of each node that may be in one."""

    graph: Graph
    of: dict[Node, frozenset[Node]]
    users: Mapping[Value, list[Node]] = field(init=False)
    makers: Mapping[Value, Node] = field(init=False)
    results: frozenset[Value] = field(init=False)

    def __post_init__(self) -> None:
        users: dict[Value, list[Node]] = {}
        for node in self.graph.nodes:
            for value in dict.fromkeys(reads(node)):
                users.setdefault(value, []).append(node)
        self.users = users
        self.makers = {value: node for node in self.graph.nodes for value in node.outputs}
        self.results = frozenset(ends(self.graph))

    def grow(self) -> None:
        """Along edges from producer to consumer, then beside each other over a shared operand."""
        for node in self.graph.nodes:
            if node in self.of:
                for value in node.operands():
                    maker = self.makers.get(value)
                    if maker in self.of:
                        self.merge(self.of[node], self.of[maker])
        for value in self.users:
            groups = dict.fromkeys(self.of[user] for user in self.users[value] if user in self.of)
            for a, b in combinations(groups, 2):
                if next(iter(a)) in self.of and self._share(value, a, b):
                    self.merge(self.of[next(iter(a))], self.of[next(iter(b))])

    def _share(self, value: Value, a: frozenset[Node], b: frozenset[Node]) -> bool:
        """Whether reading the value once is worth a common kernel: it is as large as the rows."""
        shapes = [joint_shape([*self.inputs(group), *self.outputs(group)]) for group in (a, b)]
        return all(padded(value.type, len(shape)) == shape for shape in shapes)

    def merge(self, a: frozenset[Node], b: frozenset[Node]) -> None:
        """Make one group of two, if one kernel can compute both."""
        if a is b or self.fault(merged := a | b):
            return
        for node in merged:
            self.of[node] = merged

    def inputs(self, group: frozenset[Node]) -> list[Value]:
        """What a group reads, in order."""
        inside = {value for node in group for value in node.outputs}
        found: dict[Value, None] = {}
        for node in self.ordered(group):
            found.update(dict.fromkeys(v for v in node.operands() if v not in inside))
        return list(found)

    def outputs(self, group: frozenset[Node]) -> list[Value]:
        """What others need of a group, in order."""
        return [
            value
            for node in self.ordered(group)
            for value in node.outputs
            if value in self.results or any(user not in group for user in self.users.get(value, ()))
        ]

    def ordered(self, group: frozenset[Node]) -> list[Node]:
        return [node for node in self.graph.nodes if node in group] if len(group) > 1 else [*group]

    def fault(self, group: frozenset[Node]) -> str:
        """Why one kernel cannot compute a group; empty if it can."""
        inputs, outputs = self.inputs(group), self.outputs(group)
        if len(group) > MAX_NODES or len(inputs) + len(outputs) > MAX_TENSORS:
            return "too many values for the registers"
        if sum(node.op in ROW_REDUCTIONS for node in group) > 1:
            return "a second row reduction"
        if not outputs:
            return "nothing uses it"
        shape = joint_shape([*inputs, *(node.output for node in group)])
        for value in outputs:
            if value.type.kind != "float":
                return "a mask that is needed elsewhere"
            if not spans_rows(value.type, shape):
                return "a result without all of the rows is needed elsewhere"
        if not self._has_floats(group, inputs, outputs):
            return "a result of masks alone, which has no dtype of its own"
        if not all(is_one_run(value.type, shape) for value in inputs):
            return "an operand is broadcast along an axis between others"
        reductions = [node for node in group if node.op in ROW_REDUCTIONS]
        if any(last_dim(next(node.operands()).type).is_one for node in reductions):
            return "a reduction of single elements"
        if reductions and len(rows := _row_dims(inputs, group)) > 1:
            return f"rows of {' and of '.join(f'`{dim}`' for dim in rows)}"
        return "" if self._is_convex(group) else "what lies between needs a part of it first"

    def _has_floats(
        self, group: frozenset[Node], inputs: list[Value], outputs: list[Value]
    ) -> bool:
        """Whether every result is made of a float from outside."""
        made = {value for value in inputs if value.type.kind == "float"}
        for node in self.ordered(group):
            is_float = node.output.type.kind == "float"
            if is_float and any(value in made for value in node.operands()):
                made.add(node.output)
        return all(value in made for value in outputs)

    def _is_convex(self, group: frozenset[Node]) -> bool:
        """Whether no path leaves the group and comes back, other groups being one step each."""
        seen: set[Node] = set()
        queue = [user for node in group for user in self._next(node) if user not in group]
        while queue:
            node = queue.pop()
            if node in seen:
                continue
            together = self.of.get(node, frozenset((node,)))
            seen |= together
            for member in together:
                for user in self._next(member):
                    if user in group:
                        return False
                    queue.append(user)
        return True

    def _next(self, node: Node) -> Iterator[Node]:
        for value in node.outputs:
            yield from self.users.get(value, ())


def _row_dims(inputs: list[Value], group: frozenset[Node]) -> list[str]:
    """The sizes of rows, by name: where a reduction parts them they need not be one."""
    values = [*inputs, *(node.output for node in group)]
    dims = {last_dim(value.type) for value in values}
    return sorted(str(dim) for dim in dims if not dim.is_one)
