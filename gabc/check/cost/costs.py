"""`cost`: what a design costs, in whole and unit by unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby

from gabc.check.cost.amounts import Amounts, per_token
from gabc.check.cost.asymptotic import Asymptotic
from gabc.check.cost.frame import Called
from gabc.check.cost.names import Numbers, Qualified
from gabc.check.cost.recomputed import with_recomputed, without_state
from gabc.check.cost.walk import Walk
from gabc.check.streaming import (
    DecodeClass,
    StackPlan,
    UnitPlan,
    decode_classes,
    plan_stack,
    stack_class,
    units_below,
)
from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.elaborate.scales import VOCAB_SIZE
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Graph
from gabc.graph.types import ONE, B, D, L
from gabc.ops.cost import ZERO


@dataclass(frozen=True, slots=True)
class UnitCost:
    """A unit of the model: `own` leaves its children out, `amounts` has them in.

    `path` is `blocks.attn.wq`, where blocks differ `blocks.0-3.attn.wq`; of `copies` equal blocks
    the costs of one are given. `parameters` has no parameters that blocks share. `decoding` is how
    a decoder goes on with the unit and those below it; `hindrance` is the operation for which it
    computes this one again from the start.
    """

    path: str
    unit: str
    copies: int
    parameters: Dim
    own: Amounts
    amounts: Amounts
    decoding: DecodeClass = DecodeClass.CONSTANT
    hindrance: str | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a model, as polynomials in B, L and (if symbolic) the names in `sizes`.

    `embedding_parameters` are those of the embedding and of a head of its own, the rest of
    `parameters` are the blocks', the norm's and what blocks share. `units` stand in the order of
    the tree, each before its children.
    """

    design: str
    scale: str
    vocab_size: int
    parameters: Dim
    embedding_parameters: Dim
    total: Amounts
    units: tuple[UnitCost, ...]
    sizes: Mapping[str, Fraction] = field(default_factory=dict)
    decoding: DecodeClass = DecodeClass.CONSTANT

    @property
    def time(self) -> Asymptotic:
        """How the FLOPs of one token grow with L, those outside attention windows left out."""
        return Asymptotic.of(per_token(self.total.needed))

    @property
    def state(self) -> Asymptotic:
        """How what a decoder keeps grows with L."""
        return Asymptotic.of(self.total.state)

    @property
    def intensity(self) -> tuple[Dim, Dim]:
        """Arithmetic intensity of the forward pass as (FLOPs, bytes moved)."""
        return self.total.forward, self.total.traffic


def cost(
    stack: Stack,
    *,
    vocab_size: int = VOCAB_SIZE,
    float_bytes: int = 4,
    symbolic: bool = False,
) -> Costs:
    """What a design costs as it stands: pass `optimise(stack)` for the cost of compiled code.

    Sizes are numbers at the stack's scale, and B and L stay symbols; with `symbolic` all sizes do,
    by their full names. Floats take `float_bytes` bytes, states of scans four at least. What
    depends on data (routing, a token that is never chosen) is counted as if it were computed.

    The activations are those that autograd keeps in the eager module: a view is its source, a
    value kept twice is one, what has no gradient to pass on is not kept. A decoder keeps rings for
    shifts, convolutions and windows, the sums and states of recurrences, the chunk or block not yet
    full, and keys and values of all positions that a query may see; of a unit that has an operation
    without a streaming form, its arguments.
    """
    names = Qualified() if symbolic else Numbers()
    model = _Model(stack, Walk(names, float_bytes), vocab_size, float_bytes, symbolic)
    costs = model.costs()
    return costs if not isinstance(names, Qualified) else model.with_sizes(costs, names.sizes)


