"""What the rules of derivatives are written in: primitives applied to values and numbers.

A gradient is a value or a number that broadcasts to what it is the gradient of: the gradient of a
sum is one number for all its elements. `Tape.full` and `Tape.total` know the difference.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gabc.dims import Dim
from gabc.elaborate.builder import Given
from gabc.elaborate.dim_static import static_of
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.prover import RUNTIME_DIMS
from gabc.graph.nodes import Node, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList
from gabc.graph.types import TensorType
from gabc.syntax.source import Span

Term: TypeAlias = "Value | Static"
Contribution: TypeAlias = "tuple[Value, Term]"
"""An operand, and what it gets of the gradient; of the shape of the result, or broadcasting to it.

What the operand was broadcast along is summed by whoever takes it.
"""


class NoRule(Exception):
    """This use of an operation has no derivative; the message says which."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A node with the gradients of its results (`None`: none) and the operands that want theirs."""

    node: Node
    gradients: tuple[Term | None, ...]
    wanted: frozenset[Value]

    @property
    def gradient(self) -> Term:
        """That of the only result."""
        (gradient,) = self.gradients
        assert gradient is not None
        return gradient

    def value(self, name: str) -> Value:
        argument = self.node.args[name]
        assert isinstance(argument, Value)
        return argument

    def term(self, name: str) -> Term:
        """An operand that may be a number."""
        argument = self.node.args[name]
        assert isinstance(argument, (Value, Literal, Ref, Apply, StaticList))
        return argument

    def wants(self, name: str) -> Value | None:
        """The operand of this name, if its gradient is wanted."""
        argument = self.node.args.get(name)
        return argument if isinstance(argument, Value) and argument in self.wanted else None

    def axis(self, of: Value) -> int:
        """The `axis` argument, counted from the end."""
        axis = self.node.args["axis"]
        assert isinstance(axis, int)
        return axis if axis < 0 else axis - of.type.rank


Rule: TypeAlias = "Callable[[Tape, Taken], Iterator[Contribution]]"


