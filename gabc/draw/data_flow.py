"""`data_flow`: what a block computes, as a picture with a frame around every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx

from gabc.draw.picture import Look, Picture
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Argument, Carried, ChildRef, Graph, Node, Value

DEPTH = 1
"""Levels of units below the root that are drawn open."""

MOST_BLOCKS = 4
"""Distinct blocks that are drawn; a design in which every layer differs has as many as layers."""

_SYMBOLS: Mapping[str, str] = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−"}


def data_flow(stack: Stack, depth: int = DEPTH) -> Picture:
    """The stream from the tokens through each distinct block to the logits.

    Units deeper than `depth` levels below the root, and units of one operation, are single nodes.
    What cannot reach the logits or Z is left out.
    """
    flow = _Flow(Picture())
    picture = flow.picture
    stream = picture.add("embedding\nX [B, L, D]", Look.STREAM)
    distinct = list(dict.fromkeys(stack.blocks))
    for block in distinct[:MOST_BLOCKS]:
        copies = stack.blocks.count(block)
        title = f"{block.name} × {copies}" if copies > 1 else block.name
        stream = flow.block(block, picture.frame(title), stream, depth)
    if len(distinct) > MOST_BLOCKS:
        more = picture.add(f"{len(distinct) - MOST_BLOCKS} more distinct blocks", Look.UNIT)
        picture.join(stream, more)
        stream = more
    logits = picture.add("norm, head\n[B, L, vocab]", Look.STREAM)
    picture.join(stream, logits)
    _drop_dead(picture.graph, {logits, *flow.written})
    return picture


def _drop_dead(graph: nx.DiGraph[int], ends: set[int]) -> None:
    alive = set(ends).union(*(nx.ancestors(graph, end) for end in ends))
    graph.remove_nodes_from([node for node in graph if node not in alive])


class _Flow:
    """Draws blocks into a picture; `written` are the Z entries that leave them."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.written: set[int] = set()

    def block(self, block: Instance, frame: int, stream: int, depth: int) -> int:
        graph = _graph_of(block)
        entries = [
            self.picture.add(f"Z.{read.key}\n{read.value.type}", Look.Z, frame)
            for read in graph.z_reads
        ]
        results, writes = self._unit(block, frame, [stream], entries, depth)
        for write, origin in zip(graph.z_writes, writes, strict=True):
            end = self.picture.add(f"Z.{write.key}\n{write.value.type}", Look.Z, frame)
            self.picture.join(origin, end)
            self.written.add(end)
        return results[0]

    def _unit(
        self,
        instance: Instance,
        frame: int,
        inputs: Sequence[int],
        entries: Sequence[int | None],
        depth: int,
    ) -> tuple[list[int], list[int]]:
        """The nodes of a unit's results and Z entries, given those of its arguments and entries."""
        graph = _graph_of(instance)
        origins = dict(zip(graph.inputs, inputs, strict=True))
        for read, entry in zip(graph.z_reads, entries, strict=True):
            if entry is not None:
                origins[read.value] = entry
        _Unit(self, instance, origins, depth).nodes(graph.nodes, frame)
        return (
            [origins[value] for value in graph.results],
            [origins[write.value] for write in graph.z_writes],
        )

    def call(
        self,
        name: str,
        child: Instance,
        frame: int,
        arguments: Sequence[int],
        entries: Sequence[int | None],
        depth: int,
    ) -> list[int] | None:
        """The nodes of an opened child's results, then its Z entries; `None` where it is closed."""
        if child.graph is None or depth == 0 or _is_small(child.graph):
            return None
        inner = self.picture.frame(f"{name}: {child.name}", frame)
        results, writes = self._unit(child, inner, arguments, entries, depth - 1)
        return [*results, *writes]


