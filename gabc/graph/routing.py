"""Calls of experts whose results only a `routed_sum` takes: they need run for its tokens only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gabc.graph.nodes import Node, Value


def routed_calls(nodes: Sequence[Node]) -> Mapping[Node, tuple[Node, ...]]:
    """Each `routed_sum` with the calls that make its operands, in their order.

    The calls take one and the same value, and nothing else uses what they return.
    """
    makers = {value: node for node in nodes for value in node.outputs}
    uses = Counter(value for node in nodes for value in node.operands())
    found: dict[Node, tuple[Node, ...]] = {}
    for node in nodes:
        if node.op != "routed_sum":
            continue
        calls = [makers[x] for x in _values(node, "xs") if x in makers and uses[x] == 1]
        arguments = {argument for call in calls for argument in _values(call, "args")}
        is_plain = all(call.op == "call" and len(call.outputs) == 1 for call in calls)
        if is_plain and len(calls) == len(_values(node, "xs")) and len(arguments) == 1:
            found[node] = tuple(calls)
    return found


def routed_input(calls: Sequence[Node]) -> Value:
    """The value that all the calls take."""
    (value,) = _values(calls[0], "args")
    return value


def _values(node: Node, name: str) -> tuple[Value, ...]:
    return tuple(_only_values(node.args.get(name, ())))


def _only_values(argument: object) -> Iterator[Value]:
    if isinstance(argument, tuple):
        yield from (part for part in argument if isinstance(part, Value))