class Tape(ABC):
    """Adds nodes to a graph: that of a unit (`BodyTape`), or of a kernel."""

    @abstractmethod
    def apply(self, primitive: str, args: Mapping[str, Given]) -> Value:
        """The result of a primitive."""

    @abstractmethod
    def is_full(self, found: TensorType, wanted: TensorType) -> bool:
        """Whether a type has all the axes of another at their sizes."""

    def of(self, primitive: str, x: Value) -> Value:
        """A function of one tensor."""
        return self.apply(primitive, {"x": x})

    # ---------------------------------------------------------------- arithmetic

    def binary(self, op: str, a: Term, b: Term) -> Term:
        """`op` is the primitive's name; two numbers make a number."""
        if not isinstance(a, Value) and not isinstance(b, Value):
            return _folded(op, a, b)
        if op == "mul" and _is(a, 1):
            return b
        if op in ("mul", "div") and _is(b, 1):
            return a
        if op == "mul" and _is(b, -1):
            a, b = b, a
        if op == "mul" and _is(a, -1) and isinstance(b, Value):
            return self.apply("neg", {"a": b})
        return self.apply(op, {"a": a, "b": b})

    def mul(self, *terms: Term) -> Term:
        result = terms[0]
        for term in terms[1:]:
            result = self.binary("mul", result, term)
        return result

    def add(self, a: Term, b: Term) -> Term:
        return self.binary("add", a, b)

    def sub(self, a: Term, b: Term) -> Term:
        return self.binary("sub", a, b)

    def neg(self, a: Term) -> Term:
        return self.mul(Literal(-1.0), a)

    def where(self, condition: Value, a: Term, b: Term) -> Value:
        return self.apply("where", {"condition": condition, "a": a, "b": b})

    def compare(self, op: str, a: Term, b: Term) -> Value:
        return self.apply(op, {"a": a, "b": b})

    def indicator(self, condition: Value) -> Value:
        """1.0 where the condition holds, else 0.0."""
        return self.of("float", condition)

    # ---------------------------------------------------------------- shapes

    def count(self, dim: Dim) -> Static:
        """A size as a number. Raises `NoRule` if it is none: B and L are no numbers."""
        if dim.symbols() & RUNTIME_DIMS:
            raise NoRule(f"an operation that counts `{dim}`")
        return static_of(dim)

    def full(self, term: Term, type_: TensorType) -> Value:
        """The gradient with all its axes at their sizes."""
        if isinstance(term, Value) and self.is_full(term.type, type_):
            return term
        ones = self.apply("ones", {"dims": type_.dims})
        result = self.mul(term, ones)
        assert isinstance(result, Value)
        return result

    def reduce(self, op: str, x: Value, axis: int, keep: bool = True) -> Value:
        return self.apply(op, {"x": x, "axis": axis, "keep": keep})

    def total(self, term: Term, type_: TensorType, axis: int) -> Term:
        """The sum along an axis (from the end) of what broadcasts to `type_`; the axis stays."""
        if isinstance(term, Value) and term.type.rank >= -axis:
            is_stretched = term.type.dims[axis].is_one and not type_.dims[axis].is_one
            if not is_stretched:
                return self.reduce("sum", term, axis)
        return self.mul(self.count(type_.dims[axis]), term)

    def summed_to(self, term: Term, shape: TensorType, to: TensorType) -> Term:
        """What broadcasts to `shape`, summed along the axes that `to` was broadcast along."""
        for axis in range(-shape.rank, 0):
            is_stretched = -axis > to.rank or (to.dims[axis].is_one and not shape.dims[axis].is_one)
            if is_stretched and not shape.dims[axis].is_one:
                term = self.total(term, shape, axis)
        while isinstance(term, Value) and term.type.rank > to.rank:
            term = self.without_axis(term, -term.type.rank)
        return term

    def without_axis(self, term: Term, axis: int) -> Term:
        """Without a unit axis (from the end), if the term has one there."""
        if not isinstance(term, Value) or term.type.rank < -axis:
            return term
        items: list[str | Dim] = [":"] * term.type.rank
        items[axis] = Dim.const(0)
        return self.apply("index", {"x": term, "items": tuple(items)})

    def with_axis(self, term: Term, axis: int) -> Term:
        """With a unit axis at this place from the end; in front of the first none is needed."""
        if not isinstance(term, Value) or term.type.rank < -axis:
            return term
        items: list[str | None] = [":"] * term.type.rank
        items.insert(term.type.rank + axis + 1, None)
        return self.apply("index", {"x": term, "items": tuple(items)})

    def zeros(self, type_: TensorType) -> Value:
        return self.apply("zeros", {"dims": type_.dims})


@dataclass(frozen=True, slots=True)
class BodyTape(Tape):
    """Adds nodes to the graph being built, all at the place of one `grad`."""

    evaluator: Evaluator
    span: Span

    def apply(self, primitive: str, args: Mapping[str, Given]) -> Value:
        result = self.evaluator.emit(primitive, args, {}, self.span)
        assert isinstance(result, Value)
        return result

    def is_full(self, found: TensorType, wanted: TensorType) -> bool:
        prover = self.evaluator.scope.prover
        return found.rank == wanted.rank and all(
            prover.are_equal(left, right)
            for left, right in zip(found.dims, wanted.dims, strict=True)
        )


_COMPUTE: Mapping[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}
_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _folded(op: str, a: Static, b: Static) -> Static:
    if isinstance(a, Literal) and isinstance(b, Literal):
        return Literal(_COMPUTE[op](_number(a), _number(b)))
    for one, other in ((a, b), (b, a)):
        if op == "mul" and _is(one, 1):
            return other
    return Apply(_SYMBOLS[op], (a, b))


def _number(literal: Literal) -> float:
    assert isinstance(literal.value, (int, float))
    return literal.value


def _is(term: Term, number: int) -> bool:
    return isinstance(term, Literal) and term.value == number
