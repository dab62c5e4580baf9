"""The operations of a method in order, each by the module that knows how to write it."""

from __future__ import annotations

from gabc.codegen.attention import write_attention
from gabc.codegen.body import Body
from gabc.codegen.calls import write_call
from gabc.codegen.fused import write_fused
from gabc.codegen.routing import write_route
from gabc.codegen.scans import write_scan
from gabc.codegen.uses import is_live
from gabc.graph.nodes import Node
from gabc.graph.pycode import Code
from gabc.graph.routing import routed_calls


def write_nodes(body: Body, nodes: tuple[Node, ...]) -> None:
    """The statements of the operations whose results are used."""
    routed = routed_calls(nodes)
    absorbed = {call for calls in routed.values() for call in calls}
    for node in nodes:
        if node in absorbed or not is_live(node, body.uses):
            continue
        if node in routed:
            write_route(body, node, routed[node])
        else:
            _write(body, node)


def _write(body: Body, node: Node) -> None:
    match node.op:
        case "param":
            name = str(node.args["name"])
            body.names[node.output] = Code(body.context.parameter(name))
        case "call":
            write_call(body, node)
        case "coalesce":
            body.define(node, body.coalesce(node))
        case "fused":
            write_fused(body, node)
        case "scan":
            write_scan(body, node, write_nodes)
        case "attend" if node.region is not None:
            write_attention(body, node, node.region, write_nodes)
        case _:
            body.define(node, body.primitive(node))
