"""Takes a window out of the block of an `attend`, as its option: `keep = i - j < 64` and more.

An option is what a decoder knows to forget beyond, and what costs are counted by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gabc.dims import Dim
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Graph, Node, Region, Value
from gabc.graph.scores import needed
from gabc.passes.masks import Reader, integers_of, is_window_size
from gabc.passes.rewrite import rewrite_instances
from gabc.recurrences.body import broadcast


def lift_windows(stack: Stack) -> Stack:
    """The stack with `window=` on every `attend` whose block keeps `i - j < n`."""
    return rewrite_instances(stack, _graph)


def _graph(graph: Graph, instance: Instance) -> Graph:
    integers = integers_of(graph, instance)
    nodes = tuple(_lifted(node, instance, integers) for node in graph.nodes)
    return graph if nodes == graph.nodes else replace(graph, nodes=nodes)


def _lifted(node: Node, instance: Instance, integers: set[str]) -> Node:
    region = node.region
    if node.op != "attend" or region is None or len(region.results) != 2:
        return node
    if node.args.get("window") is not None:
        return node
    mask = _Mask(region, integers)
    windows = [(part, size) for part, size in mask.windows() if is_window_size(size, instance)]
    if len(windows) != 1:
        return node
    ((part, size),) = windows
    return replace(node, args={**node.args, "window": size}, region=mask.without(part))


@dataclass(eq=False)
class _Mask:
    """The conjunction that a block keeps."""

    region: Region
    integers: set[str]
    definitions: dict[Value, Node] = field(default_factory=dict)
    _made: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        for node in self.region.nodes:
            self.definitions.update(dict.fromkeys(node.outputs, node))

    def windows(self) -> Iterator[tuple[Value, Dim]]:
        """The parts that are `i - j < n`, each with n."""
        *_, query, key = self.region.inputs
        reader = Reader(self.definitions, self.integers, query, key)
        for part in self._parts(self.region.results[1]):
            for bound in reader.bounds(part) or ():
                if bound.size is not None:
                    yield part, bound.size

    def without(self, part: Value) -> Region | None:
        """The block that keeps what the other parts say; `None` if it changes nothing then."""
        score, mask = self.region.results
        rest = self._rest(mask, part)
        if rest is None and score is self.region.inputs[0]:
            return None
        results = (score,) if rest is None else (score, rest)
        region = replace(self.region, nodes=(*self.region.nodes, *self._made), results=results)
        return replace(region, nodes=needed(results, region))

    def _parts(self, mask: Value) -> Iterator[Value]:
        sides = self._sides(mask)
        if sides is None:
            yield mask
        else:
            for side in sides:
                yield from self._parts(side)

    def _rest(self, mask: Value, part: Value) -> Value | None:
        if mask is part:
            return None
        sides = self._sides(mask)
        if sides is None:
            return mask
        a, b = (self._rest(side, part) for side in sides)
        if a is None or b is None:
            return b if a is None else a
        if (a, b) == sides:
            return mask
        value = Value(broadcast("bool", [a.type, b.type]), mask.span, mask.name)
        self._made.append(Node("logical_and", {"a": a, "b": b}, (value,), mask.span))
        return value

    def _sides(self, mask: Value) -> tuple[Value, Value] | None:
        node = self.definitions.get(mask)
        if node is None or node.op != "logical_and":
            return None
        a, b = node.args["a"], node.args["b"]
        assert isinstance(a, Value)
        assert isinstance(b, Value)
        return a, b
