"""How often each value of a graph is used, and which are used inside a body in braces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gabc.graph.nodes import Graph, Node, Region, Value


@dataclass
class Uses:
    """`count` per value, and the values `captured` by a region deeper than their definition.

    `has_losses` tells of a call whether it returns auxiliary losses, which are used in any case.
    """

    has_losses: Callable[[Node], bool]
    count: Counter[Value] = field(default_factory=Counter)
    captured: set[Value] = field(default_factory=set)


def uses_of(graph: Graph, has_losses: Callable[[Node], bool]) -> Uses:
    """The uses in a unit's graph, dead operations left out."""
    uses = Uses(has_losses)
    roots = [*graph.results, *(write.value for write in graph.z_writes)]
    roots += [loss for _, loss in graph.losses]
    uses.count.update(roots)
    _count(graph.nodes, uses)
    return uses


def captures(region: Region) -> list[Value]:
    """The values of the surrounding graph that a region uses, in the order of their use."""
    inside: set[Value] = set(region.inputs) | {c.current for c in region.carried}
    if region.step is not None:
        inside.add(region.step)
    found: dict[Value, None] = {}
    used: list[Value] = []
    for node in region.nodes:
        used += node.operands()
        if node.region is not None:
            used += captures(node.region)
        inside.update(node.outputs)
    used += [*region.results, *(carried.next for carried in region.carried)]
    for value in used:
        if value not in inside:
            found[value] = None
    return list(found)


def is_live(node: Node, uses: Uses) -> bool:
    """Whether any result of the operation is used, or it has auxiliary losses."""
    if any(uses.count[value] for value in node.outputs) or uses.has_losses(node):
        return True
    inside = () if node.region is None else node.region.nodes
    return any(is_live(inner, uses) for inner in inside)


def _count(nodes: tuple[Node, ...], uses: Uses) -> None:
    """Backwards, so that the operands of an operation nobody uses do not count."""
    for node in reversed(nodes):
        if not is_live(node, uses):
            continue
        uses.count.update(node.operands())
        if node.region is None:
            continue
        region = node.region
        uses.count.update(region.results)
        uses.count.update(carried.next for carried in region.carried)
        _count(region.nodes, uses)
        uses.captured.update(captures(region))
