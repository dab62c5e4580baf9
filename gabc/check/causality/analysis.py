"""Follows every value of a block from its inputs to its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gabc.check.causality.scans import (
    after_step,
    chunk_result,
    in_chunk,
    in_step,
    initial_state,
    step_result,
    widened,
)
from gabc.check.causality.sizes import Numbers, UnitSizes, bound_dims
from gabc.dependence.attention import attention, scores
from gabc.dependence.bounds import INFINITY, ONE, Bound
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Axis, Dependence, Kind, Leg, Reason, anything
from gabc.dependence.forms import CONSTANT, Line, axis_form
from gabc.dependence.moves import moved, substitution
from gabc.dependence.pointwise import joined_legs
from gabc.dependence.reductions import Factor, contraction
from gabc.dependence.values import line_values
from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef, Node, Region, Value
from gabc.ops import PRIMITIVES
from gabc.ops.verify import find_child

MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A unit analysed for given arguments: its results, then the Z entries that it writes."""

    instance: Instance
    path: str
    results: tuple[Dependence, ...]
    known: Mapping[Value, Dependence]


@dataclass(eq=False)
class Analyser:
    """Units are analysed once for every distinct knowledge of their arguments."""

    numbers: Numbers = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    """In the order in which units were entered for the first time."""
    _memo: dict[tuple[object, ...], Outcome] = field(default_factory=dict)

    def unit(
        self,
        instance: Instance,
        path: str,
        args: Sequence[Dependence],
        z: Sequence[Dependence | None],
    ) -> Outcome:
        """The outcome of one call. `path` names the unit's sizes: `attn.rope`."""
        key = (id(instance), tuple(args), tuple(z))
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._analyse(instance, path, args, z)
        return found

    def _analyse(
        self,
        instance: Instance,
        path: str,
        args: Sequence[Dependence],
        z: Sequence[Dependence | None],
    ) -> Outcome:
        graph = instance.graph
        assert graph is not None, "the stack is elaborated in full"
        known: dict[Value, Dependence] = dict(zip(graph.inputs, args, strict=True))
        for read, entry in zip(graph.z_reads, z, strict=True):
            if entry is not None:
                known[read.value] = entry
        place = len(self.outcomes)
        sizes = UnitSizes(
            instance, path, self.numbers, *bound_dims(graph, [arg.axes for arg in args])
        )
        _Frame(self, instance, path, sizes, known).run(graph.nodes)
        written = [write.value for write in graph.z_writes]
        results = tuple(known[value] for value in (*graph.results, *written))
        outcome = Outcome(instance, path, results, known)
        self.outcomes.insert(place, outcome)
        return outcome


