"""Lifts a value of a scan's body to all positions at once, where the step only works pointwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from gabc.graph.nodes import Argument, Node, Region, Value
from gabc.graph.static import Literal
from gabc.graph.types import B, L
from gabc.ops import PRIMITIVES


class CannotLift(Exception):
    """The value is not a pointwise function of the scan's arguments."""


@dataclass(eq=False)
class Lifter:
    """`outer` are the scan's arguments, [B, L, ...]; new nodes are added to `nodes`."""

    region: Region
    outer: tuple[Value, ...]
    nodes: list[Node] = field(default_factory=list)
    _known: dict[Value, Value] = field(default_factory=dict)
    _by_output: dict[Value, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known.update(zip(self.region.inputs, self.outer, strict=True))
        for node in self.region.nodes:
            for output in node.outputs:
                self._by_output[output] = node

    def definition(self, value: Value) -> Node | None:
        """The node of the body that computes a value; `None` for arguments and captured values."""
        return self._by_output.get(value)

    def lift(self, value: Value) -> Value:
        """The value at all positions: [B, ...] becomes [B, L, ...]; captured values stay.

        Raises `CannotLift`.
        """
        if value in self._known:
            return self._known[value]
        if value in {carried.current for carried in self.region.carried}:
            raise CannotLift(value.name)
        if value is self.region.step:
            raise CannotLift("t")
        node = self._by_output.get(value)
        if node is None:
            # A captured [B, ...] would meet [B, L, ...] with its batch axis at the time axis.
            if B in value.type.dims:
                raise CannotLift("a captured value with a batch axis")
            return value
        primitive = PRIMITIVES.get(node.op)
        # A primitive that keeps masks is pointwise: it treats every element alike.
        if primitive is None or not primitive.keeps_mask or node.region is not None:
            raise CannotLift(node.op)
        args = {name: self._argument(argument) for name, argument in node.args.items()}
        result = node.output.type
        if result.dims[:1] == (B,):
            result = result.with_dims((B, L, *result.dims[1:]))
        elif any(L in arg.type.dims for arg in args.values() if isinstance(arg, Value)):
            raise CannotLift(node.op)
        self._refuse_ranks(args, result.rank)
        lifted = Value(result, value.span, value.name)
        self.nodes.append(Node(node.op, args, (lifted,), node.span))
        self._known[value] = lifted
        return lifted

    def _argument(self, argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return self.lift(argument)
        if isinstance(argument, tuple):
            raise CannotLift("list")
        return argument

    def _refuse_ranks(self, args: dict[str, Argument], rank: int) -> None:
        """With the time axis second, operands must still meet axis by axis from the right."""
        for argument in args.values():
            if not isinstance(argument, Value) or L not in argument.type.dims:
                continue
            if argument.type.rank != rank:
                raise CannotLift("operands of different rank")


def is_zero(initial: Value | Argument) -> bool:
    """Whether a state starts at the number zero."""
    return isinstance(initial, Literal) and initial.value == 0
