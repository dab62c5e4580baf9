"""`Z.key ?? default` where the entry is there: what generated code does not run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gabc.graph.nodes import Graph, Node, Value


def unevaluated(
    graph: Graph, absent: frozenset[Value], has_losses: Callable[[Node], bool]
) -> frozenset[Value]:
    """What is made only for defaults whose entries are present; `absent` are Z reads without one.

    Generated code says `default if entry is None else entry`, which does not evaluate a default
    that was written in the place. One that has a name, or takes statements of its own (a scan, a
    unit with several results, an expression too long for a line), is computed before that; the
    length of a line is not looked at here.
    """
    uses = Counter(_uses(graph.nodes))
    uses.update([*graph.results, *(write.value for write in graph.z_writes)])
    uses.update(loss for _, loss in graph.losses)
    found: set[Value] = set()
    for nodes in _lists(graph.nodes):
        makers = {
            node.output: node
            for node in nodes
            if len(node.outputs) == 1
            and node.region is None
            and not node.output.name
            and uses[node.output] == 1
            and not has_losses(node)
        }
        for node in nodes:
            if node.op == "coalesce" and node.args["value"] not in absent:
                default = node.args["default"]
                assert isinstance(default, Value)
                found.update(_made_for(default, makers))
    return frozenset(found)


def _made_for(value: Value, makers: dict[Value, Node]) -> Iterator[Value]:
    """The value and its operands, as far as they are parts of one expression."""
    if value in makers:
        yield value
        for operand in makers[value].operands():
            yield from _made_for(operand, makers)


def _lists(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    yield nodes
    for node in nodes:
        if node.region is not None:
            yield from _lists(node.region.nodes)


def _uses(nodes: Sequence[Node]) -> Iterator[Value]:
    for node in nodes:
        yield from node.operands()
        if node.region is not None:
            yield from node.region.results
            yield from (carried.next for carried in node.region.carried)
            yield from _uses(node.region.nodes)
