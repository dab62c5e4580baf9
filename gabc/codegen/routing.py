"""Sparse experts: `y = route(self.experts, x, scores, 2)`."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.codegen.body import Body
from gabc.dims import Dim
from gabc.graph.nodes import ChildRef, Node, Value
from gabc.graph.pycode import Code
from gabc.graph.routing import routed_input


def write_route(body: Body, node: Node, calls: Sequence[Node]) -> None:
    """One call of the helper for a `routed_sum` and the calls of the experts that it sums."""
    x, scores, top = routed_input(calls), node.args["scores"], body.dim(_top(node)).text
    assert isinstance(scores, Value)
    function = body.context.require("route")
    experts = _experts(body, calls)
    options = ["normalise=True"] if node.args["normalise"] else []
    while True:
        texts = [experts, body.code(x).text, body.code(scores).text, top, *options]
        code = Code(f"{function}({', '.join(texts)})")
        waiting = [value for value in dict.fromkeys((x, scores)) if value in body.pending]
        if not waiting or (body.fits(node, code) and x is not scores):
            break
        body.settle(max(waiting, key=lambda value: len(body.code(value).text)))
    for call in calls:
        body.consume(call)
    body.consume(node)
    body.define(node, code)


def _top(node: Node) -> Dim:
    top = node.args["top"]
    assert isinstance(top, Dim)
    return top


def _experts(body: Body, calls: Sequence[Node]) -> str:
    """The list of modules: of a whole array of children the array itself."""
    children = [call.args["child"] for call in calls]
    references = [child for child in children if isinstance(child, ChildRef)]
    name = references[0].name
    count = len(body.context.instance.children[name].instances)
    whole = [ChildRef(name, place) for place in range(count)]
    modules = [_module(body, reference) for reference in references]
    if references == whole and modules[0] == f"self.{body.context.members[name]}[0]":
        return f"self.{body.context.members[name]}"
    return f"[{', '.join(modules)}]"


def _module(body: Body, reference: ChildRef) -> str:
    """An expert as a function of its tokens; the modules that it shares are handed to it."""
    module, path, instance = body.context.child(reference)
    cls = body.context.classes.get(instance)
    shared = [
        body.context.shared_module(f"{path}.{inner.path}", inner.instance)
        for inner in (() if cls is None else cls.shared)
    ]
    return f"lambda x: {module}({', '.join(['x', *shared])})" if shared else module
