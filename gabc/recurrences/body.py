"""A scan's body while it is taken apart: its operations, and those that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gabc.graph.nodes import Argument, Node, Region, Value
from gabc.graph.types import ONE, Kind, TensorType
from gabc.syntax.source import Span


@dataclass
class Body:
    """`inputs` are the scan's arguments outside. New operations are of one step, too."""

    region: Region
    inputs: tuple[Value, ...]
    span: Span
    outside: Mapping[Value, Node]
    """The operations around the scan, by their results."""
    _definitions: dict[Value, Node] = field(default_factory=dict)
    _depends: dict[Value, frozenset[Value]] = field(default_factory=dict)
    _added: dict[tuple[str, tuple[tuple[str, Argument], ...]], Value] = field(default_factory=dict)
    _keys: dict[Value, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _masks: dict[tuple[Value, bool], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for carried in self.region.carried:
            self._depends[carried.current] = frozenset({carried.current})
        for node in self.region.nodes:
            self._define(node)

    @property
    def states(self) -> frozenset[Value]:
        return frozenset(carried.current for carried in self.region.carried)

    def definition(self, value: Value) -> Node | None:
        """The operation of the step that computes a value; `None` for what comes from outside."""
        return self._definitions.get(value)

    def depends(self, value: Value) -> frozenset[Value]:
        """The states (before their update) that a value depends on."""
        return self._depends.get(value, frozenset())

    def add(
        self,
        op: str,
        args: Mapping[str, Argument],
        type_: TensorType,
        name: str = "",
        span: Span | None = None,
    ) -> Value:
        """An operation of one step; returns its result. The same one twice is one."""
        key = (op, tuple(args.items()))
        if key not in self._added:
            value = self._added[key] = Value(type_, span or self.span, name)
            self._define(Node(op, dict(args), (value,), value.span))
        return self._added[key]

    def mask(self, condition: Value, *, negated: bool) -> Value:
        """A condition as ones and zeros."""
        key = (condition, negated)
        if key not in self._masks:
            if negated:
                condition = self.add("logical_not", {"a": condition}, condition.type)
            number = condition.type.with_kind("float")
            self._masks[key] = self.add("float", {"x": condition}, number)
        return self._masks[key]

    def argument_of(self, value: Value) -> Value | None:
        """The scan's argument [B, L, ...] of which a value is one position."""
        for inner, outer in zip(self.region.inputs, self.inputs, strict=True):
            if inner is value:
                return outer
        return None

    def key(self, value: Value) -> int:
        """Equal for values that are computed by the same operations on the same values."""
        if value not in self._keys:
            node = self.definition(value)
            text = str(id(value))
            if node is not None and len(node.outputs) == 1 and node.region is None:
                args = {name: self._key_of(argument) for name, argument in node.args.items()}
                text = f"{node.op}{args}"
            self._keys[value] = self._numbers.setdefault(text, len(self._numbers))
        return self._keys[value]

    def _key_of(self, argument: Argument) -> str:
        if isinstance(argument, Value):
            return f"#{self.key(argument)}"
        if isinstance(argument, tuple):
            return str([self._key_of(part) for part in argument])
        return str(argument)

    def _define(self, node: Node) -> None:
        found = frozenset().union(*(self.depends(value) for value in node.operands()))
        if node.region is not None:
            for inner in node.region.nodes:
                found = found.union(*(self.depends(value) for value in inner.operands()))
        for output in node.outputs:
            self._definitions[output] = node
            self._depends[output] = found


def broadcast(kind: Kind, types: Sequence[TensorType]) -> TensorType:
    """The type of values that are known to broadcast."""
    rank = max(type_.rank for type_ in types)
    dims = []
    for place in range(-rank, 0):
        found = [t.dims[place] for t in types if t.rank >= -place and not t.dims[place].is_one]
        dims.append(found[0] if found else ONE)
    return TensorType(kind, tuple(dims))
