"""Makes one operation of every group of pointwise operations that is worth a kernel.

A `fused` node has the group as its region: `inputs` are its operands, and its results those of the
region. `name` is the unit and the line; `numbers` are static numbers that only the unit knows.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gabc.graph.instance import Instance, Stack
from gabc.graph.names import unused
from gabc.graph.nodes import Argument, Graph, Node, Region, Value
from gabc.graph.static import Static
from gabc.graph.types import LEADING
from gabc.passes.clusters import Clusters
from gabc.passes.fusable import ROW_REDUCTIONS, described, numbers_of, why_not
from gabc.passes.rewrite import ends, reads, rewrite_instances
from gabc.passes.tile_shapes import joint_shape, last_dim
from gabc.passes.traffic import MAX_ROW, Traffic, elements_of_row, traffic_of
from gabc.syntax.source import Span

MAX_GRAPH = 1500
"""Operations of a unit beyond which no groups are sought: the search is quadratic."""

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z]|[A-Z]{3})|(?<=[A-Z])(?=[A-Z][a-z])")
"""Between the words of a unit's name: Gated|MLP, Head|RMS|Norm, but RoPE."""

_NOTHING = frozenset(("f32", "detach"))
"""Operations that compute nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Operations that one kernel computes, in order.

    `reduction` is the one that reads whole rows, if there is one. `traffic` is what is read and
    written for each token, one by one and fused.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    reduction: str
    traffic: Traffic

    @property
    def spans(self) -> list[Span]:
        """The first place of every line."""
        lines = {
            (node.span.source.path, node.span.line): node.span for node in reversed(self.nodes)
        }
        return sorted(lines.values(), key=lambda span: (span.source.path, span.line))


@dataclass(frozen=True, slots=True, eq=False)
class Unfused:
    """An operation that could be part of a kernel and is not."""

    node: Node
    reason: str


@dataclass(frozen=True, slots=True)
class Fusion:
    """What is fused in a unit and what is not."""

    groups: tuple[Group, ...]
    unfused: tuple[Unfused, ...]


def fuse(stack: Stack) -> Stack:
    """The stack with a `fused` node in the place of each group."""
    return rewrite_instances(stack, _fused_graph)


def fusion_of(graph: Graph, instance: Instance) -> Fusion:
    """The groups of a unit's graph."""
    graph = pruned(graph)
    candidates = [node for node in graph.nodes if not why_not(node)]
    if len(graph.nodes) > MAX_GRAPH:
        reason = f"the unit has {len(graph.nodes)} operations; groups are sought up to {MAX_GRAPH}"
        return Fusion((), tuple(Unfused(node, reason) for node in candidates))
    clusters = Clusters(graph, {node: frozenset((node,)) for node in candidates})
    clusters.grow()
    groups: list[Group] = []
    unfused: list[Unfused] = []
    names: set[str] = set()
    for members in dict.fromkeys(clusters.of.values()):
        reason = _refusal(clusters, members, instance)
        if reason:
            unfused += [Unfused(node, reason) for node in clusters.ordered(members)]
        else:
            group = _group(clusters, members, instance)
            group = replace(group, name=unused(group.name, names))
            names.add(group.name)
            groups.append(group)
    return Fusion(tuple(groups), tuple(unfused))


def fusions(stack: Stack) -> list[tuple[str, Fusion]]:
    """What is fused in each unit with pointwise operations, in the order of the blocks.

    Units that differ in nothing that shows here come once.
    """
    found: list[tuple[str, Fusion]] = []
    seen: set[tuple[object, ...]] = set()
    for block in dict.fromkeys(stack.blocks):
        for _, instance in block.walk():
            if instance.graph is None:
                continue
            fusion = fusion_of(instance.graph, instance)
            shown = tuple((group.name, group.traffic, len(group.nodes)) for group in fusion.groups)
            reasons = tuple(
                (left.node.op, left.node.span.line, left.reason) for left in fusion.unfused
            )
            key = (instance.name, shown, reasons)
            if key not in seen and (shown or reasons):
                seen.add(key)
                found.append((instance.name, fusion))
    return found


def _refusal(clusters: Clusters, members: frozenset[Node], instance: Instance) -> str:
    """Why a group gets no kernel; empty if it gets one."""
    if sum(node.op not in _NOTHING for node in members) < 2:
        return _alone(clusters, next(iter(members)))
    fault = clusters.fault(members)
    if fault:
        return fault
    inputs = clusters.inputs(members)
    shape = joint_shape([*inputs, *(node.output for node in members)])
    if not any(dim == LEADING or "B" in dim.symbols() for dim in shape):
        return "the same for every sequence: little is moved"
    ends = [*inputs, *clusters.outputs(members)]
    is_stretched = not shape[-1].is_one and any(last_dim(value.type).is_one for value in ends)
    if is_stretched or any(node.op in ROW_REDUCTIONS for node in members):
        width = elements_of_row(shape, instance)
        if width is not None and width > MAX_ROW:
            return f"rows of {width} do not fit the registers (limit {MAX_ROW})"
    traffic = traffic_of(list(members), inputs, clusters.outputs(members), instance)
    if not traffic.is_worth_it:
        return "computing it again in the backward costs more than the bytes it saves"
    return ""


