"""Names for results to which the author gave none."""

from __future__ import annotations

from gabc.graph.nodes import Node

_NAMES = {
    "add": "total",
    "sub": "difference",
    "mul": "product",
    "div": "ratio",
    "pow": "power",
    "index": "part",
    "fill": "filled",
    "where": "chosen",
    "einsum": "contracted",
    "rearrange": "arranged",
    "repeat": "repeated",
    "attend": "attended",
    "linear_attention": "read",
    "delta_rule": "read",
    "delta_product": "read",
    "linear_scan": "h",
    "max_plus_scan": "m",
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), "is_true"),
}
"""What a value is called that the author gave no name, by the operation that made it."""


def hint_of(node: Node) -> str:
    """A name for a result to which the author gave none."""
    if node.op == "call":
        child = node.args["child"]
        return str(getattr(child, "name", "result"))
    return _NAMES.get(node.op, node.op)
