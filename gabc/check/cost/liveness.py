"""What the loss depends on by way of gradients: only that has a backward pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef, Graph, Node, Region, Value
from gabc.ops.cost import tensors


@dataclass
class Liveness:
    """Memory of which inputs of a unit the wanted results depend on."""

    _inputs: dict[tuple[Instance, tuple[bool, ...], tuple[bool, ...]], tuple[bool, ...]] = field(
        default_factory=dict
    )
    _losses: dict[Instance, bool] = field(default_factory=dict)

    def of(self, instance: Instance, present: tuple[bool, ...]) -> UnitLiveness:
        """A unit, where these of the Z entries that it reads are there."""
        reads = _graph(instance).z_reads
        absent = (read.value for read, is_there in zip(reads, present, strict=True) if not is_there)
        return UnitLiveness(self, instance, frozenset(absent))

    def has_losses(self, instance: Instance) -> bool:
        """Whether the unit or one below it declares an auxiliary loss."""
        if instance not in self._losses:
            own = instance.graph is not None and bool(instance.graph.losses)
            below = (c for part in instance.children.values() for c in part.instances)
            self._losses[instance] = own or any(self.has_losses(child) for child in below)
        return self._losses[instance]

    def inputs(
        self, instance: Instance, wanted: tuple[bool, ...], present: tuple[bool, ...]
    ) -> tuple[bool, ...]:
        """Which inputs (Z reads last) such results have a gradient for."""
        if instance.graph is None:
            return wanted
        key = instance, wanted, present
        if key not in self._inputs:
            found = self.of(instance, present).learning(wanted)
            values = [*instance.graph.inputs, *(r.value for r in instance.graph.z_reads)]
            self._inputs[key] = tuple(value in found for value in values)
        return self._inputs[key]


@dataclass(frozen=True)
class UnitLiveness:
    """One unit; `absent` are the Z reads without an entry, whose defaults are taken."""

    liveness: Liveness
    instance: Instance
    absent: frozenset[Value]

    def learning(self, wanted: tuple[bool, ...]) -> set[Value]:
        """The values with a gradient to pass on, where these results (Z writes last) have one to
        receive. Auxiliary losses have one always."""
        graph = _graph(self.instance)
        results = [*graph.results, *(write.value for write in graph.z_writes)]
        found = {value for value, is_wanted in zip(results, wanted, strict=True) if is_wanted}
        found.update(value for _, value in graph.losses)
        self.backward(graph.nodes, found)
        return found

    def has_losses(self, node: Node) -> bool:
        """Whether a call, or a scan around one, has auxiliary losses, which are always computed."""
        if node.region is not None:
            return any(self.has_losses(inner) for inner in node.region.nodes)
        return node.op == "call" and self.liveness.has_losses(self._child(node))

    def chosen(self, node: Node) -> Value:
        """The Z entry of a `coalesce` if it is there, the default if not."""
        value, default = node.args["value"], node.args["default"]
        assert isinstance(value, Value)
        assert isinstance(default, Value)
        return default if value in self.absent else value

    def backward(self, nodes: tuple[Node, ...], found: set[Value]) -> None:
        """Add to `found` what it depends on, from the last node to the first."""
        for node in reversed(nodes):
            is_loss = node.op == "call" and self.has_losses(node)
            if node.op == "detach" or (found.isdisjoint(node.outputs) and not is_loss):
                continue
            if node.op == "call":
                self._call(node, found)
            elif node.op == "scan":
                assert node.region is not None
                self.scan(node, node.region, found)
            elif node.op == "coalesce":
                found.add(self.chosen(node))
            elif any(is_differentiable(v) and v in found for v in node.outputs):
                found.update(node.operands())
                if node.region is not None:
                    found.update(node.region.results)
                    self.backward(node.region.nodes, found)

    def _child(self, node: Node) -> Instance:
        reference = node.args["child"]
        assert isinstance(reference, ChildRef)
        return self.instance.children[reference.name].instances[reference.index or 0]

    def _call(self, node: Node, found: set[Value]) -> None:
        z = node.args.get("z", ())
        assert isinstance(z, tuple)
        present = tuple(isinstance(entry, Value) and entry not in self.absent for entry in z)
        wanted = tuple(value in found for value in node.outputs)
        needed = self.liveness.inputs(self._child(node), wanted, present)
        passed = [*tensors(node.args["args"]), *z]
        for value, is_needed in zip(passed, needed, strict=True):
            if is_needed and isinstance(value, Value):
                found.add(value)

    def scan(self, node: Node, region: Region, found: set[Value], last: bool = False) -> None:
        """A state is needed by the step after; in the `last` step by none."""
        for output, inner in zip(node.outputs, region.results, strict=True):
            if output in found:
                found.add(inner)
        size = -1
        while size != len(found):
            size = len(found)
            self.backward(region.nodes, found)
            if not last:
                found.update(c.next for c in region.carried if c.current in found)
        for carried in region.carried:
            if carried.current in found and isinstance(carried.initial, Value):
                found.add(carried.initial)
        for outer, inner in zip(tensors(node.args["inputs"]), region.inputs, strict=True):
            if inner in found:
                found.add(outer)


def is_differentiable(value: Value) -> bool:
    """Whether a value of this kind can have a gradient."""
    return value.type.kind in ("float", "complex")


def inside(region: Region) -> set[Value]:
    """The values that belong to a body."""
    states = [value for c in region.carried for value in (c.current, c.next)]
    nodes = [value for node in region.nodes for value in node.outputs]
    return {*region.inputs, *region.results, *states, *nodes}


def _graph(instance: Instance) -> Graph:
    assert instance.graph is not None
    return instance.graph