@dataclass
class _Model:
    stack: Stack
    walk: Walk
    vocab_size: int
    float_bytes: int
    symbolic: bool
    plan: StackPlan = field(init=False)

    def __post_init__(self) -> None:
        self.plan = plan_stack(self.stack)

    def costs(self) -> Costs:
        stack = self.stack
        layers = self._layers()
        stem, tail = self._embedding(), [self._norm(), self._head()]
        blocks = [unit for run in self._runs(layers) for unit in run]
        total = sum(
            (unit.own for unit in (stem, *tail)),
            sum((_whole(called) for _, called in layers), Amounts()),
        )
        embedding = stem.parameters + tail[1].parameters
        shared = sum(self._shared().values(), ZERO)
        own = sum((self._parameters(block) for block in stack.blocks), ZERO)
        return Costs(
            stack.name,
            stack.scale.name,
            self.vocab_size,
            embedding + tail[0].parameters + own + shared,
            embedding,
            total,
            (stem, *blocks, *tail),
            decoding=stack_class(self.plan),
        )

    def with_sizes(self, costs: Costs, sizes: Mapping[str, Fraction]) -> Costs:
        """The costs with the numbers of their names; the vocabulary is a number."""
        return replace(costs, sizes={"D": Fraction(self.stack.scale.D), **sizes})

    # ---------------------------------------------------------------- blocks

    def _layers(self) -> list[tuple[Instance, Called]]:
        """Every block with what it costs; Z entries have a gradient once written with one."""
        z: dict[str, bool | None] = {}
        layers: list[tuple[Instance, Called]] = []
        is_kept = False
        for block, wanted, plan in zip(
            self.stack.blocks, self._wanted(), self.plan.blocks, strict=True
        ):
            graph = _graph(block)
            gradients = (True, *(z.get(read.key) for read in graph.z_reads))
            called = self.walk.call(block, "", {}, gradients, wanted)
            written = called.gradients[len(graph.results) :]
            z.update(zip((write.key for write in graph.z_writes), written, strict=True))
            if 0 in called.saved_inputs and not is_kept:
                stream = Amounts(saved=B * L * self._width * self.float_bytes)
                called = replace(called, own=called.own + stream)
            is_kept = 0 in called.saved_results
            called = with_recomputed(called, plan, self.float_bytes)
            layers.append((block, without_state(called) if self.plan.hindrance else called))
        return layers

    def _wanted(self) -> list[tuple[bool, ...]]:
        """Which results of every block (Z writes last) have a gradient to receive: those that some
        block after it learns from."""
        graphs = [_graph(block) for block in self.stack.blocks]
        entries: set[str] = set()
        present: list[tuple[bool, ...]] = []
        for graph in graphs:
            present.append(tuple(read.key in entries for read in graph.z_reads))
            entries.update(write.key for write in graph.z_writes)
        stream, needed = True, set[str]()
        wanted: list[tuple[bool, ...]] = []
        for block, graph, there in reversed(
            list(zip(self.stack.blocks, graphs, present, strict=True))
        ):
            wanted.append((stream, *(write.key in needed for write in graph.z_writes)))
            stream, *reads = self.walk.liveness.inputs(block, wanted[-1], there)
            needed.difference_update(write.key for write in graph.z_writes)
            needed.update(r.key for r, learns in zip(graph.z_reads, reads, strict=True) if learns)
        return wanted[::-1]

    def _runs(self, layers: list[tuple[Instance, Called]]) -> Iterator[list[UnitCost]]:
        """The units of equal neighbours once; the last of them stands for all."""
        first = 0
        for _, group in groupby(layers, key=lambda layer: id(layer[0])):
            run = list(group)
            last = first + len(run) - 1
            label = f"blocks.{first}" if first == last else f"blocks.{first}-{last}"
            if len(run) == len(layers):
                label = "blocks"
            block, called = run[-1]
            yield list(self._units(label, block, called, len(run), self.plan.blocks[last]))
            first = last + 1

    def _units(
        self,
        label: str,
        block: Instance,
        called: Called,
        copies: int,
        plan: UnitPlan,
    ) -> Iterator[UnitCost]:
        decoding = decode_classes(plan)
        hindrances = {path: unit.hindrance[1] for path, unit in units_below(plan) if unit.hindrance}
        owns = {"": called.own, **called.below}
        whole: dict[str, Amounts] = {}
        for path, amounts in owns.items():
            for above in _upwards(path):
                whole[above] = whole[above] + amounts if above in whole else amounts
        for path, instance in block.walk():
            yield UnitCost(
                f"{label}.{path}" if path else label,
                instance.name,
                copies,
                self._parameters(instance, path),
                owns.get(path, Amounts()),
                whole.get(path, Amounts()),
                decoding.get(path, DecodeClass.CONSTANT),
                hindrances.get(path),
            )

    # ---------------------------------------------------------------- parameters

    def _parameters(self, instance: Instance, path: str = "") -> Dim:
        """The trained numbers of an instance and what is below it, but for what blocks share."""
        total = self._own_parameters(instance, path)
        for name, children in instance.children.items():
            for index, child in enumerate(children.instances):
                if not children.is_shared:
                    part = f"{name}.{index}" if children.is_array else name
                    total = total + self._parameters(child, f"{path}.{part}" if path else part)
        return total

    def _own_parameters(self, instance: Instance, path: str) -> Dim:
        # The shapes of a `Linear` are in the names of the unit that writes it, whose path may be
        # any of those above: numbers say it best.
        if not self.symbolic or instance.unit is None:
            counts = [
                Dim.const(instance.size(product(p.type.dims)))
                for p in instance.params
                if not p.is_buffer
            ]
            return sum(counts, ZERO)
        names = self.walk.names.of(instance, path)
        shapes = [product(p.type.dims) for p in instance.params if not p.is_buffer]
        return sum((shape.substitute(names) for shape in shapes), ZERO)

    def _shared(self) -> dict[str, Dim]:
        """The parameters of each module that all blocks share, by its path in a block."""
        found: dict[str, Dim] = {}
        for block in dict.fromkeys(self.stack.blocks):
            for path, instance in block.walk():
                for name, children in instance.children.items():
                    for index, child in enumerate(children.instances):
                        if children.is_shared:
                            here = f"{path}.{name}.{index}"
                            found[here] = self._parameters(child, here.strip("."))
        return found

    # ---------------------------------------------------------------- around the blocks

    def _unit(self, path: str, unit: str, parameters: Dim, amounts: Amounts) -> UnitCost:
        return UnitCost(path, unit, 1, parameters, amounts, amounts)

    @property
    def _width(self) -> Dim:
        return D if self.symbolic else Dim.const(self.stack.scale.D)

    def _embedding(self) -> UnitCost:
        stream = B * L * self._width
        scaled = self.stack.head.embed_scale is not None
        amounts = Amounts(
            pointwise=stream if scaled else ZERO,
            pointwise_backward=stream if scaled else ZERO,
            launches=Dim.const(1 + scaled),
            traffic=B * L * 8 + stream * (2 + 2 * scaled) * self.float_bytes,
            saved=B * L * 8,
            state=L * 8 if self.plan.hindrance else ZERO,
        )
        return self._unit("embedding", "Embedding", self.vocab_size * self._width, amounts)

    def _norm(self) -> UnitCost:
        stream = B * L * self._width
        amounts = Amounts(
            pointwise=7 * stream,
            pointwise_backward=7 * stream,
            launches=ONE,
            traffic=2 * stream * self.float_bytes,
            saved=(stream + 2 * B * L) * self.float_bytes,
        )
        return self._unit("norm", "LayerNorm", self._width, amounts)

    def _head(self) -> UnitCost:
        head = self.stack.head
        stream, logits = B * L * self._width, B * L * self.vocab_size
        table = self.vocab_size * self._width
        capped = 3 if head.logit_cap is not None else 0
        amounts = Amounts(
            matmul=2 * stream * self.vocab_size,
            matmul_backward=4 * stream * self.vocab_size,
            pointwise=capped * logits,
            pointwise_backward=capped * logits,
            launches=Dim.const(1 + capped),
            traffic=(stream + table + logits * (1 + 2 * capped)) * self.float_bytes,
            saved=(stream + (logits if capped else ZERO)) * self.float_bytes,
        )
        return self._unit("head", "Linear", ZERO if head.tie else table, amounts)


def _graph(block: Instance) -> Graph:
    assert block.graph is not None
    return block.graph


def _whole(called: Called) -> Amounts:
    return sum(called.below.values(), called.own)


def _upwards(path: str) -> Iterator[str]:
    """A path and all above it, up to the block's own, which is empty. (`experts` is none of them
    where `experts.0` is a unit; nobody asks for it.)"""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""
