"""The invariants of a graph, checked after every phase in tests."""

from __future__ import annotations

from collections.abc import Mapping

from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, ChildRef, Graph, Node, Region, Value
from gabc.graph.types import LEADING, L, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.ops.verify_types import ScaleProver, result_types

STRUCTURAL = frozenset({"param", "call", "coalesce", "scan", "attend"})
"""Operations of the graph itself; all others are primitives of `gabc.ops` or initialisers."""


class BrokenGraph(Exception):
    """A phase of the compiler produced a graph that breaks an invariant."""


def verify(graph: Graph, instance: Instance | None) -> None:
    """Check that every value is defined once, before its uses, and that the parts fit together.

    The result of every primitive must have the type that its shape rule gives at the scale's
    numbers. Without an `instance` there are no numbers, and children and parameters are not looked
    up. Raises `BrokenGraph`.
    """
    _Verifier(instance).graph(graph)


class _Verifier:
    def __init__(self, instance: Instance | None) -> None:
        self.instance = instance
        self.prover = None if instance is None else ScaleProver(instance)
        self.defined: set[Value] = set()

    def graph(self, graph: Graph) -> None:
        visible: set[Value] = set()
        for value in graph.inputs:
            self._define(value, visible, "an input")
        keys = [read.key for read in graph.z_reads]
        if len(set(keys)) != len(keys):
            raise BrokenGraph(f"a Z entry is read twice: {', '.join(keys)}")
        for read in graph.z_reads:
            self._define(read.value, visible, f"Z.{read.key}")
        for bound in graph.call_dims:
            if bound.argument >= len(graph.inputs):
                raise BrokenGraph(f"dim {bound.name} is bound by the absent input {bound.argument}")
            if bound.axis >= graph.inputs[bound.argument].type.rank:
                raise BrokenGraph(f"dim {bound.name} is bound by the absent axis {bound.axis}")
        self._nodes(graph.nodes, visible, L)
        written = [(f"Z.{write.key}", write.value) for write in graph.z_writes]
        lost = [(f"loss {name}", value) for name, value in graph.losses]
        results = [("a result", value) for value in graph.results]
        for what, value in results + written + lost:
            self._use(value, visible, what)

    def _nodes(self, nodes: tuple[Node, ...], visible: set[Value], time: Dim | None) -> None:
        for node in nodes:
            where = f"`{node.op}` at {node.span}"
            for operand in node.operands():
                self._use(operand, visible, where)
            self._structure(node, where)
            if node.region is not None:
                chunk = node.args.get("chunk")
                inside = time if node.op == "attend" else chunk if isinstance(chunk, Dim) else None
                self._region(node.region, visible, where, inside)
            elif node.op in PRIMITIVES:
                self._primitive(node, where, time)
            if not node.outputs:
                raise BrokenGraph(f"{where} has no output")
            for value in node.outputs:
                self._define(value, visible, where)

    def _primitive(self, node: Node, where: str, time: Dim | None) -> None:
        if self.prover is None:
            return
        try:
            expected = result_types(node, self.prover, time)
        except Refused as refused:
            raise BrokenGraph(f"{where}: {refused}") from refused
        found = tuple(value.type for value in node.outputs)
        if len(found) != len(expected) or not all(map(self.prover.may_be, found, expected)):
            given, wanted = (", ".join(map(str, types)) for types in (found, expected))
            raise BrokenGraph(f"{where} gives {wanted}, not {given}")

    def _region(self, region: Region, outside: set[Value], where: str, time: Dim | None) -> None:
        visible = set(outside)
        inputs = [*region.inputs, *(carried.current for carried in region.carried)]
        if region.step is not None:
            inputs.append(region.step)
        for value in inputs:
            self._define(value, visible, f"the body of {where}")
        self._nodes(region.nodes, visible, time)
        for carried in region.carried:
            self._use(carried.next, visible, f"the state of {where}")
            found, declared = carried.next.type, carried.current.type
            if self.prover is not None and not self.prover.may_be(found, declared):
                raise BrokenGraph(f"{where} carries {declared} and hands on {found}")
        for value in region.results:
            self._use(value, visible, f"the result of {where}")

    def _define(self, value: Value, visible: set[Value], where: str) -> None:
        if value in self.defined:
            raise BrokenGraph(f"{_shown(value)} is defined twice, again by {where}")
        self.defined.add(value)
        visible.add(value)

    def _use(self, value: Value, visible: set[Value], where: str) -> None:
        if value not in visible:
            state = "out of scope" if value in self.defined else "not yet defined"
            raise BrokenGraph(f"{where} uses {_shown(value)}, which is {state}")

    def _structure(self, node: Node, where: str) -> None:
        match node.op:
            case "param":
                self._param(node, where)
            case "call":
                self._call(node, where)
            case "coalesce":
                value, default = node.args["value"], node.args["default"]
                if not isinstance(value, Value) or not isinstance(default, Value):
                    raise BrokenGraph(f"{where} needs two values")
            case "scan":
                self._scan(node, where)
            case "attend":
                if node.region is not None and len(node.region.inputs) != 5:
                    raise BrokenGraph(f"the body of {where} binds score, b, h, i, j")
            case _:
                if node.region is not None:
                    raise BrokenGraph(f"{where} cannot have a body")

    def _param(self, node: Node, where: str) -> None:
        if self.instance is None:
            return
        declared = {param.name: param.type for param in self.instance.params}
        name = node.args["name"]
        if not isinstance(name, str) or name not in declared:
            raise BrokenGraph(f"{where}: the unit has no parameter {name!r}")
        if declared[name] != node.output.type:
            raise BrokenGraph(f"{where}: {name} is {declared[name]}, not {node.output.type}")

    def _scan(self, node: Node, where: str) -> None:
        region = node.region
        if region is None:
            raise BrokenGraph(f"{where} has no body")
        inputs = _tuple(node.args, "inputs", where)
        if len(inputs) != len(region.inputs):
            raise BrokenGraph(f"{where} hands {len(inputs)} values to {len(region.inputs)} names")
        chunk = node.args.get("chunk")
        pairs = [*zip(inputs, region.inputs, strict=True)]
        pairs += zip(node.outputs, region.results, strict=True)
        for outer, inner in pairs:
            if not isinstance(outer, Value):
                raise BrokenGraph(f"{where} scans over {outer!r}, which is no value")
            if inner.type.dims != _per_step(outer.type, chunk):
                raise BrokenGraph(f"{where} turns {outer.type} into {inner.type} in its body")

    def _call(self, node: Node, where: str) -> None:
        reference = node.args["child"]
        if not isinstance(reference, ChildRef):
            raise BrokenGraph(f"{where} names no child")
        if self.instance is None:
            return
        child = find_child(self.instance, reference)
        args = _tuple(node.args, "args", where)
        z = _tuple(node.args, "z", where)
        z_keys, z_writes = _tuple(node.args, "z_keys", where), _tuple(node.args, "z_writes", where)
        if child.unit is None:
            if len(args) != 1 or z or z_writes or len(node.outputs) != 1:
                raise BrokenGraph(f"{where}: a Linear takes one value and returns one")
            return
        if child.graph is None:
            raise BrokenGraph(f"{where}: {child.name} has no graph")
        _fit("argument", args, child.graph.inputs, where)
        _fit("Z entry", z, tuple(read.value for read in child.graph.z_reads), where)
        if z_keys != tuple(read.key for read in child.graph.z_reads):
            raise BrokenGraph(f"{where}: {child.name} reads other Z entries than {z_keys}")
        if z_writes != tuple(write.key for write in child.graph.z_writes):
            raise BrokenGraph(f"{where}: {child.name} writes other Z entries than {z_writes}")
        made = child.graph.results + tuple(write.value for write in child.graph.z_writes)
        _fit("result", node.outputs, made, where)