def _alone(clusters: Clusters, node: Node) -> str:
    """What stands around a single operation."""
    around = [clusters.makers[value] for value in node.operands() if value in clusters.makers]
    around += [user for value in node.outputs for user in clusters.users.get(value, ())]
    for other in around:
        if other in clusters.of:
            fault = clusters.fault(clusters.of[node] | clusters.of[other])
            if fault:
                return f"not with `{other.op}` beside it: {fault}"
    names = dict.fromkeys(described(other) for other in around if other.op != "param")
    if not names:
        return "alone: the whole unit is this operation"
    return f"alone: beside it {', '.join(names)}"


def _group(clusters: Clusters, members: frozenset[Node], instance: Instance) -> Group:
    nodes = clusters.ordered(members)
    inputs, outputs = clusters.inputs(members), clusters.outputs(members)
    unit = _WORDS.sub("_", instance.name).lower()
    return Group(
        f"{unit}_{nodes[-1].span.line}",
        tuple(nodes),
        tuple(inputs),
        tuple(outputs),
        next((node.op for node in nodes if node.op in ROW_REDUCTIONS), ""),
        traffic_of(nodes, inputs, outputs, instance),
    )


# ------------------------------------------------------------------------------ rewriting


def pruned(graph: Graph) -> Graph:
    """Without the operations that nothing uses; a call may have losses that somebody does."""
    needed = set(ends(graph))
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op == "call" or not needed.isdisjoint(node.outputs):
            needed.update(reads(node))
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


def _fused_graph(graph: Graph, instance: Instance) -> Graph:
    graph = pruned(graph)
    fusion = fusion_of(graph, instance)
    if not fusion.groups:
        return graph
    varying = _varying(graph)
    makers = {value: node for node in graph.nodes for value in node.outputs}
    place = {node: group for group in fusion.groups for node in group.nodes}
    nodes: dict[Node, None] = {}
    fused: dict[Group, Node] = {}
    for node in graph.nodes:
        group = place.get(node)
        if group is None:
            nodes[node] = None
            continue
        if group not in fused:
            fused[group] = _fused_node(group, varying, makers)
        nodes[fused[group]] = None
    return replace(graph, nodes=_sorted(list(nodes)))


def _fused_node(group: Group, varying: set[Value], makers: Mapping[Value, Node]) -> Node:
    inner: dict[Value, Value] = {}
    taken: set[str] = {value.name for node in group.nodes for value in node.outputs}
    for value in group.inputs:
        name = unused(value.name or _called(makers.get(value)), taken)
        taken.add(name)
        inner[value] = Value(value.type, value.span, name)
    nodes = []
    for node in group.nodes:
        output = Value(node.output.type, node.output.span, node.output.name)
        args = {name: _renamed(argument, inner) for name, argument in node.args.items()}
        nodes.append(Node(node.op, args, (output,), node.span))
        inner[node.output] = output
    region = Region(
        tuple(inner[value] for value in group.inputs),
        tuple(nodes),
        tuple(inner[value] for value in group.outputs),
    )
    numbers: dict[Static, None] = dict.fromkeys(n for node in nodes for n in numbers_of(node))
    args = {
        "name": group.name,
        "inputs": group.inputs,
        "numbers": tuple(numbers),
        "varies": tuple(value in varying for value in group.inputs),
    }
    return Node("fused", args, group.outputs, group.nodes[-1].span, region)


def _called(maker: Node | None) -> str:
    """A name for an operand to which the author gave none."""
    if maker is None:
        return "x"
    return str(getattr(maker.args.get("child"), "name", maker.op))


def _renamed(argument: Argument, names: Mapping[Value, Value]) -> Argument:
    if isinstance(argument, Value):
        return names[argument]
    if isinstance(argument, tuple):
        return tuple(_renamed(part, names) for part in argument)
    return argument


def _varying(graph: Graph) -> set[Value]:
    """The floats that may have a gradient: what depends on a parameter or on an input."""
    found = {*graph.inputs, *(read.value for read in graph.z_reads)}
    for node in graph.nodes:
        depends = node.op in ("param", "call") or not found.isdisjoint(reads(node))
        if depends and node.op != "detach":
            found.update(value for value in node.outputs if value.type.kind != "bool")
    return {value for value in found if value.type.kind == "float"}


def _sorted(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Every node after what it reads, otherwise in the order given (Kahn 1962)."""
    makers = {value: place for place, node in enumerate(nodes) for value in node.outputs}
    needs = [{makers[value] for value in reads(node) if value in makers} for node in nodes]
    users: list[list[int]] = [[] for _ in nodes]
    for place, before in enumerate(needs):
        for other in before:
            users[other].append(place)
    ready = [place for place, before in enumerate(needs) if not before]
    missing = [len(before) for before in needs]
    ordered: list[Node] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(nodes[place])
        for user in users[place]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, user)
    if len(ordered) != len(nodes):
        raise AssertionError("fused groups depend on each other in a circle")
    return tuple(ordered)
