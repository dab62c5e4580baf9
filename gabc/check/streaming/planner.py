"""Makes the plan of a stack, unit by unit and operation by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gabc.check.causality.analysis import Analyser
from gabc.check.causality.sizes import Numbers, UnitSizes, bound_dims
from gabc.check.streaming.ahead import Axes, analysed, reads_ahead
from gabc.check.streaming.layout import layout_of, leaves_time_alone
from gabc.check.streaming.plan import Consumer, NodeKind, NodePlan, StackPlan, UnitPlan
from gabc.dependence.bounds import ONE, Bound
from gabc.dependence.domain import Axis, Dependence, Extent
from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import ChildRef, Graph, Node, Region, Value
from gabc.graph.types import B, D, L
from gabc.ops import PRIMITIVES
from gabc.ops.streaming import Memory
from gabc.ops.verify import find_child
from gabc.syntax.source import Span


def plan_stack(stack: Stack) -> StackPlan:
    """How to go on with each block of a design that is proved causal."""
    planner = _Planner({"D": stack.scale.D})
    stream = (
        Axis(Extent.BATCH, None, ONE, dim=B),
        Axis(Extent.TIME, None, ONE, dim=L),
        Axis(Extent.STATIC, Bound(stack.scale.D, D), dim=D),
    )
    z: dict[str, tuple[Axis, ...]] = {}
    blocks: list[UnitPlan] = []
    hindrance: tuple[Span, str] | None = None
    for block in stack.blocks:
        graph = graph_of(block)
        planned = planner.unit(block, "", [stream], [z.get(r.key) for r in graph.z_reads])
        blocks.append(planned.plan)
        if hindrance is None and planned.plan.hindrance and planned.plan.takes_blocks:
            hindrance = planned.plan.hindrance
        written = range(len(graph.results), len(planned.results))
        for write, place in zip(graph.z_writes, written, strict=True):
            axes = z[write.key] = planned.results[place]
            is_usable = layout_of(axes).is_plain and place not in planned.ahead
            if not is_usable and hindrance is None:
                hindrance = (write.value.span, f"Z.{write.key}")
    return StackPlan(stack, tuple(blocks), hindrance)


def graph_of(instance: Instance) -> Graph:
    """A unit's graph. The stack is elaborated in full."""
    assert instance.graph is not None, instance.name
    return instance.graph


@dataclass(frozen=True, slots=True, eq=False)
class _Planned:
    """A unit's plan, the axes of its results (Z writes last), and which of them read ahead."""

    plan: UnitPlan
    results: tuple[Axes, ...]
    ahead: frozenset[int]


@dataclass
class _Planner:
    numbers: Numbers
    analyser: Analyser = field(default_factory=Analyser)
    _memo: dict[tuple[object, ...], _Planned] = field(default_factory=dict)

    def unit(
        self, instance: Instance, path: str, args: Sequence[Axes], z: Sequence[Axes | None]
    ) -> _Planned:
        """How a unit goes on for arguments and Z entries of these axes."""
        key = (id(instance), tuple(args), tuple(z))
        if key not in self._memo:
            graph = graph_of(instance)
            sizes = UnitSizes(instance, path, self.numbers, *bound_dims(graph, args))
            unit = _Unit(self, instance, path, sizes)
            unit.axes.update(zip(graph.inputs, args, strict=True))
            unit.axes.update((r.value, e) for r, e in zip(graph.z_reads, z, strict=True) if e)
            plan = unit.plan(graph, args, z)
            written = tuple(write.value for write in graph.z_writes)
            ends = (*graph.results, *written)
            ahead: frozenset[int] = frozenset()
            if plan.is_recomputed or unit.has_blocks:
                known = unit.known(args, z)
                ahead = frozenset(p for p, v in enumerate(ends) if unit.reads_ahead(v, known))
            results = tuple(unit.axes[value] for value in ends)
            self._memo[key] = _Planned(plan, results, ahead)
        return self._memo[key]