class _Unit:
    """One call of a unit; `origins` says which node gives a value."""

    def __init__(
        self, flow: _Flow, instance: Instance, origins: dict[Value, int], depth: int
    ) -> None:
        self.flow = flow
        self.picture = flow.picture
        self.instance = instance
        self.origins = origins
        self.depth = depth

    def nodes(self, nodes: Sequence[Node], frame: int) -> None:
        for node in nodes:
            match node.op:
                case "call":
                    self._call(node, frame)
                case "scan":
                    self._scan(node, frame)
                case "param":
                    label = f"{node.args['name']}\n{node.output.type}"
                    self.origins[node.output] = self.picture.add(label, Look.PARAMETER, frame)
                case _:
                    self._operation(node, frame)

    def _operation(self, node: Node, frame: int) -> None:
        place = self._add(_operation_label(node), Look.OPERATION, node, frame)
        if node.region is None:
            return
        inner = self.picture.frame(f"scores of {node.op}", frame)
        for value in node.region.inputs:
            self.origins[value] = self.picture.add(value.name, Look.PARAMETER, inner)
        self.nodes(node.region.nodes, inner)
        for value in node.region.results:
            self.picture.join(self.origins[value], place)

    def _call(self, node: Node, frame: int) -> None:
        reference = node.args["child"]
        assert isinstance(reference, ChildRef)
        child = self.instance.children[reference.name].instances[reference.index or 0]
        name = reference.name if reference.index is None else f"{reference.name}[{reference.index}]"
        arguments = [self.origins[value] for value in _values(node.args["args"])]
        z = node.args.get("z", ())
        assert isinstance(z, tuple)
        entries = [self.origins.get(v) if isinstance(v, Value) else None for v in z]
        results = self.flow.call(name, child, frame, arguments, entries, self.depth)
        if results is not None:
            self.origins.update(zip(node.outputs, results, strict=True))
            return
        look = Look.LAYER if child.graph is None else Look.UNIT
        self._add(f"{name}: {child.name}\n{_value_label(node)}", look, node, frame)

    def _scan(self, node: Node, frame: int) -> None:
        region = node.region
        assert region is not None
        chunk = node.args.get("chunk")
        title = "scan, step by step" if chunk is None else f"scan, in chunks of {chunk}"
        inner = self.picture.frame(title, frame)
        for value, bound in zip(_values(node.args["inputs"]), region.inputs, strict=True):
            self.origins[bound] = self.origins[value]
        if region.step is not None:
            self.origins[region.step] = self.picture.add("position t", Look.PARAMETER, inner)
        for carried in region.carried:
            self._state(carried, inner)
        self.nodes(region.nodes, inner)
        for carried in region.carried:
            source, target = self.origins[carried.next], self.origins[carried.current]
            if source != target:
                self.picture.join(source, target, is_feedback=True)
        for outer, value in zip(node.outputs, region.results, strict=True):
            self.origins[outer] = self.origins[value]

    def _state(self, carried: Carried, frame: int) -> None:
        value = carried.current
        label = f"state {value.name}\n{value.type}"
        self.origins[value] = self.picture.add(label, Look.STATE, frame)
        if isinstance(carried.initial, Value):
            self.picture.join(self.origins[carried.initial], self.origins[value])

    def _add(self, label: str, look: Look, node: Node, frame: int) -> int:
        place = self.picture.add(label, look, frame)
        for value in node.operands():
            self.picture.join(self.origins[value], place)
        self.origins.update((value, place) for value in node.outputs)
        return place


def _graph_of(instance: Instance) -> Graph:
    assert instance.graph is not None
    return instance.graph


def _is_small(graph: Graph) -> bool:
    """A unit of one operation says no more opened than closed."""
    return sum(node.op != "param" for node in graph.nodes) <= 1


def _values(argument: Argument) -> list[Value]:
    assert isinstance(argument, tuple)
    return [value for value in argument if isinstance(value, Value)]


def _operation_label(node: Node) -> str:
    pattern = next((arg for arg in node.args.values() if isinstance(arg, str)), None)
    lines = [_SYMBOLS.get(node.op, node.op), *([pattern] if pattern else []), _value_label(node)]
    return "\n".join(lines)


def _value_label(node: Node) -> str:
    return "\n".join(f"{value.name} {value.type}".strip() for value in node.outputs)