@dataclass(eq=False)
class _Frame:
    """One call of a unit."""

    analyser: Analyser
    instance: Instance
    path: str
    sizes: UnitSizes
    known: dict[Value, Dependence]

    def run(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            results = self._node(node)
            for value, result in zip(node.outputs, results, strict=True):
                self.known[value] = _settled(result, self.sizes.axes(value.type.dims), node)

    def _node(self, node: Node) -> tuple[Dependence, ...]:
        match node.op:
            case "param":
                return (Dependence(self.sizes.axes(node.output.type.dims)),)
            case "coalesce":
                value, default = node.args["value"], node.args["default"]
                assert isinstance(value, Value)
                assert isinstance(default, Value)
                return (self.known.get(value) or self.known[default],)
            case "call":
                return self._call(node)
            case "scan":
                return self._scan(node)
            case "attend" if node.region is not None:
                return (self._attend(node, node.region),)
        result = PRIMITIVES[node.op].dependence(self._site(node))
        return result if isinstance(result, tuple) else (result,)

    def _site(self, node: Node) -> DependenceCall:
        axes = tuple(self.sizes.axes(value.type.dims) for value in node.outputs)
        return DependenceCall(node.op, node.args, node.span, self.known, axes, self.sizes)

    # ------------------------------------------------------------------------------- children

    def _call(self, node: Node) -> tuple[Dependence, ...]:
        reference = node.args["child"]
        assert isinstance(reference, ChildRef)
        child = find_child(self.instance, reference)
        arguments, z = node.args["args"], node.args.get("z", ())
        assert isinstance(arguments, tuple)
        assert isinstance(z, tuple)
        args = [self.known[arg] for arg in arguments if isinstance(arg, Value)]
        if child.unit is None:
            return (self._linear(node, child, args[0]),)
        entries = [self.known.get(entry) if isinstance(entry, Value) else None for entry in z]
        name = reference.name if reference.index is None else f"{reference.name}.{reference.index}"
        path = f"{self.path}.{name}" if self.path else name
        return self.analyser.unit(child, path, args, entries).results

    def _linear(self, node: Node, child: Instance, x: Dependence) -> Dependence:
        """The last axis is contracted, and a new one takes its place."""
        call = self._site(node)
        result = contraction(call, [Factor(x, {-1: 1})], call.results[0], {1: x.axes[-1]})
        if any(param.name == "bias" for param in child.params):
            return replace(result, fills=())
        return result

    # ------------------------------------------------------------------------------- regions

    def _scan(self, node: Node) -> tuple[Dependence, ...]:
        region, inputs, chunk = node.region, node.args["inputs"], node.args.get("chunk")
        assert region is not None
        assert isinstance(inputs, tuple)
        size = self.sizes.bound(chunk) if isinstance(chunk, Dim) else None
        call = self._site(node)
        for outer, inner in zip(inputs, region.inputs, strict=True):
            assert isinstance(outer, Value)
            value = self.known[outer]
            axes = self.sizes.axes(inner.type.dims)
            self.known[inner] = (
                in_step(value, axes) if size is None else in_chunk(call, value, axes)
            )
        if region.step is not None:
            self.known[region.step] = Dependence((), values=line_values(Line(axis_form(0))))
        self._fixpoint(region, ONE if size is None else size)
        results = [self.known[value] for value in region.results]
        if size is None:
            return tuple(
                step_result(value, axes) for value, axes in zip(results, call.results, strict=True)
            )
        return tuple(
            chunk_result(call, value, axes, size)
            for value, axes in zip(results, call.results, strict=True)
        )

    def _fixpoint(self, region: Region, step: Bound) -> None:
        """What a state depends on before its update: the initial value, or the step before."""
        for carried in region.carried:
            axes = self.sizes.axes(carried.current.type.dims)
            initial = carried.initial
            start = self.known[initial] if isinstance(initial, Value) else Dependence(())
            self.known[carried.current] = initial_state(start, axes)
        # What one state hands to the next takes a round for each of them, there and back.
        for rounds in range(MOST_ROUNDS + 2 * len(region.carried)):
            self.run(region.nodes)
            is_stable = True
            for carried in region.carried:
                before = self.known[carried.current]
                after = widened(before, after_step(self.known[carried.next], step), rounds)
                is_stable = is_stable and after == before
                self.known[carried.current] = after
            if is_stable:
                return
        # Forms that keep changing: the states may depend on anything, which nothing can add to.
        ends = [self.known[value] for c in region.carried for value in (c.current, c.next)]
        time = anything(joined_legs(end.time for end in ends))
        batch = anything(joined_legs(end.batch for end in ends))
        for carried in region.carried:
            state = self.known[carried.current]
            self.known[carried.current] = replace(state, time=time, batch=batch)
        self.run(region.nodes)

    def _attend(self, node: Node, region: Region) -> Dependence:
        call = self._site(node)
        score, b, h, i, j = region.inputs
        self.known[score] = scores(call)
        for value, name in ((b, -4), (h, -3), (i, -2), (j, -1)):
            axes = self.sizes.axes(value.type.dims)
            self.known[value] = Dependence(axes, values=line_values(Line(axis_form(name))))
        # The number of a row says how many other rows there are.
        others = Leg(CONSTANT, -INFINITY, INFINITY, reason=call.reason(Kind.COUNT))
        self.known[b] = replace(self.known[b], batch=(others,))
        self.run(region.nodes)
        results = [self.known[value] for value in region.results]
        return attention(call, results[0], results[1] if len(results) > 1 else None)


def _settled(value: Dependence, axes: tuple[Axis, ...], node: Node) -> Dependence:
    """With the axes of its type. The index of a unit axis is 0, whatever it is broadcast to."""
    if value.axes is not axes:
        value = replace(value, axes=axes)
    units = [place - len(axes) for place, axis in enumerate(axes) if axis.is_unit]
    if not units or not _mentions(value, units):
        return value
    reason = Reason(Kind.MOVE, node.op, node.span)
    return moved(value, axes, substitution({name: Line(CONSTANT) for name in units}), reason)


def _mentions(value: Dependence, names: Sequence[int]) -> bool:
    forms = [leg.linear for leg in (*value.time, *value.batch)]
    forms += [c.linear for fill in value.fills for region in fill.zone for c in region]
    if value.values is not None:
        forms += [line.linear for line in (*value.values.lowers, *value.values.uppers)]
    return any(axis in names for linear in forms for axis, _ in linear)
