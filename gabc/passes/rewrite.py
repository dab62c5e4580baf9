"""Applies a rewrite of graphs to every unit of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from gabc.graph.instance import Children, Instance, Stack
from gabc.graph.nodes import Graph, Node, Value


def rewrite_instances(stack: Stack, rewrite: Callable[[Graph, Instance], Graph]) -> Stack:
    """The stack with every graph rewritten, with its unit; instances that were one stay one."""
    done: dict[Instance, Instance] = {}

    def visit(instance: Instance) -> Instance:
        if instance not in done:
            graph = instance.graph
            done[instance] = replace(
                instance,
                graph=None if graph is None else rewrite(graph, instance),
                children={name: inside(part) for name, part in instance.children.items()},
            )
        return done[instance]

    def inside(children: Children) -> Children:
        return replace(children, instances=tuple(visit(child) for child in children.instances))

    return replace(stack, blocks=tuple(visit(block) for block in stack.blocks))


def reads(node: Node) -> Iterator[Value]:
    """The values a node needs, those used inside its region included."""
    yield from node.operands()
    if node.region is not None:
        for inner in node.region.nodes:
            yield from reads(inner)
        yield from node.region.results
        yield from (carried.next for carried in node.region.carried)


def ends(graph: Graph) -> list[Value]:
    """What leaves a unit: results, what it writes to Z, losses."""
    written = (write.value for write in graph.z_writes)
    return [*graph.results, *written, *(loss for _, loss in graph.losses)]
