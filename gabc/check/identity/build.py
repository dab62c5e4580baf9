"""From graphs to terms: units and functions inlined, names gone, sugar written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gabc.check.identity.desugar import desugar
from gabc.check.identity.initial import initialiser
from gabc.check.identity.statics import Scope
from gabc.check.identity.terms import Terms
from gabc.dims import Dim
from gabc.graph.instance import Instance, Parameter
from gabc.graph.nodes import Carried, ChildRef, Graph, Node, Region, Value
from gabc.graph.static import Static
from gabc.graph.types import LEADING


@dataclass
class Builder:
    """Builds the terms of blocks.

    `losses` are the terms of all auxiliary losses met so far, `parameters` what was read, by full
    name: `blocks.0.attn.wq.weight`, or `shared.mixer/attn.wq.weight` if blocks share `mixer.attn`.
    """

    terms: Terms = field(default_factory=Terms)
    losses: list[int] = field(default_factory=list)
    parameters: dict[str, tuple[Instance, Parameter]] = field(default_factory=dict)
    scans: int = 0

    def block(
        self, block: Instance, path: str, X: int, z: Sequence[int | None]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The results and Z writes of a block; `path` begins the names of its parameters."""
        unit = Unit(self, block, Scope.of(block, None, False), path)
        assert block.graph is not None
        return unit.run(block.graph, [X], z)


