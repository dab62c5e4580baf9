"""`Reach`: which parts of a unit, and which of its inputs, some wanted results depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gabc.check.constants import Constants, constants_of
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, ChildRef, Graph, Node, Value


@dataclass(frozen=True, slots=True)
class Reach:
    """What reaches the wanted results (or a loss) of one call.

    `inputs` are positions of arguments, `reads` keys of Z. `parts` are the parameters and children
    below the unit by their paths: `attn`, `attn.wq`, `attn.wq.weight`.
    """

    inputs: frozenset[int]
    reads: frozenset[str]
    parts: frozenset[str]

    @property
    def is_empty(self) -> bool:
        return not (self.inputs or self.reads or self.parts)


@dataclass(eq=False)
class Slicer:
    """Backward slices of units, each computed once for what is wanted of it and what Z holds."""

    _known: dict[tuple[Instance, frozenset[int], frozenset[str]], Reach] = field(
        default_factory=dict
    )
    _constants: dict[Instance, Constants] = field(default_factory=dict)

    def constants(self, instance: Instance) -> Constants:
        if instance not in self._constants:
            graph = instance.graph
            found = Constants() if graph is None else constants_of(instance, graph)
            self._constants[instance] = found
        return self._constants[instance]

    def reach(self, instance: Instance, wanted: frozenset[int], present: frozenset[str]) -> Reach:
        """What the wanted outputs (results, then Z writes) depend on, given the Z keys present."""
        key = (instance, wanted, present)
        if key not in self._known:
            self._known[key] = self._reach(instance, wanted, present)
        return self._known[key]

    def _reach(self, instance: Instance, wanted: frozenset[int], present: frozenset[str]) -> Reach:
        if instance.graph is None:  # a `Linear`
            parts = frozenset(p.name for p in instance.params) if wanted else frozenset()
            return Reach(frozenset({0}) if wanted else frozenset(), frozenset(), parts)
        return _Slice(self, instance, instance.graph, present).run(wanted)


@dataclass(eq=False)
class _Slice:
    slicer: Slicer
    instance: Instance
    graph: Graph
    present: frozenset[str]
    live: set[Value] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def run(self, wanted: frozenset[int]) -> Reach:
        graph = self.graph
        outputs = graph.results + tuple(write.value for write in graph.z_writes)
        self.live.update(outputs[index] for index in wanted)
        self.live.update(value for _, value in graph.losses)
        self._nodes(graph.nodes)
        return Reach(
            frozenset(i for i, value in enumerate(graph.inputs) if value in self.live),
            frozenset(read.key for read in graph.z_reads if read.value in self.live),
            frozenset(self.parts),
        )

    def _nodes(self, nodes: Sequence[Node]) -> None:
        for node in reversed(nodes):
            if node.op == "call":
                self._call(node)
            elif any(output in self.live for output in node.outputs):
                self._live(node)

    def _live(self, node: Node) -> None:
        deciding = self.slicer.constants(self.instance).absorbed.get(node)
        if deciding is not None:
            self.live.update(deciding)
        elif node.op == "param":
            name = node.args["name"]
            assert isinstance(name, str)
            self.parts.add(name)
        elif node.op == "coalesce":
            value, default = node.args["value"], node.args["default"]
            assert isinstance(value, Value)
            assert isinstance(default, Value)
            self.live.add(value if self._is_present(value) else default)
        elif node.op == "scan":
            self._scan(node)
        else:
            self.live.update(node.operands())
            if node.region is not None:
                self.live.update(node.region.results)
                self._nodes(node.region.nodes)

    def _scan(self, node: Node) -> None:
        """A state is live if a later step makes use of it: followed until nothing is added."""
        region = node.region
        assert region is not None
        for output, result in zip(node.outputs, region.results, strict=True):
            if output in self.live:
                self.live.add(result)
        before = -1
        while before != len(self.live):
            before = len(self.live)
            self.live.update(c.next for c in region.carried if c.current in self.live)
            self._nodes(region.nodes)
        for carried in region.carried:
            if carried.current in self.live and isinstance(carried.initial, Value):
                self.live.add(carried.initial)
        inputs = node.args["inputs"]
        assert isinstance(inputs, tuple)
        for outer, inner in zip(inputs, region.inputs, strict=True):
            if inner in self.live and isinstance(outer, Value):
                self.live.add(outer)

    def _call(self, node: Node) -> None:
        """A call that nothing wants is followed, too: there may be a loss below."""
        reference = node.args["child"]
        assert isinstance(reference, ChildRef)
        child = self.instance.children[reference.name].instances[reference.index or 0]
        wanted = frozenset(i for i, output in enumerate(node.outputs) if output in self.live)
        z = _tuple(node.args.get("z"))
        reads = () if child.graph is None else child.graph.z_reads
        given = {read.key: value for read, value in zip(reads, z, strict=True)}
        present = frozenset(key for key, value in given.items() if self._is_present(value))
        reach = self.slicer.reach(child, wanted, present)
        if not wanted and reach.is_empty:
            return
        path = reference.name if reference.index is None else f"{reference.name}.{reference.index}"
        self.parts.add(path)
        self.parts.update(f"{path}.{part}" for part in reach.parts)
        args = _tuple(node.args["args"])
        entered = [args[index] for index in reach.inputs] + [given[key] for key in reach.reads]
        self.live.update(value for value in entered if isinstance(value, Value))

    def _is_present(self, value: Argument) -> bool:
        """Whether a Z entry is there: written before, or handed in."""
        absent = (read.value for read in self.graph.z_reads if read.key not in self.present)
        return isinstance(value, Value) and all(value is not other for other in absent)


def _tuple(argument: Argument) -> tuple[Argument, ...]:
    return argument if isinstance(argument, tuple) else ()
