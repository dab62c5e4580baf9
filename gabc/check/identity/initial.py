"""A parameter's initial value as text without names."""

from __future__ import annotations

from gabc.check.identity.statics import Scope
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Graph, Node, Value
from gabc.graph.static import Apply, Literal, Ref, StaticList


def initialiser(graph: Graph, scope: Scope) -> str:
    """The expression that draws or computes it; the parameter's own sizes are left out."""
    by_output = {output: node for node in graph.nodes for output in node.outputs}
    return _value(graph.results[0], by_output, scope)


def _value(value: Value, by_output: dict[Value, Node], scope: Scope) -> str:
    node = by_output[value]
    if node.op == "spread":
        return _argument(node.args["value"], by_output, scope)
    args = [
        f"{name}={_argument(argument, by_output, scope)}"
        for name, argument in node.args.items()
        if name not in ("shape", "dims") and argument is not None
    ]
    return f"{node.op}({', '.join(args)})"


def _argument(argument: Argument, by_output: dict[Value, Node], scope: Scope) -> str:
    match argument:
        case Value():
            return _value(argument, by_output, scope)
        case Dim():
            return str(scope.resolve(argument) or argument)
        case Literal() | Ref() | Apply() | StaticList():
            return str(scope.meaning(argument))
        case tuple():
            parts = (_argument(part, by_output, scope) for part in argument)
            return f"({', '.join(parts)})"
    return str(argument)
