"""A call of a primitive, as its dependence rule sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gabc.dependence.bounds import INFINITY, Bound
from gabc.dependence.domain import (
    NOWHERE,
    Axis,
    Dependence,
    Fill,
    Kind,
    Leg,
    Reason,
    Source,
)
from gabc.dependence.sums import Act
from gabc.dependence.values import constant_values
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.static import Static
from gabc.syntax.source import Span


class Sizes(Protocol):
    """What a unit's static names mean in the proof."""

    def bound(self, dim: Dim) -> Bound: ...

    def axes(self, dims: Sequence[Dim]) -> tuple[Axis, ...]: ...

    def number(self, static: Static) -> Bound | None: ...

    def counted(self, static: Static) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class DependenceCall:
    """`operation` is the primitive's name; `results` are the axes of each result.

    Arguments are as in `Node.args`, those of a primitive in its parameters' names.
    """

    operation: str
    args: Mapping[str, Argument]
    span: Span
    known: Mapping[Value, Dependence]
    results: tuple[tuple[Axis, ...], ...]
    sizes: Sizes

    def of(self, name: str) -> Dependence:
        """What is known of a tensor argument, or of a static number."""
        return self._of(self.args[name])

    def _of(self, argument: Argument) -> Dependence:
        if isinstance(argument, Value):
            return self.known[argument]
        assert isinstance(argument, Static)
        counted = self.sizes.counted(argument)
        if counted:
            reason = Reason(Kind.COUNT, self.operation, self.span)
            legs = (Leg((), -INFINITY, INFINITY, Source.LENGTH, reason=reason),)
            return Dependence((), legs if "L" in counted else (), legs if "B" in counted else ())
        return static_dependence(self.sizes.number(argument))

    def optional(self, name: str) -> Dependence | None:
        return None if self.args.get(name) is None else self.of(name)

    def all(self, name: str) -> tuple[Dependence, ...]:
        argument = self.args[name]
        assert isinstance(argument, tuple)
        return tuple(self._of(part) for part in argument)

    def tensors(self) -> tuple[Dependence, ...]:
        """All tensor arguments, and the numbers that stand for one."""
        found: list[Dependence] = []
        for argument in self.args.values():
            parts = argument if isinstance(argument, tuple) else (argument,)
            found.extend(self.known[part] for part in parts if isinstance(part, Value))
        return tuple(found)

    def integer(self, name: str) -> int:
        argument = self.args[name]
        assert isinstance(argument, int)
        return argument

    def text(self, name: str) -> str:
        argument = self.args[name]
        assert isinstance(argument, str)
        return argument

    def flag(self, name: str) -> bool:
        return self.args.get(name) is True

    def axis(self, value: Dependence, name: str = "axis") -> int:
        """The axis argument, counted from the right as -1, -2, ..."""
        axis = self.integer(name)
        if axis < 0:
            return axis
        argument = self.args.get("x")
        rank = argument.type.rank if isinstance(argument, Value) else value.rank
        return axis - rank

    def size(self, name: str) -> Bound:
        """A size argument."""
        dim = self.args[name]
        assert isinstance(dim, Dim)
        return self.sizes.bound(dim)

    def axis_of_size(self, name: str) -> Axis:
        """The new axis whose size an argument is."""
        dim = self.args[name]
        assert isinstance(dim, Dim)
        (axis,) = self.sizes.axes((dim,))
        return axis

    def act(self, operands: Sequence[Dependence] = ()) -> Act:
        """This operation on operands that may carry masks."""
        spoilt = next((operand.spoilt for operand in operands if operand.spoilt is not None), None)
        is_vague = any(operand.is_vague for operand in operands)
        return Act(self.operation, self.span, is_vague, spoilt)

    def reason(self, kind: Kind) -> Reason:
        return Reason(kind, self.operation, self.span)


def static_dependence(value: Bound | None) -> Dependence:
    """A static number: a constant without axes."""
    if value is None:
        return Dependence(())
    constant = float(value.value)
    if not value.is_finite:
        return Dependence((), fills=(Fill(constant, NOWHERE),))
    # A symbolic zero is zero at this scale only: no rule may rest on it.
    fills = (Fill(constant, NOWHERE),) if value.dim is None or constant else ()
    return Dependence((), fills=fills, values=constant_values(value))
