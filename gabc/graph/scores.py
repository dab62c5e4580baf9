"""What the block of an `attend` does to the scores: add something to them, or more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gabc.graph.nodes import Node, Region, Value


def addends(region: Region) -> tuple[Value, ...] | None:
    """What the block adds to the scores or subtracts, `()` if it leaves them as they are.

    `None` if it does anything else to them.

    Such a block is a bias and a mask, which fused attention knows.
    """
    definitions = {output: node for node in region.nodes for output in node.outputs}
    score = region.inputs[0]
    scored = depends_on([score], region)
    if any(value in scored for value in region.results[1:]):
        return None
    found: list[Value] = []
    value = region.results[0]
    while value is not score:
        node = definitions.get(value)
        if node is None or node.op not in ("add", "sub"):
            return None
        a, b = node.args["a"], node.args["b"]
        if isinstance(a, Value) and isinstance(b, Value) and a in scored and b not in scored:
            found.append(b)
            value = a
        elif isinstance(b, Value) and b in scored and isinstance(a, Value) and node.op == "add":
            if a in scored:
                return None
            found.append(a)
            value = b
        else:
            return None
    return tuple(reversed(found))


def block_form(region: Region, has_gradient: Callable[[Value], bool]) -> str:
    """`fused`, `learned` where torch keeps the scores for the gradient of a bias, or `explicit`."""
    added = addends(region)
    if added is None:
        return "explicit"
    return "learned" if any(map(has_gradient, added)) else "fused"


def depends_on(sources: Iterable[Value], region: Region) -> set[Value]:
    """The sources, and what the block makes from them."""
    found = set(sources)
    for node in region.nodes:
        if not found.isdisjoint(node.operands()):
            found.update(node.outputs)
    return found


def needed(results: Iterable[Value], region: Region) -> tuple[Node, ...]:
    """The block's operations that the results are made by, in order."""
    values = set(results)
    found = []
    for node in reversed(region.nodes):
        if not values.isdisjoint(node.outputs):
            found.append(node)
            values.update(node.operands())
    return tuple(reversed(found))


def differentiated(result: Value, region: Region) -> set[Node]:
    """The block's operations through which the result's gradient flows."""
    values, found = {result}, set()
    for node in reversed(region.nodes):
        if node.output in values and node.op != "detach":
            found.add(node)
            values.update(value for value in node.operands() if value.type.kind == "float")
    return found
