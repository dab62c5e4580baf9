"""What every scan of a design is."""

from __future__ import annotations

from collections.abc import Iterator

from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Graph, Node, Value
from gabc.recurrences.facts import RecurrenceFacts
from gabc.recurrences.solve import Solved, solve


def classify(stack: Stack) -> tuple[RecurrenceFacts, ...]:
    """The facts of each scan, in order; of units that are one instance only once."""
    found: list[RecurrenceFacts] = []
    seen: set[int] = set()
    for layer, block in enumerate(stack.blocks):
        for path, instance in block.walk(f"blocks.{layer}"):
            if id(instance) in seen or instance.graph is None:
                continue
            seen.add(id(instance))
            found += (solved.facts for _, solved in solved_scans(instance.graph, instance, path))
    return tuple(found)


def solved_scans(
    graph: Graph, instance: Instance | None, path: str = ""
) -> Iterator[tuple[Node, Solved]]:
    """Each scan of a graph with its decomposition."""
    if all(node.op != "scan" for node in graph.nodes):
        return
    outside: dict[Value, Node] = {}
    for node in graph.nodes:
        if node.op == "scan":
            yield node, solve(node, instance, outside, path)
        outside.update(dict.fromkeys(node.outputs, node))
