"""Values of a scan's body at all positions at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, ChildRef, Node, Value
from gabc.graph.types import LEADING, ONE, B, L, TensorType
from gabc.ops import PRIMITIVES
from gabc.ops.cost import tensors
from gabc.ops.lift import CannotLift, LiftCall
from gabc.recurrences.body import Body, broadcast
from gabc.syntax.source import Span

_MOVES = ("index", "rearrange", "repeat")


class UnitCalled(CannotLift):
    """The step calls a unit, which may do anything to a sequence."""


@dataclass
class Lifter:
    """New operations, of the graph around the scan, are added to `nodes`.

    A step's [B, ...] is [B, L, ...] at all positions; where it does not change with time, L may be
    a unit axis. What has no batch axis (a parameter) stays, but for the position `t`: [1, L].
    """

    body: Body
    instance: Instance | None
    nodes: list[Node] = field(default_factory=list)
    widened: Value | None = None
    """An argument of the scan that has been taken in float32, in the precision it has."""
    _known: dict[Value, Value] = field(default_factory=dict)
    _deferred: dict[Value, Callable[[], Value]] = field(default_factory=dict)
    _wide: dict[Value, Value] = field(default_factory=dict)
    _bound: set[Value] = field(default_factory=set)
    _plain: dict[Value, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known.update(zip(self.body.region.inputs, self.body.inputs, strict=True))

    def bind(self, value: Value, lifted: Value) -> None:
        """What a value of the step is at all positions."""
        self._known[value] = lifted
        self._bound.add(value)

    def defer(self, value: Value, make: Callable[[], Value]) -> None:
        """What a value is at all positions, found out when it is asked for."""
        self._deferred[value] = make
        self._bound.add(value)

    def lift(self, value: Value) -> Value:
        """Raises `CannotLift`."""
        if value not in self._known and value in self._deferred:
            self._known[value] = self._deferred.pop(value)()
        if value not in self._known:
            if value is self.body.region.step:
                self._known[value] = self._positions()
            elif (node := self.body.definition(value)) is not None:
                self._lift_node(node, self.lift, self._known)
            elif value in self.body.states:
                raise CannotLift(f"the state `{value.name}` itself is used")
            else:
                self._known[value] = self._captured(value)
        return self._known[value]

    def lift_wide(self, value: Value) -> Value:
        """The same computed in float32 at least, as a scan's coefficients are.

        As far back as every element is treated alike, to the scan's arguments.
        """
        if value in self._wide or value in self._bound:
            return self._wide.get(value) or self.lift(value)
        node = self.body.definition(value)
        if node is None:
            lifted = self.lift(value)
            if self.body.argument_of(value) is not None and value.type.kind == "float":
                self.widened = self.widened or lifted
                lifted = self.add("f32", {"x": lifted}, lifted.type)
            self._wide[value] = lifted
        elif node.op in PRIMITIVES and (PRIMITIVES[node.op].keeps_mask or node.op in _MOVES):
            self._lift_node(node, self.lift_wide, self._wide)
            for output in node.outputs:
                self._known.setdefault(output, self._wide[output])
        else:
            return self.lift(value)
        return self._wide[value]

    def lift_to(self, value: Value, rank: int, *, is_wide: bool = False) -> Value:
        """A value of the step that broadcasts to one of `rank` axes, [B, ...]: the same lifted."""
        lifted = self.lift_wide(value) if is_wide else self.lift(value)
        missing = rank - 1 - value.type.rank
        if lifted.type.rank - value.type.rank != 2 or missing <= 0:
            return lifted
        # What depends on the position alone is [1, L, ...].
        items = (":", ":", *[None] * missing, *[":"] * value.type.rank)
        dims = (*lifted.type.dims[:2], *[ONE] * missing, *lifted.type.dims[2:])
        return self.add("index", {"x": lifted, "items": items}, lifted.type.with_dims(dims))

    def full(self, value: Value, dims: tuple[Dim, ...], beside: Value | None = None) -> Value:
        """The value stretched to these dims, B and L among them.

        It stays if it is broadcast to them anyhow, with a value `beside` it.
        """
        types = [value.type] if beside is None else [value.type, beside.type]
        both = broadcast("float", types).dims
        padded = (ONE,) * (len(dims) - len(both)) + both
        if all(wanted.is_one or not own.is_one for own, wanted in zip(padded, dims, strict=True)):
            return value
        zeros = self.add("zeros", {"dims": dims}, TensorType("float", dims))
        return self.add("add", {"a": value, "b": zeros}, value.type.with_dims(dims), value.name)

    def add(
        self,
        op: str,
        args: Mapping[str, Argument],
        type_: TensorType,
        name: str = "",
        span: Span | None = None,
    ) -> Value:
        """A new operation around the scan; returns its result."""
        value = Value(type_, span or self.body.span, name)
        self.nodes.append(Node(op, dict(args), (value,), value.span))
        return value

    def plain(self, value: Value) -> Value:
        """A value made of captured ones alone, outside of the step."""
        node = self.body.definition(value)
        if node is None:
            return value
        if value not in self._plain:
            args = {name: self._plain_argument(argument) for name, argument in node.args.items()}
            self._plain[value] = self.add(node.op, args, value.type, value.name, value.span)
        return self._plain[value]

    def _plain_argument(self, argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return self.plain(argument)
        if isinstance(argument, tuple):
            return tuple(self._plain_argument(part) for part in argument)
        return argument

    def _positions(self) -> Value:
        positions = self.add("positions", {"length": L}, TensorType("float", (L,)))
        items = (None, ":")
        row = self.add("index", {"x": positions, "items": items}, TensorType("float", (ONE, L)))
        return self.add("int", {"x": row}, TensorType("int", (ONE, L)), "t")

    def _captured(self, value: Value) -> Value:
        if B not in value.type.dims:
            return value
        if value.type.dims[0] != B:
            raise CannotLift(f"`{value.name}` {value.type} is captured, its batch axis not first")
        items = (":", None, *[":"] * (value.type.rank - 1))
        type_ = value.type.with_dims((B, ONE, *value.type.dims[1:]))
        return self.add("index", {"x": value, "items": items}, type_, value.name)

    def _lift_node(
        self, node: Node, lift: Callable[[Value], Value], known: dict[Value, Value]
    ) -> None:
        operands = [v for argument in node.args.values() for v in tensors(argument)]
        lifted = [lift(value) for value in operands]
        added = [new.type.rank - old.type.rank for new, old in zip(lifted, operands, strict=True)]
        times = [new.type.dims[1] for new, more in zip(lifted, added, strict=True) if more]
        time = L if L in times else ONE
        args: Mapping[str, Argument]
        if node.op == "call":
            args = self._call(node)
        elif node.op in PRIMITIVES and node.region is None:
            types = tuple(value.type for value in node.outputs)
            site = LiftCall(node.op, node.args, types, lift, self.add)
            args = PRIMITIVES[node.op].lift(site) if any(added) else site.all()
        else:
            args = node.args
            if node.op not in ("param", "coalesce"):
                raise CannotLift(f"`{node.op}` has no form for all positions at once")
        outputs = []
        for output in node.outputs:
            type_ = output.type
            if any(added):
                type_ = type_.with_dims(_timed(type_, time, node.op))
            outputs.append(Value(type_, output.span, output.name))
        self.nodes.append(Node(node.op, dict(args), tuple(outputs), node.span))
        for output, new in zip(node.outputs, outputs, strict=True):
            known[output] = new if any(added) else self._captured(new)

    def _call(self, node: Node) -> Mapping[str, Argument]:
        """A child that is given any leading axes treats them alike: `Linear`, a norm."""
        reference, args = node.args["child"], node.args["args"]
        assert isinstance(reference, ChildRef)
        assert isinstance(args, tuple)
        values = [self.lift(arg) for arg in args if isinstance(arg, Value)]
        child = self._child(reference)
        if child.unit is not None:
            graph = child.graph
            is_rowwise = graph is not None and all(
                value.type.dims[:1] == (LEADING,) for value in graph.inputs
            )
            if not is_rowwise or node.args.get("z") or node.args.get("z_writes"):
                raise UnitCalled(f"the unit `{reference.name}` is called in each step")
        return {**node.args, "args": tuple(values)}

    def _child(self, reference: ChildRef) -> Instance:
        if self.instance is None:
            raise UnitCalled(f"`{reference.name}` is called in each step")
        return self.instance.children[reference.name].instances[reference.index or 0]


def _timed(type_: TensorType, time: Dim, op: str) -> tuple[Dim, ...]:
    """The dims with the time axis after the batch axis."""
    dims = type_.dims
    if dims[:1] == (B,) and B not in dims[1:]:
        return (B, time, *dims[1:])
    if B not in dims:
        return (ONE, time, *dims)
    raise CannotLift(f"`{op}` moves the batch axis")
