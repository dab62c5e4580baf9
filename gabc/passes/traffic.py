"""What a group of operations reads and writes, one by one and as one kernel.

A kernel that computes a pointwise group does the same arithmetic, so what it saves is memory
traffic and launches. Its backward computes the forward again from the operands: some operations for
each element, where a GPU does tens in the time it reads one (Williams et al. 2009, the roofline).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Node, Value
from gabc.passes.tile_shapes import joint_shape, last_dim

MAX_ROW = 8192
"""The longest row that a program holds in registers."""

TOKENS = 2048
"""Of the one sequence for which bytes are counted."""

_BYTES = {"float": 2, "bool": 1, "int": 8, "complex": 4}
"""Of an element in mixed precision."""


OPERATIONS_PER_BYTE = 20
"""What an H100 computes in float32 while it reads one byte: 67 TFLOP/s by 3.35 TB/s (its data
sheet)."""

_DEAR = frozenset(("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "silu"))
_DEARER = frozenset(("softplus", "logsigmoid", "elu", "gelu", "pow", "softmax", "logsumexp"))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes for each token of the forward pass, before and after fusing, and kernels before.

    `operations` are those that a kernel adds: the forward once more in the backward, and what is
    the same for many rows once for each.
    """

    before: int
    after: int
    launches: int
    operations: int

    @property
    def is_worth_it(self) -> bool:
        return self.saved * OPERATIONS_PER_BYTE >= self.operations

    @property
    def saved(self) -> int:
        return self.before - self.after


def traffic_of(
    nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value], instance: Instance
) -> Traffic:
    """Of a group: each operation reads its operands and writes its result; a kernel its own."""
    before = [value for node in nodes for value in (*dict.fromkeys(node.operands()), *node.outputs)]
    first, then = (_bytes(values, instance) for values in (before, [*inputs, *outputs]))
    shape = joint_shape([*inputs, *(node.output for node in nodes)])
    rows = math.prod(_size(dim, instance) for dim in shape[:-1])
    operations = sum(
        rows * _size(last_dim(node.output.type), instance) * _price(node.op) for node in nodes
    )
    return Traffic(first // TOKENS, then // TOKENS, len(nodes), operations // TOKENS)


def _price(op: str) -> int:
    """About how many operations a function of one element is."""
    return 20 if op in _DEARER else 8 if op in _DEAR else 1


def elements_of_row(shape: tuple[Dim, ...], instance: Instance) -> int | None:
    """The size of the last axis, if it is known before the call."""
    try:
        return instance.size(shape[-1])
    except (KeyError, ValueError):
        return None


def _bytes(values: Iterable[Value], instance: Instance) -> int:
    total = 0
    for value in values:
        count = 1
        for dim in value.type.dims:
            count *= _size(dim, instance)
        total += count * _BYTES[value.type.kind]
    return total


def _size(dim: Dim, instance: Instance) -> int:
    """With one sequence of `TOKENS`; a size of the call that only its caller knows counts as 1."""
    known = dim.substitute({"B": Dim.const(1), "L": Dim.const(TOKENS), "...": Dim.const(TOKENS)})
    try:
        return instance.size(known)
    except (KeyError, ValueError):
        return 1
