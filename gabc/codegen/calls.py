"""Calls of children: `self.attn(X, v_first)`."""

from __future__ import annotations

from gabc.codegen.body import Body
from gabc.graph.nodes import ChildRef, Node, Value
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType


def write_call(body: Body, node: Node) -> None:
    """A child's forward: its arguments, the Z entries it reads, the modules it shares."""
    reference = node.args["child"]
    assert isinstance(reference, ChildRef)
    module, path, instance = body.context.child(reference)
    cls = body.context.classes.get(instance)
    modules = [
        body.context.shared_module(f"{path}.{inner.path}", inner.instance)
        for inner in (() if cls is None else cls.shared)
    ]
    while True:
        texts = ["None" if v is None else body.code(v).text for v in _arguments(node)]
        code = Code(f"{module}({', '.join([*texts, *modules])})")
        waiting = [value for value in node.operands() if value in body.pending]
        if not waiting or body.fits(node, code):
            break
        body.settle(max(waiting, key=lambda value: len(body.code(value).text)))
    body.consume(node)
    if cls is None or not cls.losses:
        body.define(node, code)
        return
    losses = tuple(Value(TensorType("float", ()), node.span, name) for name in cls.losses)
    body.uses.count.update(losses)
    body.remaining.update(losses)
    body.define(Node(node.op, node.args, node.outputs + losses, node.span), code)
    for loss in losses:
        body.losses.setdefault(loss.name, []).append(loss)


def _arguments(node: Node) -> list[Value | None]:
    args, entries = node.args["args"], node.args.get("z", ())
    assert isinstance(args, tuple)
    assert isinstance(entries, tuple)
    return [value if isinstance(value, Value) else None for value in (*args, *entries)]