@dataclass
class _Unit:
    planner: _Planner
    instance: Instance
    path: str
    sizes: UnitSizes
    axes: dict[Value, Axes] = field(default_factory=dict)
    pasts: dict[Value, Consumer] = field(default_factory=dict)
    live: set[Value] = field(default_factory=set)
    remembered: dict[Value, tuple[Span, str]] = field(default_factory=dict)
    hindrance: tuple[Span, str] | None = None

    def plan(self, graph: Graph, args: Sequence[Axes], z: Sequence[Axes | None]) -> UnitPlan:
        given = list(self.axes)
        for value in given:
            self.require_plain(value, value.span, value.name or "an argument")
        ends = [*graph.results, *(write.value for write in graph.z_writes)]
        self.mark(graph.nodes, ends)
        nodes = self.nodes(graph.nodes)
        for value in ends:
            self.require_plain(value, value.span, value.name or "a result")
        layouts = {value: layout_of(axes) for value, axes in self.axes.items()}
        if self.has_blocks and self.hindrance is None:
            known = self.known(args, z)
            for value, (span, name) in self.remembered.items():
                # What is kept of a sequence must stay true when the sequence goes on.
                if self.reads_ahead(value, known):
                    self.hinder(span, name)
        arguments = {v: self.per_row(v) for v in given if v in self.live and layouts[v].times}
        return UnitPlan(self.instance, layouts, nodes, self.pasts, arguments, self.hindrance)

    def per_row(self, value: Value) -> Dim:
        """The elements that a row has of a value, at the scale and for L positions."""
        axes = [axis.dim for axis in self.axes[value] if axis.extent is not Extent.BATCH]
        numbers = {name: Dim.const(number) for name, number in self.planner.numbers.items()}
        return product(axes).substitute(numbers)

    @property
    def has_blocks(self) -> bool:
        return any(layout_of(axes).clock != 1 for axes in self.axes.values())

    def known(self, args: Sequence[Axes], z: Sequence[Axes | None]) -> Mapping[Value, Dependence]:
        """What the unit's values depend on, from its arguments on."""
        planner = self.planner
        planner.analyser.numbers.update(planner.numbers)
        return analysed(planner.analyser, self.instance, self.path, args, z).known

    def reads_ahead(self, value: Value, known: Mapping[Value, Dependence]) -> bool:
        layout = layout_of(self.axes[value])
        return reads_ahead(known[value], layout.time, layout.clock)

    def hinder(self, span: Span, name: str) -> None:
        if self.hindrance is None:
            self.hindrance = (span, name)

    def require_plain(self, value: Value, span: Span, name: str) -> None:
        if not layout_of(self.axes[value]).is_plain:
            self.hinder(span, name)

    def mark(self, nodes: Sequence[Node], needed: Sequence[Value]) -> None:
        """Find what reaches `needed`: nothing else is computed, auxiliary losses least of all."""
        self.live.update(needed)
        for node in reversed(nodes):
            if not self.live.isdisjoint(node.outputs):
                self.live.update(node.operands())
                if node.region is not None:
                    states = [carried.next for carried in node.region.carried]
                    self.mark(node.region.nodes, [*node.region.results, *states])

    def nodes(self, nodes: Sequence[Node]) -> tuple[NodePlan, ...]:
        return tuple(self.node(n) for n in nodes if not self.live.isdisjoint(n.outputs))

    def node(self, node: Node) -> NodePlan:
        for value in node.outputs:
            self.axes[value] = self.sizes.axes(value.type.dims)
        match node.op:
            case "param":
                return NodePlan(node, NodeKind.PLAIN)
            case "coalesce":
                self.coalesce(node)
                return NodePlan(node, NodeKind.PLAIN)
            case "call":
                return NodePlan(node, NodeKind.CALL, child=self.call(node))
            case "scan":
                return self.scan(node)
            case "attend" if node.region is not None:
                return self.attend(node, node.region)
        memory = self.memory(node)
        if memory is not None and self.goes_along(node, memory):
            self.remember(node, memory)
            return NodePlan(node, NodeKind.STREAM, memory)
        if node.op in ("blocks", "unblocks") and self.cuts_time(node):
            kind = NodeKind.BLOCKS if node.op == "blocks" else NodeKind.UNBLOCKS
            return NodePlan(node, kind)
        if not leaves_time_alone(node, self.axes, self.sizes):
            self.hinder(node.span, node.op)
        return NodePlan(node, NodeKind.PLAIN)

    def coalesce(self, node: Node) -> None:
        value, default = node.args["value"], node.args["default"]
        assert isinstance(value, Value)
        assert isinstance(default, Value)
        self.axes[node.output] = self.axes.get(value, self.axes[default])

    # ---------------------------------------------------------------- children

    def call(self, node: Node) -> UnitPlan | None:
        """The child's plan, `None` for a `Linear`."""
        reference, args, z = node.args["child"], node.args["args"], node.args.get("z", ())
        assert isinstance(reference, ChildRef)
        assert isinstance(args, tuple)
        assert isinstance(z, tuple)
        child = find_child(self.instance, reference)
        given = [self.axes[arg] for arg in args if isinstance(arg, Value)]
        if child.unit is None:
            if given[0][-1].extent is not Extent.STATIC or not layout_of(given[0]).is_plain:
                self.hinder(node.span, reference.name)
            return None
        entries = [self.axes.get(entry) if isinstance(entry, Value) else None for entry in z]
        part = reference.name if reference.index is None else f"{reference.name}.{reference.index}"
        path = f"{self.path}.{part}" if self.path else part
        planned = self.planner.unit(child, path, given, entries)
        # What is not plain cannot be cut into old and new; what reads ahead may change later.
        is_plain = all(layout_of(axes).is_plain for axes in (*given, *planned.results))
        is_cut = planned.plan.is_recomputed and planned.plan.takes_blocks
        if planned.ahead or is_cut or not is_plain:
            self.hinder(node.span, reference.name)
        for value, axes in zip(node.outputs, planned.results, strict=True):
            self.axes[value] = axes
        return planned.plan

    # ---------------------------------------------------------------- along time

    def memory(self, node: Node) -> Memory | None:
        """The operation's own, of the operands that have positions; `None` if none has any."""
        memory = PRIMITIVES[node.op].memory(node.args)
        if memory is None or not memory.time:
            return memory
        values = {name: node.args.get(name) for name in memory.time}
        time = tuple(
            name
            for name, value in values.items()
            if isinstance(value, Value) and layout_of(self.axes[value]).times
        )
        return replace(memory, time=time) if time else None

    def goes_along(self, node: Node, memory: Memory) -> bool:
        """Whether the axis that the operation works along is the one that counts time."""
        if not memory.time:
            return True
        layouts = {name: layout_of(self.axes[value]) for name, value in self.given(node, memory)}
        clocks = {layout.clock for layout in layouts.values()}
        if len(clocks) > 1 or not all(layout.is_plain for layout in layouts.values()):
            return False
        if "axis" in node.args:
            axis, x = node.args["axis"], node.args["x"]
            assert isinstance(axis, int)
            assert isinstance(x, Value)
            return layouts[memory.time[0]].time == axis % len(self.axes[x])
        # [B, L, ...], or [1, L, ...] or [L, ...] where rows do not differ.
        stand_right = all(
            (layout.rows, layout.time) in ((0, 1), (None, 0)) or layout.has_unit_for_rows
            for layout in layouts.values()
        )
        moving = [value for _, value in self.given(node, memory)]
        others = [value for value in node.operands() if value not in moving]
        return stand_right and not any(layout_of(self.axes[value]).times for value in others)

    def given(self, node: Node, memory: Memory) -> list[tuple[str, Value]]:
        """The operands with positions, by name."""
        values = [(name, node.args[name]) for name in memory.time]
        return [(name, value) for name, value in values if isinstance(value, Value)]

    def cuts_time(self, node: Node) -> bool:
        """Whether time is cut into blocks that do not overlap, or these are joined again."""
        x, axis = node.args["x"], node.args["axis"]
        assert isinstance(x, Value)
        assert isinstance(axis, int)
        before, after = layout_of(self.axes[x]), layout_of(self.axes[node.output])
        if not (before.is_plain and after.is_plain) or before.time != axis % len(self.axes[x]):
            return False
        if node.op == "unblocks":
            return after.clock == 1
        size = node.args["size"]
        assert isinstance(size, Dim)
        count = self.number(size, node)
        if before.clock != 1 or after.clock != count:
            return False
        self.keep(x, count - 1, is_ring=True)
        self.remembered[x] = (node.span, node.op)
        return True

    def remember(self, node: Node, memory: Memory) -> None:
        self.remembered.update((v, (node.span, node.op)) for _, v in self.given(node, memory))
        for name, size in memory.rings.items():
            self.keep(node.args[name], self.number(size, node), is_ring=True)
        for name, most in memory.caches.items():
            bound = None if most is None else self.number(most, node)
            self.keep(node.args[name], bound, is_ring=False)

    def keep(self, value: object, most: int | None, is_ring: bool) -> None:
        """A value's past serves all that read it: as long as the longest reads."""
        assert isinstance(value, Value)
        before = self.pasts.get(value)
        if before is not None:
            unbounded = before.most is None or most is None
            most = None if unbounded else max(before.most or 0, most or 0)
            is_ring = is_ring and before.is_ring
        self.pasts[value] = Consumer(most, is_ring)

    def number(self, size: Dim, node: Node) -> int:
        """A size of the configuration; one of the sequence is a hindrance."""
        bound = self.sizes.bound(size)
        if not bound.is_finite:
            self.hinder(node.span, node.op)
            return 1
        return int(bound.value)

    def attend(self, node: Node, region: Region) -> NodePlan:
        """With a block: what it looks up by position is kept in whole."""
        memory = self.memory(node)
        if memory is None:
            pass  # inside a chunk, whose positions are all there
        elif self.goes_along(node, memory):
            self.remember(node, memory)
        else:
            memory = None
            self.hinder(node.span, node.op)
        inside = _defined(region)
        for value in region.inputs:
            self.axes[value] = self.sizes.axes(value.type.dims)
        body: list[NodePlan] = []
        for inner in region.nodes:
            if self.live.isdisjoint(inner.outputs):
                continue
            for value in inner.outputs:
                self.axes[value] = self.sizes.axes(value.type.dims)
            body.append(NodePlan(inner, NodeKind.PLAIN))
            for place, value in enumerate(inner.operands()):
                if value in inside or not layout_of(self.axes[value]).times:
                    continue
                layout = layout_of(self.axes[value])
                if inner.op == "lookup" and place == 0 and layout.is_plain and layout.clock == 1:
                    self.remembered[value] = (inner.span, inner.op)
                    self.keep(value, None, is_ring=False)
                else:
                    self.hinder(inner.span, inner.op)
        return NodePlan(node, NodeKind.ATTEND, memory, body=tuple(body))

    def scan(self, node: Node) -> NodePlan:
        region, inputs, chunk = node.region, node.args["inputs"], node.args.get("chunk")
        assert region is not None
        assert isinstance(inputs, tuple)
        for value in inputs:
            assert isinstance(value, Value)
            layout = layout_of(self.axes[value])
            if not layout.is_plain or (layout.rows, layout.time, layout.clock) != (0, 1, 1):
                self.hinder(node.span, "scan")
            self.remembered[value] = (node.span, "scan")
            if isinstance(chunk, Dim):
                self.keep(value, self.number(chunk, node) - 1, is_ring=True)
        for carried in region.carried:
            self.axes[carried.current] = self.sizes.axes(carried.current.type.dims)
        for value in (*region.inputs, *([region.step] if region.step is not None else [])):
            self.axes[value] = self.sizes.axes(value.type.dims)
        # One step has no time, a chunk only its own: what is kept is kept by the scan.
        body = self.nodes(region.nodes)
        return NodePlan(node, NodeKind.SCAN, body=body)


def _defined(region: Region) -> set[Value]:
    return {*region.inputs, *(value for node in region.nodes for value in node.outputs)}
