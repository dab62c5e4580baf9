"""Calls of fused groups: `kernels.gated_mlp_16(self.gate(X), self.up(X))`."""

from __future__ import annotations

from gabc.codegen.body import Body
from gabc.codegen.context import ClassContext
from gabc.graph.nodes import Node, Value
from gabc.graph.pycode import Code
from gabc.graph.static import Static


def write_fused(body: Body, node: Node) -> None:
    """The operator's name, its operands, and the static numbers of this unit."""
    inputs, numbers = node.args["inputs"], node.args["numbers"]
    assert isinstance(inputs, tuple)
    assert isinstance(numbers, tuple)
    name = _function(body.context, node)
    static = [body.static(number).text for number in numbers if isinstance(number, Static)]
    values = [value for value in inputs if isinstance(value, Value)]
    while True:
        code = Code(f"{name}({', '.join([*(body.code(v).text for v in values), *static])})")
        waiting = [value for value in values if value in body.pending]
        if not waiting or body.fits(node, code):
            break
        body.settle(max(waiting, key=lambda value: len(body.code(value).text)))
    body.consume(node)
    body.define(node, code)


def _function(context: ClassContext, node: Node) -> str:
    if context.kernels is None:
        raise ValueError("a fused graph is written with a table of kernels")
    return context.kernels.add(node, context.instance.name)
