"""Adds up the work of a unit's graph: calls, scans and blocks of `attend` included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gabc.check.cost.amounts import Amounts
from gabc.check.cost.defaults import unevaluated
from gabc.check.cost.frame import Called, Frame
from gabc.check.cost.liveness import Liveness, UnitLiveness, inside
from gabc.check.cost.names import Names, bound_at_call
from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef, Graph, Node, Region, Value
from gabc.graph.routing import routed_calls
from gabc.graph.scores import block_form
from gabc.graph.types import ONE, L
from gabc.ops import PRIMITIVES
from gabc.ops.cost import ZERO, Site, Work, bytes_of, grows, tensors


@dataclass
class Walk:
    """The work of units; a unit called alike twice is analysed once."""

    names: Names
    float_bytes: int
    liveness: Liveness = field(default_factory=Liveness)
    _known: dict[tuple[object, ...], Called] = field(default_factory=dict)

    def call(
        self,
        instance: Instance,
        path: str,
        sizes: Mapping[str, Dim],
        gradients: tuple[bool | None, ...],
        wanted: tuple[bool, ...],
    ) -> Called:
        """A call of a unit, not `Linear`; `sizes` are the dims that it binds, B and L among them.

        `gradients` says which inputs have a gradient to receive (`None`: a Z entry that is not
        there), `wanted` which results have one to pass on.
        """
        key = (instance, self.names.key(path), frozenset(sizes.items()), gradients, wanted)
        if key not in self._known:
            assert instance.graph is not None
            names = {**self.names.of(instance, path), **sizes}
            present = tuple(g is not None for g in gradients[len(instance.graph.inputs) :])
            liveness = self.liveness.of(instance, present)
            learning = liveness.learning(wanted)
            unit = _Unit(self, instance, instance.graph, path, names, liveness, learning)
            self._known[key] = unit.run(gradients)
        return self._known[key]


@dataclass
class _Unit:
    walk: Walk
    instance: Instance
    graph: Graph
    path: str
    names: Mapping[str, Dim]
    liveness: UnitLiveness
    learning: set[Value]
    """What has a gradient to pass on."""
    gradients: dict[Value, bool] = field(default_factory=dict)
    roots: dict[Value, Value] = field(default_factory=dict)
    live: set[Value] = field(default_factory=set)
    """What is computed at all."""
    unevaluated: frozenset[Value] = frozenset()
    """What only the defaults of Z entries that are there would need."""
    trained: set[Value] = field(default_factory=set)
    """Parameters and buffers, which are no activations."""
    resolved: dict[Dim, Dim] = field(default_factory=dict)
    sizes: dict[tuple[Dim, ...], Dim] = field(default_factory=dict)
    """Dims and whole shapes in the names of the analysis; most occur many times."""
    shares: dict[Node, Dim] = field(default_factory=dict)
    """The share of the tokens that each call of an expert gets."""

    def run(self, gradients: tuple[bool | None, ...]) -> Called:
        graph = self.graph
        inputs = [*graph.inputs, *(read.value for read in graph.z_reads)]
        for value, gradient in zip(inputs, gradients, strict=True):
            if gradient is not None:
                self.gradients[value] = gradient
        results = [*graph.results, *(write.value for write in graph.z_writes)]
        self.unevaluated = unevaluated(graph, self.liveness.absent, self.liveness.has_losses)
        self.mark(graph.nodes, [*results, *(loss for _, loss in graph.losses)])
        for node, calls in routed_calls(graph.nodes).items():
            top = node.args["top"]
            assert isinstance(top, Dim)
            self.shares.update(dict.fromkeys(calls, self.resolve(top) / len(calls)))
        frame = Frame()
        self.nodes(graph.nodes, frame)
        roots = {self.root(value) for value in frame.saved}
        state = sum((count * size for count, size in frame.past.values()), ZERO)
        own = sum((size for v, size in frame.saved.items() if v not in inputs), ZERO)
        amounts = frame.amounts
        return Called(
            replace(amounts, saved=amounts.saved + own, state=amounts.state + state),
            frame.below,
            tuple(self.has_gradient(value) for value in results),
            frozenset(place for place, value in enumerate(inputs) if value in roots),
            frozenset(place for place, value in enumerate(results) if self.root(value) in roots),
        )

    # ---------------------------------------------------------------- facts about values

    def resolve(self, dim: Dim) -> Dim:
        if dim not in self.resolved:
            self.resolved[dim] = dim.substitute(self.names)
        return self.resolved[dim]

    def has_gradient(self, value: Value) -> bool:
        return self.gradients.get(value, False)

    def root(self, value: Value) -> Value:
        """The value whose memory this one looks at."""
        while value in self.roots:
            value = self.roots[value]
        return value

    def size(self, value: Value) -> Dim:
        dims = value.type.dims
        if dims not in self.sizes:
            self.sizes[dims] = product(self.resolve(dim) for dim in dims)
        return self.sizes[dims]

    def bytes(self, value: Value) -> Dim:
        return self.size(value) * bytes_of(value.type.kind, self.walk.float_bytes)

    def mark(self, nodes: tuple[Node, ...], needed: list[Value]) -> None:
        """Find what reaches `needed`; nothing else is compiled."""
        self.live.update(needed)
        for node in reversed(nodes):
            if self.liveness.has_losses(node):
                self.live.update(node.outputs)
            if not self.live.isdisjoint(node.outputs):
                self.live.update(node.operands())
                if node.region is not None:
                    carried = [value.next for value in node.region.carried]
                    self.mark(node.region.nodes, [*node.region.results, *carried])

    # ---------------------------------------------------------------- nodes

    def nodes(self, nodes: tuple[Node, ...], frame: Frame) -> None:
        for node in nodes:
            frame.defined.update(node.outputs)
            if self.live.isdisjoint(node.outputs) or self.unevaluated.issuperset(node.outputs):
                continue
            match node.op:
                case "param":
                    self.parameter(node)
                case "coalesce":
                    self.coalesce(node)
                case "call" if node in self.shares:
                    self.expert(node, frame, self.shares[node])
                case "call":
                    self.child(node, frame)
                case "scan":
                    self.scan(node, frame)
                case _:
                    self.primitive(node, frame)

    def parameter(self, node: Node) -> None:
        declared = {param.name: param for param in self.instance.params}
        name = node.args["name"]
        assert isinstance(name, str)
        self.gradients[node.output] = not declared[name].is_buffer
        self.trained.add(node.output)

    def coalesce(self, node: Node) -> None:
        """The Z entry if it is there, the default if not, which is only computed then or has a name
        of its own."""
        chosen = self.liveness.chosen(node)
        self.gradients[node.output] = self.has_gradient(chosen)
        self.roots[node.output] = chosen

    def primitive(self, node: Node, frame: Frame) -> None:
        operands = list(node.operands())
        if node.region is not None:
            operands += self.body_of_scores(node, node.region, frame)
        is_float = node.output.type.kind in ("float", "complex")
        differentiable = is_float and node.op != "detach"
        for value in node.outputs:
            self.gradients[value] = differentiable and any(map(self.has_gradient, operands))
        args = (
            node.args
            if node.region is None
            else {**node.args, "block": block_form(node.region, self.has_gradient)}
        )
        site = Site(args, node.outputs, self.resolve, self.size, self.has_gradient)
        work = PRIMITIVES[node.op].cost(site)
        if work.is_view:
            source = next(site.operands(), None)
            if source is not None:
                self.roots.update(dict.fromkeys(node.outputs, source))
        self.add(frame, node, work)

    def body_of_scores(self, node: Node, region: Region, frame: Frame) -> list[Value]:
        """The block of an `attend`: pointwise work on all scores. Returns what it captures."""
        score = region.inputs[0]
        self.gradients[score] = any(map(self.has_gradient, node.operands()))
        inner = Frame(outer=frame)
        inner.defined.update(region.inputs)
        self.nodes(region.nodes, inner)
        window = node.args.get("window")
        if isinstance(window, Dim):
            seen = Dim.apply("min", self.resolve(window), L) / L
            inner.amounts = replace(inner.amounts, skipped=inner.amounts.pointwise * (1 - seen))
        frame.include(inner, ONE)
        return [score, *region.results]

    def add(self, frame: Frame, node: Node, work: Work) -> None:
        """One primitive's work; a result that gets no gradient has no backward pass."""
        learns = any(self.has_gradient(v) and v in self.learning for v in node.outputs)
        traffic = ZERO
        if not work.is_view:
            moved = dict.fromkeys([*node.operands(), *node.outputs])
            traffic = sum((self.bytes(value) for value in moved), ZERO)
        width = self.walk.float_bytes
        frame.amounts += Amounts(
            matmul=work.matmul,
            matmul_backward=work.matmul_backward if learns else ZERO,
            pointwise=work.pointwise,
            pointwise_backward=work.pointwise_backward if learns else ZERO,
            skipped=work.skipped,
            launches=work.launches,
            traffic=traffic + work.extra_traffic * width,
            saved=work.saved * width if learns else ZERO,
        )
        if learns:
            for value in work.saves:
                self.save(frame, value)
        for kept in work.keeps:
            if frame.outer is not None and kept.value in frame.defined:
                continue  # what a body makes it makes anew at every step
            kind = kept.value.type.kind
            is_sum = kept.value in node.outputs
            wide = 4 if is_sum else width  # sums over time are in float32
            size = bytes_of(kind, max(wide, width))
            frame.keep(kept.value, kept.elements, size, is_sum)

    def save(self, frame: Frame, value: Value) -> None:
        """A value kept for the backward pass: once, in the frame that made it."""
        root = self.root(value)
        if root in self.trained:
            return
        home: Frame = frame
        while root not in home.defined and home.outer is not None:
            home = home.outer
        # What a child has counted already stays as it is.
        home.saved.setdefault(root, self.bytes(root))

    # ---------------------------------------------------------------- calls

    def child(self, node: Node, frame: Frame) -> None:
        reference, args, z = node.args["child"], node.args["args"], node.args.get("z", ())
        assert isinstance(reference, ChildRef)
        given = [*tensors(args)]
        children = self.instance.children[reference.name]
        instance = children.instances[reference.index or 0]
        part = reference.name if reference.index is None else f"{reference.name}.{reference.index}"
        if instance.unit is None:
            self.linear(node, instance, given[0], part, frame)
            return
        assert isinstance(z, tuple)
        entries = [value if isinstance(value, Value) else None for value in z]
        passed: list[Value | None] = [*given, *entries]
        gradients = tuple(None if v is None else self.gradients.get(v) for v in passed)
        assert instance.graph is not None
        path = f"{self.path}.{part}" if self.path else part
        wanted = tuple(value in self.learning for value in node.outputs)
        sizes = bound_at_call(instance.graph, given, self.resolve, self.names)
        called = self.walk.call(instance, path, sizes, gradients, wanted)
        frame.add_below(part, called.own)
        for name, amounts in called.below.items():
            frame.add_below(f"{part}.{name}", amounts)
        self.gradients.update(zip(node.outputs, called.gradients, strict=True))
        for place in sorted(called.saved_inputs):
            value = passed[place]
            if value is not None:
                self.save(frame, value)
        for place in sorted(called.saved_results):
            frame.saved[node.outputs[place]] = ZERO

    def expert(self, node: Node, frame: Frame, share: Dim) -> None:
        """A call for some of the tokens: the shares of all experts are what the tokens chose.

        It keeps a copy of the tokens it got.
        """
        inner = Frame(outer=frame)
        inner.defined.update(map(self.root, tensors(node.args["args"])))
        self.child(node, inner)
        frame.amounts += Amounts(saved=sum(inner.saved.values(), ZERO) * share)
        for part, amounts in inner.below.items():
            frame.add_below(part, replace(amounts.times(share), launches=amounts.launches))

    def linear(self, node: Node, instance: Instance, x: Value, part: str, frame: Frame) -> None:
        """`Linear`: one matrix product."""
        width = self.resolve(x.type.dims[-1])
        flops = 2 * self.size(node.output) * width
        added = self.size(node.output) if len(instance.params) > 1 else ZERO
        weights = width * self.resolve(node.output.type.dims[-1]) * self.walk.float_bytes
        self.gradients[node.output] = True
        learns = node.output in self.learning
        if learns:
            self.save(frame, x)
        amounts = Amounts(
            matmul=flops,
            matmul_backward=flops * (1 + self.has_gradient(x)) if learns else ZERO,
            pointwise=added,
            pointwise_backward=added if learns else ZERO,
            launches=ONE,
            traffic=self.bytes(x) + self.bytes(node.output) + weights,
        )
        frame.add_below(part, amounts)

    # ---------------------------------------------------------------- scans

    def scan(self, node: Node, frame: Frame) -> None:
        """A loop over positions or chunks.

        All steps are alike but for the gradients of two: the first has the initial states, which
        may be constants, and nobody reads the states that the last one leaves.
        """
        region, chunk = node.region, node.args.get("chunk")
        assert region is not None
        outer = list(tensors(node.args["inputs"]))
        steps, size = self.names.get("L", L), None
        if isinstance(chunk, Dim):
            size = self.resolve(chunk)
            steps = Dim.apply("ceil", steps / size)
        for value, inner in zip(outer, region.inputs, strict=True):
            self.gradients[inner] = self.has_gradient(value)
            self.roots[inner] = value
        first = self.body(region, frame)
        while self.carry(region):
            pass
        steady = self.body(region, frame)
        whole, self.learning = self.learning, self.learning - inside(region)
        self.liveness.scan(node, region, self.learning, last=True)
        last = self.body(region, frame)
        self.learning = whole
        frame.include(steady, steps)
        ends = first.backward + last.backward - 2 * steady.backward
        frame.amounts += Amounts(
            matmul_backward=ends, launches=Dim.const(len(region.carried) + len(node.outputs))
        )
        for value, inner in zip(node.outputs, region.results, strict=True):
            self.gradients[value] = self.has_gradient(inner)
        self.states(region, outer, size, frame)

    def body(self, region: Region, frame: Frame) -> Frame:
        """One step, by what is known of the states' gradients."""
        for carried in region.carried:
            self.gradients.setdefault(
                carried.current,
                isinstance(carried.initial, Value) and self.has_gradient(carried.initial),
            )
        inner = Frame(outer=frame)
        inner.defined.update(carried.current for carried in region.carried)
        if region.step is not None:
            inner.defined.add(region.step)
        self.nodes(region.nodes, inner)
        return inner

    def carry(self, region: Region) -> bool:
        """Hand the gradients on from step to step; whether that changed any."""
        changed = False
        for carried in region.carried:
            if self.has_gradient(carried.next) and not self.has_gradient(carried.current):
                self.gradients[carried.current] = changed = True
        if changed:
            self.body(region, Frame())
        return changed

    def states(self, region: Region, outer: list[Value], chunk: Dim | None, frame: Frame) -> None:
        """A decoder keeps the states, and of a chunk not yet full the positions there are."""
        for carried in region.carried:
            size = bytes_of(carried.current.type.kind, max(4, self.walk.float_bytes))
            count = self.size(carried.current).substitute({"B": ONE})
            frame.keep(carried.current, count, size)
        if chunk is None or chunk.is_one:
            return
        for value in outer:
            whole = self.size(value).substitute({"B": ONE})
            if grows(whole):
                size = bytes_of(value.type.kind, self.walk.float_bytes)
                frame.keep(value, whole / L * (chunk - 1), size)
