"""The backward of a group of operations, as operations: reverse mode over its nodes.

The rules are those of `grad` (`gabc.elaborate.gradient_rules`); here a kernel holds a tile of rows,
so a gradient is summed along the columns where its operand has one for each row, and never along
rows: an operand that all rows share is summed by whoever writes it (Griewank and Walther 2008,
chapter 3; sums commute with what is linear in the gradient).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gabc.dims import Dim
from gabc.elaborate.builder import Given
from gabc.elaborate.gradient import DERIVATIVES, broadcasts
from gabc.elaborate.gradient_tape import Taken, Tape, Term
from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList
from gabc.graph.types import ONE, Kind, TensorType
from gabc.passes.tile_shapes import joint_shape, last_dim
from gabc.syntax.source import Span

WIDTH = Ref("WIDTH")
"""Stands for the number of elements of a row."""

_BOOLS = ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not")


@dataclass(frozen=True)
class Backward:
    """The operations of a group and those of its backward, in order.

    `given` are the gradients of the results, `found` those of the operands that have one.
    """

    nodes: tuple[Node, ...]
    given: tuple[Value, ...]
    found: Mapping[Value, Value]


def backward_of(
    nodes: Sequence[Node], results: Sequence[Value], varying: Sequence[Value]
) -> Backward:
    """The gradients of `results` in the operands `varying`. Raises `NoRule`."""
    given = {value: Value(value.type, value.span, f"d{value.name or 'y'}") for value in results}
    tape = KernelTape(nodes[-1].span, list(nodes))
    gradients: dict[Value, Term] = dict(given)
    active = set(varying)
    for node in nodes:
        is_active = node.output.type.kind == "float" and not active.isdisjoint(node.operands())
        if is_active and node.op != "detach":
            active.add(node.output)
    for node in reversed(nodes):
        gradient = gradients.get(node.output)
        if gradient is None or node.output not in active:
            continue
        wanted = frozenset(active.intersection(node.operands()))
        for operand, term in DERIVATIVES[node.op](tape, Taken(node, (gradient,), wanted)):
            if operand not in wanted:
                continue
            shape = node.output.type if broadcasts(node) else operand.type
            term = tape.summed_to(term, shape, operand.type)
            before = gradients.get(operand)
            gradients[operand] = term if before is None else tape.add(before, term)
    found = {}
    for value in varying:
        term = gradients.get(value, Literal(0.0))
        found[value] = term if isinstance(term, Value) else tape.mul_to(term, value)
    return Backward(tuple(tape.nodes), tuple(given.values()), found)


@dataclass
class KernelTape(Tape):
    """Adds nodes to those of a kernel; what is there already is not computed again."""

    span: Span
    nodes: list[Node]
    known: dict[tuple[object, ...], Value] = field(init=False)
    negations: dict[Value, Value] = field(default_factory=dict)
    """What each negation is of."""

    def __post_init__(self) -> None:
        self.known = {_key(node.op, node.args): node.output for node in self.nodes}

    def apply(self, primitive: str, args: Mapping[str, Given]) -> Value:
        arguments = {name: _argument(given) for name, given in args.items()}
        key = _key(primitive, arguments)
        if key not in self.known:
            result = Value(_type_of(primitive, arguments), self.span)
            self.nodes.append(Node(primitive, arguments, (result,), self.span))
            self.known[key] = result
            if primitive == "neg" and isinstance(of := arguments["a"], Value):
                self.negations[result] = of
        return self.known[key]

    def is_full(self, found: TensorType, wanted: TensorType) -> bool:
        return last_dim(found).is_one == last_dim(wanted).is_one

    def count(self, dim: Dim) -> Static:
        return WIDTH

    def add(self, a: Term, b: Term) -> Term:
        """`a + -b` is `a - b`."""
        for term, other in ((b, a), (a, b)):
            maker = self.negations.get(term) if isinstance(term, Value) else None
            if maker is not None:
                return self.sub(other, maker)
        return super().add(a, b)

    def summed_to(self, term: Term, shape: TensorType, to: TensorType) -> Term:
        if last_dim(to).is_one and not last_dim(shape).is_one:
            return self.total(term, shape, -1)
        return term

    def mul_to(self, term: Static, like: Value) -> Value:
        """A number as a tile."""
        result = self.mul(term, self.apply("sub", {"a": like, "b": like}))
        assert isinstance(result, Value)
        return result


def _argument(given: Given) -> Argument:
    assert given is None or isinstance(
        given, (Value, Literal, Ref, Apply, StaticList, Dim, str, int, tuple)
    )
    return given  # type: ignore[return-value]  # tuples are of arguments here


def _key(op: str, args: Mapping[str, Argument]) -> tuple[object, ...]:
    return op, tuple((name, args[name]) for name in sorted(args) if args[name] is not None)


def _type_of(op: str, args: Mapping[str, Argument]) -> TensorType:
    """Of elements: the joint shape of the operands; of a row's reduction with a unit axis last."""
    values = [argument for argument in args.values() if isinstance(argument, Value)]
    dims = joint_shape(values)
    if "keep" in args:
        dims = (*dims[:-1], ONE)
    kind: Kind = "bool" if op in _BOOLS else "float"
    return TensorType(kind, dims)
