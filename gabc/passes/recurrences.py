"""Puts the parallel form of a recurrence where the design has its loop.

`gabc.recurrences` decomposes the step and writes the form. A scan that has none stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

from gabc.elaborate.limits import MAX_FRAMES, recursion_limit
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Graph, Node
from gabc.passes.rewrite import rewrite_instances
from gabc.recurrences.classify import solved_scans


def parallelise(stack: Stack) -> Stack:
    """The stack with every recurrence in its parallel form, where it has one."""
    with recursion_limit(MAX_FRAMES):
        return rewrite_instances(stack, _graph)


def _graph(graph: Graph, instance: Instance) -> Graph:
    forms = {
        scan: solved.nodes
        for scan, solved in solved_scans(graph, instance)
        if solved.nodes is not None
    }
    if not forms:
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(forms.get(node, (node,)))
    return replace(graph, nodes=tuple(nodes))
