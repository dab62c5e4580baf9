"""One scan in parallel form: its states one after another, then what is read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gabc.dims.poly import product
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, Carried, ChildRef, Node, Region, Value
from gabc.graph.static import Environment
from gabc.graph.types import B, L
from gabc.ops.lift import CannotLift
from gabc.recurrences.affine import Forms
from gabc.recurrences.body import Body
from gabc.recurrences.composition import updates_of
from gabc.recurrences.elements import linear, max_plus
from gabc.recurrences.facts import RecurrenceClass, RecurrenceFacts, Remedy, StateFacts
from gabc.recurrences.lift import Lifter, UnitCalled
from gabc.recurrences.matrix import Matrix
from gabc.recurrences.roles import Roles, roles_of
from gabc.recurrences.rotation import rotation
from gabc.recurrences.terms import NotAffine
from gabc.recurrences.update import Reads, Update

PER_LAUNCH = 16_384
"""Elements of a state for each operation of the loop, up to which its trajectory is worth keeping.

A launch takes a GPU about 5 us, in which it moves some 20 MB: the dozen passes of a scan over as
many floats of eight sequences take no longer.
"""

_VIEWS = frozenset({"index", "rearrange", "split", "f32", "detach", "param"})


@dataclass(frozen=True, slots=True)
class Solved:
    """The facts, and the operations that replace the scan where it is parallel."""

    facts: RecurrenceFacts
    nodes: tuple[Node, ...] | None


def solve(
    scan: Node, instance: Instance | None, outside: Mapping[Value, Node], unit: str = ""
) -> Solved:
    """Decompose a scan; `outside` are the operations around it, `unit` its path for the facts."""
    region = scan.region
    assert region is not None
    launches = sum(node.op not in _VIEWS for node in region.nodes)
    names = [carried.current.name for carried in region.carried]
    if scan.args.get("chunk") is not None:
        states = tuple(StateFacts(name, RecurrenceClass.CHUNKED) for name in names)
        return Solved(RecurrenceFacts(unit, scan.span, states, launches), None)
    solver = _Solver.of(scan, region, instance, outside, launches)
    try:
        nodes = solver.run(scan)
        facts = RecurrenceFacts(unit, scan.span, tuple(solver.facts), launches)
        return Solved(facts, nodes)
    except NotAffine as failure:
        reason, span, remedy = failure.reason, failure.span, failure.remedy
    except CannotLift as failure:
        reason, span = str(failure), scan.span
        remedy = Remedy.CALL if isinstance(failure, UnitCalled) else Remedy.LINEAR
    states = tuple(StateFacts(name, RecurrenceClass.SEQUENTIAL) for name in names)
    facts = RecurrenceFacts(unit, scan.span, states, launches, reason, span, remedy)
    return Solved(facts, None)


@dataclass
class _Solver:
    body: Body
    lifter: Lifter
    instance: Instance | None
    launches: int
    facts: list[StateFacts] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        scan: Node,
        region: Region,
        instance: Instance | None,
        outside: Mapping[Value, Node],
        launches: int,
    ) -> _Solver:
        inputs = scan.args["inputs"]
        assert isinstance(inputs, tuple)
        values = tuple(value for value in inputs if isinstance(value, Value))
        body = Body(region, values, scan.span, outside)
        return cls(body, Lifter(body, instance), instance, launches)

    def run(self, scan: Node) -> tuple[Node, ...]:
        """Raises `NotAffine` or `CannotLift`."""
        region = self.body.region
        for node in region.nodes:
            if node.op == "call" and self.instance is not None:
                reference = node.args["child"]
                assert isinstance(reference, ChildRef)
                child = self.instance.children[reference.name].instances[reference.index or 0]
                if _has_losses(child):
                    raise NotAffine(
                        f"`{reference.name}` is called for its loss", node.span, Remedy.CALL
                    )
        for states in self._in_order():
            self.facts += self._coupled(*states) if len(states) > 1 else [self._state(states[0])]
        return self._finish(scan, [self._result(value) for value in region.results])

    def _in_order(self) -> Iterator[tuple[Carried, ...]]:
        """Each state after those that it depends on; two that depend on each other at once.

        Raises `NotAffine` for a larger circle.
        """
        waiting = list(self.body.region.carried)
        while waiting:
            currents = {carried.current for carried in waiting}
            ready = [
                carried
                for carried in waiting
                if not self.body.depends(carried.next) & currents - {carried.current}
            ]
            if not ready and (pair := self._pair(waiting)) is not None:
                yield pair
                waiting = [carried for carried in waiting if carried not in pair]
                continue
            if not ready:
                self._explain_circle(waiting)
                names = " and ".join(f"`{carried.current.name}`" for carried in waiting)
                raise NotAffine(f"{names} depend on each other", waiting[0].next.span, Remedy.ORDER)
            yield (ready[0],)
            waiting.remove(ready[0])

    def _pair(self, waiting: list[Carried]) -> tuple[Carried, Carried] | None:
        """Two states that depend on no other that waits."""
        others = {carried.current for carried in waiting}
        for place, first in enumerate(waiting):
            for second in waiting[place + 1 :]:
                needs = self.body.depends(first.next) | self.body.depends(second.next)
                if not needs & others - {first.current, second.current}:
                    return first, second
        return None

    def _coupled(self, first: Carried, second: Carried) -> list[StateFacts]:
        """Real and imaginary part. Raises `NotAffine`."""
        for real, imag in ((first, second), (second, first)):
            if rotation(self.body, self.lifter, real, imag):
                kind = RecurrenceClass.ELEMENTWISE
                return [StateFacts(carried.current.name, kind) for carried in (first, second)]
        self._explain_circle([first, second])
        names = f"`{first.current.name}` and `{second.current.name}`"
        raise NotAffine(f"{names} depend on each other", first.next.span, Remedy.ORDER)

    def _explain_circle(self, waiting: list[Carried]) -> None:
        """Raises `NotAffine` where one of the states is no affine function of another."""
        for carried in waiting:
            for other in waiting:
                Forms(self.body, (other.current,), (other.current,)).of(carried.next)

    def _state(self, carried: Carried) -> StateFacts:
        name = carried.current.name
        node = self.body.definition(carried.next)
        if node is not None and node.op == "maximum" and max_plus(self.body, self.lifter, carried):
            return StateFacts(name, RecurrenceClass.MAX_PLUS)
        updates = updates_of(self.body, carried)
        reason = NotAffine("it is a vector for each row, and no matrix", carried.next.span)
        is_mixed = any(update.mixed for update in updates)
        if carried.current.type.rank > 2 or is_mixed:
            try:
                return self._matrix(carried, updates)
            except NotAffine as failure:
                reason = failure
        if is_mixed:
            raise reason
        self._require_small(carried, reason)
        linear(self.body, self.lifter, carried, updates[0])
        return StateFacts(name, RecurrenceClass.ELEMENTWISE)

    def _matrix(self, carried: Carried, updates: Sequence[Update]) -> StateFacts:
        reads = Reads(
            self.body, Forms(self.body, (carried.current,), (carried.current, carried.next))
        )
        for value in self.body.region.results:
            reads.visit(value)
        for other in self.body.region.carried:
            if other is not carried:
                reads.visit(other.next)
        roles: Roles = roles_of(self.body, updates, reads.found, carried.next.span)
        Matrix(self.body, self.lifter, carried, roles, self._numbers()).prepare()
        kind = RecurrenceClass.DELTA if roles.is_delta else RecurrenceClass.OUTER_PRODUCT
        if len(updates) > 1:
            kind = RecurrenceClass.DELTA_PRODUCT
        decay = roles.decay if roles.kept else "none"
        return StateFacts(carried.current.name, kind, decay, len(updates))

    def _numbers(self) -> Environment:
        return {} if self.instance is None else self.instance.env

    def _require_small(self, carried: Carried, reason: NotAffine) -> None:
        """Raises `NotAffine` where the states of all positions would be too much to keep."""
        if self.instance is None:
            return
        try:
            elements = self.instance.size(product(carried.current.type.dims[1:]))
        except KeyError:  # a dim of the call
            return
        limit = PER_LAUNCH * self.launches
        if elements > limit:
            why = f"{reason.reason}, and its {elements:,} elements are too many to keep for each"
            raise NotAffine(f"{why} position", reason.span, reason.remedy)

    def _result(self, value: Value) -> Value:
        lifted = self.lifter.lift(value)
        dims = (B, L, *value.type.dims[1:])
        if lifted.type.rank == value.type.rank:
            raise CannotLift(f"the result `{value.name}` has no batch axis")
        result = self.lifter.full(lifted, dims)
        if self.lifter.widened is None or result.type.kind != "float":
            return result
        args = {"x": result, "like": self.lifter.widened}
        return self.lifter.add("narrow", args, result.type, result.name, result.span)

    def _finish(self, scan: Node, results: list[Value]) -> tuple[Node, ...]:
        """The operations that are used, the results called what the scan's are."""
        nodes = list(self.lifter.nodes)
        names: dict[Value, Value] = {}
        made = {value for node in nodes for value in node.outputs}
        for result, output in zip(results, scan.outputs, strict=True):
            if result in made and result not in names:
                names[result] = output
            else:
                items = (":",) * result.type.rank
                nodes.append(Node("index", {"x": result, "items": items}, (output,), scan.span))
        renamed = [_renamed(node, names) for node in nodes]
        return tuple(_live(renamed, {*scan.outputs}))


def _renamed(node: Node, names: Mapping[Value, Value]) -> Node:
    def moved(argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return names.get(argument, argument)
        if isinstance(argument, tuple):
            return tuple(moved(part) for part in argument)
        return argument

    args = {name: moved(argument) for name, argument in node.args.items()}
    outputs = tuple(names.get(value, value) for value in node.outputs)
    return replace(node, args=args, outputs=outputs)


def _live(nodes: list[Node], wanted: set[Value]) -> list[Node]:
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(value in wanted for value in node.outputs):
            kept.append(node)
            wanted.update(node.operands())
    return kept[::-1]


def _has_losses(instance: Instance) -> bool:
    return any(part.graph is not None and part.graph.losses for _, part in instance.walk())