def find_child(instance: Instance, reference: ChildRef) -> Instance:
    """The child that `reference` names. Raises `BrokenGraph` if there is none."""
    children = instance.children.get(reference.name)
    index = reference.index or 0
    if children is None or index >= len(children.instances):
        raise BrokenGraph(f"{instance.name} has no child {reference.name}[{index}]")
    if children.is_array != (reference.index is not None):
        raise BrokenGraph(f"{reference.name} of {instance.name} is used as what it is not")
    return children.instances[index]


def _per_step(outer: TensorType, chunk: Argument) -> tuple[Dim, ...]:
    """The dims that one step sees: the first time axis left out, or of the chunk's size."""
    if L not in outer.dims:
        return outer.dims
    axis = outer.dims.index(L)
    middle = (chunk,) if isinstance(chunk, Dim) else ()
    return outer.dims[:axis] + middle + outer.dims[axis + 1 :]


def _fit(what: str, given: tuple[Argument, ...], wanted: tuple[Value, ...], where: str) -> None:
    if len(given) != len(wanted):
        raise BrokenGraph(f"{where}: {len(given)} {what}s for {len(wanted)}")
    for value, slot in zip(given, wanted, strict=True):
        if not isinstance(value, Value):
            if value is None and what == "Z entry":
                continue
            raise BrokenGraph(f"{where}: {what} {value!r} is no value")
        # The dims are in the names of two units and cannot be compared here.
        if value.type.kind != slot.type.kind or not _same_rank(value.type, slot.type):
            raise BrokenGraph(f"{where}: {what} {value.type} where {slot.type} belongs")


def _same_rank(given: TensorType, slot: TensorType) -> bool:
    if slot.dims and slot.dims[0] == LEADING:
        return given.rank >= slot.rank - 1
    return given.rank == slot.rank


def _tuple(args: Mapping[str, Argument], name: str, where: str) -> tuple[Argument, ...]:
    value = args.get(name, ())
    if not isinstance(value, tuple):
        raise BrokenGraph(f"{where}: `{name}` is no tuple")
    return value


def _shown(value: Value) -> str:
    return f"{value.name or 'a value'} ({value.type} at {value.span})"
