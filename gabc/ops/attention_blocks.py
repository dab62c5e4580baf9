"""Where the block of an `attend` is evaluated: for the keys that a query sees, j <= i.

A function that has no value beyond them, as `log(i - j + 1)`, would give gradients of NaN there,
whatever masks the scores: 0 * NaN is NaN. So a block takes `minimum(i, j)` for `j`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gabc.graph.nodes import Node, Region, Value
from gabc.graph.static import Static
from gabc.ops import PRIMITIVES

_TOTAL = frozenset(
    (
        *("add", "sub", "mul", "neg", "abs", "sign", "square", "lerp", "sin", "cos", "erf"),
        *("tanh", "sigmoid", "logsigmoid", "relu", "silu", "gelu", "elu", "softplus"),
        *("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not"),
        *("floor", "ceil", "round", "clamp", "maximum", "minimum", "where", "fill", "lookup"),
        *("f32", "float", "int", "detach"),
    )
)
"""Finite for finite numbers, and so are their derivatives."""


def is_pointwise(node: Node) -> bool:
    """Whether an element of the result is a function of the operands' elements in its place."""
    return node.op == "fill" or (PRIMITIVES[node.op].keeps_mask and node.op != "dropout")


def is_elementwise(nodes: Iterable[Node], inputs: Iterable[Value]) -> bool:
    """Whether what depends on a score or its place is computed for each score by itself.

    A sum over keys reads scores beyond the query, too, which its own mask must know apart.
    """
    cells = set(inputs)
    for node in nodes:
        if cells.isdisjoint(node.operands()):
            continue
        cells.update(node.outputs)
        if node.op != "lookup" and not is_pointwise(node):
            return False
    return True


def sees_past_only(region: Region) -> bool:
    """Whether the block takes `minimum(i, j)` for `j`: the same for every key that is seen."""
    return is_elementwise(region.nodes, region.inputs)


def leaves_its_domain(nodes: Sequence[Node], inputs: Sequence[Value]) -> bool:
    """Whether `minimum(i, j)` makes a difference: a function of j may be infinite or undefined.

    `inputs` end with j.
    """
    if not is_elementwise(nodes, inputs):
        return False
    by_key = {inputs[-1]}
    for node in nodes:
        if by_key.isdisjoint(node.operands()):
            continue
        by_key.update(node.outputs)
        is_by_number = node.op in ("div", "mod", "floordiv") and isinstance(node.args["b"], Static)
        if node.op not in _TOTAL and not is_by_number:
            return True
    return False
