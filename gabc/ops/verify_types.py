"""The type of a primitive's result, computed anew from its operands at a scale's numbers."""

from __future__ import annotations

from fractions import Fraction

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Node
from gabc.graph.static import NumberKind
from gabc.graph.types import LEADING, B, L, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.base import Call, Refused
from gabc.syntax.source import Span

_SYMBOLIC = B.symbols() | L.symbols() | LEADING.symbols()
"""Sizes that no scale has and that are names of the same thing everywhere in a unit."""


class ScaleProver:
    """Dims of a unit at the numbers of one instance (implements `gabc.ops.base.Prover`).

    `B` and `L` stay symbols. What the call binds besides could be anything.
    """

    def __init__(self, instance: Instance) -> None:
        self.numbers: dict[str, Dim] = {}
        self.kinds: dict[str, NumberKind] = {}
        for name, value in instance.env.items():
            first = value[0] if isinstance(value, tuple) and value else value
            if isinstance(first, bool):
                self.kinds[name] = "bool"
            elif isinstance(first, float):
                self.kinds[name] = "float"
            if isinstance(value, float):
                self.numbers[name] = Dim.const(Fraction(repr(value)))
            elif isinstance(value, int) and not isinstance(value, bool):
                self.numbers[name] = Dim.const(value)

    def at_scale(self, dim: Dim) -> Dim:
        return dim.substitute(self.numbers)

    def are_equal(self, left: Dim, right: Dim) -> bool:
        return left == right or self.at_scale(left) == self.at_scale(right)

    def may_be_equal(self, left: Dim, right: Dim) -> bool:
        """Equal, or bound by the call."""
        symbols = self.at_scale(left).symbols() | self.at_scale(right).symbols()
        return self.are_equal(left, right) or not symbols <= _SYMBOLIC

    def require_equal(self, left: Dim, right: Dim, span: Span, message: str) -> None:
        if not self.may_be_equal(left, right):
            raise Refused(Diagnostic("GAB0201", message, span))

    def require_divides(self, divisor: Dim, dim: Dim, span: Span, message: str) -> None:
        ratio = self.at_scale(dim / divisor).as_fraction()
        if ratio is not None and ratio.denominator != 1:
            raise Refused(Diagnostic("GAB0203", message, span))

    def may_be(self, found: TensorType, declared: TensorType) -> bool:
        """Equal kinds and ranks, and dims that may be equal."""
        if (found.kind, found.rank) != (declared.kind, declared.rank):
            return False
        return all(map(self.may_be_equal, found.dims, declared.dims))


def result_types(node: Node, prover: ScaleProver, time: Dim | None) -> tuple[TensorType, ...]:
    """What the primitive's shape rule says of a node. Raises `Refused`.

    `time` is the size of the time axis where the node stands, `None` inside a step of a scan.
    """
    primitive = PRIMITIVES[node.op]
    call = Call(primitive, node.args, {}, node.span, prover, time, kinds=prover.kinds)
    result = primitive.shape(call)
    return result if isinstance(result, tuple) else (result,)