@dataclass
class Unit:
    """One call of a unit.

    `path` begins the names of its parameters, `inside` leads to it in the block; `sizes` are dims
    of the call, `leading` the axes that `...` stands for.
    """

    builder: Builder
    instance: Instance
    scope: Scope
    path: str
    inside: str = ""
    sizes: Mapping[str, Dim] = field(default_factory=dict)
    leading: tuple[Dim, ...] = ()
    values: dict[Value, int] = field(default_factory=dict)
    resolved: dict[Dim, Dim] = field(default_factory=dict)

    def run(
        self, graph: Graph, inputs: Sequence[int], z: Sequence[int | None]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        self.values.update(zip(graph.inputs, inputs, strict=True))
        for read, entry in zip(graph.z_reads, z, strict=True):
            if entry is not None:
                self.values[read.value] = entry
        self.nodes(graph.nodes)
        self.builder.losses += [self.values[value] for _, value in graph.losses]
        return (
            tuple(self.values[value] for value in graph.results),
            tuple(self.values[write.value] for write in graph.z_writes),
        )

    # ---------------------------------------------------------------- sizes and numbers

    @property
    def terms(self) -> Terms:
        return self.builder.terms

    def size(self, dim: Dim) -> Dim:
        """A size in `B`, `L`, `D` and `n_layers`; a number where the design has no polynomial."""
        if dim not in self.resolved:
            resolved = self.scope.resolve(dim)
            number = Dim.const(self.instance.size(dim)) if resolved is None else resolved
            self.resolved[dim] = number
        return self.resolved[dim]

    def shape(self, value: Value) -> tuple[Dim, ...]:
        dims: list[Dim] = []
        for dim in value.type.dims:
            dims += self.leading if dim == LEADING else (self.size(dim),)
        return tuple(dims)

    def static(self, static: Static) -> int:
        """A number as a term."""
        meaning = self.scope.meaning(static)
        if isinstance(meaning, Dim):
            return self.terms.constant(meaning)
        return self.terms.add("static", signature=meaning)

    # ---------------------------------------------------------------- nodes

    def nodes(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            match node.op:
                case "param":
                    results = [self.parameter(node)]
                case "coalesce":
                    results = [self.coalesce(node)]
                case "call":
                    results = self.call(node)
                case "scan":
                    results = self.scan(node)
                case "attend" if node.region is not None:
                    results = [self.attend(node, node.region)]
                case _:
                    results = desugar(self, node)
            self.values.update(zip(node.outputs, results, strict=True))

    def parameter(self, node: Node) -> int:
        name = node.args["name"]
        declared = next(param for param in self.instance.params if param.name == name)
        return self.leaf(declared)

    def leaf(self, parameter: Parameter) -> int:
        """A parameter is known by its shape, its initial value and where it is used."""
        name = f"{self.path}.{parameter.name}"
        self.builder.parameters[name] = self.instance, parameter

        def make() -> tuple[str, tuple[Dim, ...]]:
            shape = tuple(self.size(dim) for dim in parameter.type.dims)
            what = "buffer" if parameter.is_buffer else "param"
            reach = " shared" if name.startswith("shared.") else ""
            sizes = ", ".join(map(str, shape))
            initial = initialiser(parameter.init, self.scope)
            return f"{what}{reach} {parameter.type.kind}[{sizes}] = {initial}", shape

        return self.terms.leaf("parameter", (name,), make)

    def coalesce(self, node: Node) -> int:
        value, default = node.args["value"], node.args["default"]
        assert isinstance(value, Value)
        assert isinstance(default, Value)
        if value not in self.values:
            return self.values[default]
        present = self.values[value]
        if self.terms.all[present].op != "z":
            return present
        return self.terms.add(
            "coalesce", (present, self.values[default]), shape=self.shape(node.output)
        )

    def call(self, node: Node) -> list[int]:
        reference, args, z = node.args["child"], node.args["args"], node.args.get("z", ())
        assert isinstance(reference, ChildRef)
        assert isinstance(args, tuple)
        assert isinstance(z, tuple)
        children = self.instance.children[reference.name]
        instance = children.instances[reference.index or 0]
        given = [value for value in args if isinstance(value, Value)]
        part = reference.name
        part = part if reference.index is None else f"{part}.{reference.index}"
        inside = f"{self.inside}.{part}" if self.inside else part
        path = f"{self.path}.{part}"
        if children.is_shared:
            path = f"shared.{inside.replace('.', '/')}"
        if instance.unit is None:
            return [self.linear(node, instance, given[0], path, children.from_caller)]
        graph = instance.graph
        assert graph is not None
        scope = Scope.of(instance, self.scope, children.from_caller)
        sizes, leading = self.bound(graph, given)
        scope = replace(scope, meanings={**scope.meanings, **sizes})
        child = Unit(self.builder, instance, scope, path, inside, sizes, leading)
        entries = [self.values.get(v) if isinstance(v, Value) else None for v in z]
        results, writes = child.run(graph, [self.values[value] for value in given], entries)
        return [*results, *writes]

    def linear(self, node: Node, instance: Instance, x: Value, path: str, from_caller: bool) -> int:
        """`x W^T + b`. The shapes are in the names of the unit that wrote it."""
        writer = _writer(instance, self.scope, from_caller)
        owner = Unit(self.builder, instance, writer, path)
        shape = self.shape(node.output)
        weight, *bias = (owner.leaf(parameter) for parameter in instance.params)
        result = self.terms.add("linear", (self.values[x], weight), shape=shape)
        return self.terms.add("add", (result, bias[0]), shape=shape) if bias else result

    def bound(self, graph: Graph, given: Sequence[Value]) -> tuple[dict[str, Dim], tuple[Dim, ...]]:
        """The dims that a call binds, and what `...` stands for in it."""
        sizes = {name: dim for name, dim in self.sizes.items() if name in ("B", "L")}
        leading: tuple[Dim, ...] = ()
        for value, slot in zip(given, graph.inputs, strict=True):
            dims, own = self.shape(value), slot.type.dims
            if own[:1] == (LEADING,):
                leading = dims[: len(dims) - len(own) + 1]
                continue
            for dim, size in zip(own, dims, strict=True):
                if str(dim) in ("B", "L"):
                    sizes[str(dim)] = size
        for bound in graph.call_dims:
            # Counted within the declared type, in which `...` is one axis.
            sizes[bound.name] = self.shape(given[bound.argument])[
                bound.axis - len(graph.inputs[bound.argument].type.dims)
            ]
        return sizes, leading

    # ---------------------------------------------------------------- bodies

    def scan(self, node: Node) -> list[int]:
        """States are leaves that their own next value may contain.

        What a step sees of an argument is a term of the argument, so neither the order of arguments
        nor their names matter.
        """
        region, inputs, chunk = node.region, node.args["inputs"], node.args.get("chunk")
        assert region is not None
        assert isinstance(inputs, tuple)
        step = f"chunk {self.size(chunk)}" if isinstance(chunk, Dim) else "step"
        sources = [value for value in inputs if isinstance(value, Value)]
        for outer, inner in zip(sources, region.inputs, strict=True):
            place = self.terms.add("piece", (self.values[outer],), step, self.shape(inner))
            self.values[inner] = place
        if region.step is not None:
            self.values[region.step] = self.terms.add("time", signature=step)
        self.builder.scans += 1
        states = [
            self.state(carried, (self.builder.scans, place), step)
            for place, carried in enumerate(region.carried)
        ]
        self.nodes(region.nodes)
        for state, carried in zip(states, region.carried, strict=True):
            first = (
                self.values[carried.initial]
                if isinstance(carried.initial, Value)
                else self.static(carried.initial)
            )
            self.terms.follow[state] = (first, self.values[carried.next])
        return [
            self.terms.add("collect", (self.values[inner],), step, self.shape(outer))
            for inner, outer in zip(region.results, node.outputs, strict=True)
        ]

    def state(self, carried: Carried, key: tuple[int, int], step: str) -> int:
        shape = self.shape(carried.current)
        text = f"{step} {carried.current.type.kind}[{', '.join(map(str, shape))}]"
        state = self.terms.leaf("state", key, lambda: (text, shape))
        self.values[carried.current] = state
        return state

    def attend(self, node: Node, region: Region) -> int:
        """An `attend` with a block: scores, their edits, then the softmax."""
        given = {n: a for n, a in node.args.items() if n in ("q", "k", "scale", "softcap", "bias")}
        (score,) = desugar(self, Node("scores", given, region.inputs[:1], node.span))
        self.values[region.inputs[0]] = score
        for name, index in zip("bhij", region.inputs[1:], strict=True):
            shape = self.shape(index)
            self.values[index] = self.terms.add("index of", signature=name, shape=shape)
        self.nodes(region.nodes)
        rest = {n: a for n, a in node.args.items() if n in ("v", "window", "sinks", "segments")}
        results = dict(zip(("score", "keep"), region.results, strict=False))
        (result,) = desugar(self, Node("weighted", {**results, **rest}, node.outputs, node.span))
        return result


def _writer(linear: Instance, inside: Scope, from_caller: bool) -> Scope:
    """The unit in whose names a `Linear` has its shape: the one that calls it, or one further out.

    A slot is filled from outside, so there the nearest unit with the right sizes is looked for.
    """
    places = inside.outwards()
    for place in [*places[1:], inside] if from_caller else places:
        if all(
            _size(place.instance, dim) == linear.size(dim)
            for parameter in linear.params
            for dim in parameter.type.dims
        ):
            return place
    raise ValueError(f"no unit around {linear.span} has the names of its shape")


def _size(instance: Instance, dim: Dim) -> int | None:
    try:
        return instance.size(dim)
    except KeyError:
        return None
