"""What a design is made of at a scale: the tree of units, their shapes, exact parameter counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

from gabc.graph.instance import Children, Instance, Parameter, Stack


@dataclass(frozen=True, slots=True)
class ParameterSummary:
    """One trained tensor: its shape in the unit's own names, and in numbers."""

    name: str
    shape: str
    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.sizes)


@dataclass(frozen=True, slots=True)
class UnitSummary:
    """A unit of the tree.

    `settings` are all hyperparameters, `given` those that whoever constructs the unit wrote.
    `takes` and `gives` are shapes, such as `X [B, L, D]`. `copies` counts equal neighbours, each
    with parameters of its own. A shared unit is one set of parameters for every block of the stack.
    """

    name: str
    unit: str
    settings: tuple[tuple[str, str], ...]
    given: tuple[tuple[str, str], ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    own: tuple[ParameterSummary, ...]
    children: tuple[UnitSummary, ...]
    copies: int = 1
    is_shared: bool = False

    @property
    def parameters(self) -> int:
        """The trained numbers of one copy, what is shared among blocks left out."""
        below = (child.parameters * child.copies for child in self.children if not child.is_shared)
        return sum(parameter.count for parameter in self.own) + sum(below)


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Trained numbers of a model: `per_block` has one entry per block, a tied `head` is 0."""

    embedding: int
    per_block: tuple[int, ...]
    shared: int
    final_norm: int
    head: int

    @property
    def total(self) -> int:
        return self.embedding + sum(self.per_block) + self.shared + self.final_norm + self.head


@dataclass(frozen=True, slots=True)
class DesignSummary:
    """A design at a scale. `tree` is the whole model: embedding, blocks, norm and head."""

    design: str
    scale: str
    width: int
    blocks: int
    vocab_size: int
    tree: UnitSummary
    parameters: ParameterCount


def inspect(stack: Stack, vocab_size: int) -> DesignSummary:
    """The tree and the parameters of a model with `vocab_size` tokens; exact, and without torch."""
    layers = _layers(stack)
    blocks = [summary for summary in layers for _ in range(summary.copies)]
    parameters = _count(stack, vocab_size, blocks)
    width = stack.scale.D
    table = ParameterSummary("weight", "[vocab, D]", (vocab_size, width))
    tokens = ("tokens [B, L]",)
    logits = ("[B, L, vocab]",)
    stream = ("[B, L, D]",)
    embedding = UnitSummary("embedding", "Embedding", (), (), tokens, stream, (table,), ())
    gain = ParameterSummary("weight", "[D]", (width,))
    norm = UnitSummary("norm", "LayerNorm", (), (), ("X [B, L, D]",), stream, (gain,), ())
    head_weights = () if stack.head.tie else (table,)
    settings = (("tied to", "embedding"),) if stack.head.tie else ()
    head = UnitSummary(
        "head", "Linear", settings, settings, ("X [B, L, D]",), logits, head_weights, ()
    )
    children = (embedding, *layers, norm, head)
    tree = UnitSummary(stack.name, "model", (), (), tokens, logits, (), children)
    name = stack.scale.name
    return DesignSummary(stack.name, name, width, len(blocks), vocab_size, tree, parameters)


def count_parameters(stack: Stack, vocab_size: int) -> ParameterCount:
    """The trained numbers of a model; exact, and without torch."""
    return inspect(stack, vocab_size).parameters


def _count(stack: Stack, vocab_size: int, blocks: Sequence[UnitSummary]) -> ParameterCount:
    table = vocab_size * stack.scale.D
    return ParameterCount(
        embedding=table,
        per_block=tuple(block.parameters for block in blocks),
        shared=sum(_shared(stack).values()),
        final_norm=stack.scale.D,
        head=0 if stack.head.tie else table,
    )


def _shared(stack: Stack) -> dict[str, int]:
    """The parameters of each module that all blocks share, by its path in a block."""
    found: dict[str, int] = {}
    for block in dict.fromkeys(stack.blocks):
        found.update(_shared_below("", block))
    return found


def _shared_below(path: str, instance: Instance) -> Iterator[tuple[str, int]]:
    for name, children in instance.children.items():
        for index, child in enumerate(children.instances):
            here = f"{path}{name}.{index}." if children.is_array else f"{path}{name}."
            if children.is_shared:
                yield here, _unit(name, child, True).parameters
            yield from _shared_below(here, child)


def _layers(stack: Stack) -> tuple[UnitSummary, ...]:
    """One summary for each run of equal blocks, named by its layers."""
    known: dict[Instance, UnitSummary] = {}
    summaries = []
    for block in stack.blocks:
        if block not in known:
            known[block] = _unit("", block, False)
        summaries.append(known[block])
    return tuple(_runs("blocks", summaries))


def _runs(name: str, summaries: Sequence[UnitSummary]) -> Iterator[UnitSummary]:
    """Equal neighbours as one entry: `experts` for a whole array, else `experts.0-3`, ..."""
    first = 0
    for summary, group in groupby(summaries):
        copies = len(list(group))
        last = first + copies - 1
        label = name
        if copies < len(summaries):
            label = f"{name}.{first}" if first == last else f"{name}.{first}-{last}"
        yield UnitSummary(
            name=label,
            unit=summary.unit,
            settings=summary.settings,
            given=summary.given,
            takes=summary.takes,
            gives=summary.gives,
            own=summary.own,
            children=summary.children,
            copies=copies,
            is_shared=summary.is_shared,
        )
        first = last + 1


def _unit(name: str, instance: Instance, is_shared: bool) -> UnitSummary:
    takes, gives = _shapes(instance)
    own = tuple(_parameter(instance, p) for p in instance.params if not p.is_buffer)
    children = [
        summary
        for child, instances in instance.children.items()
        for summary in _children(child, instances)
    ]
    settings = tuple((key, _text(instance, key)) for key in instance.hypers)
    given = tuple(pair for pair in settings if not instance.hypers[pair[0]].is_default)
    return UnitSummary(
        name,
        instance.name,
        settings,
        given,
        takes,
        gives,
        own,
        tuple(children),
        is_shared=is_shared,
    )


def _children(name: str, children: Children) -> Iterator[UnitSummary]:
    summaries = [_unit(name, instance, children.is_shared) for instance in children.instances]
    if children.is_array:
        yield from _runs(name, summaries)
    else:
        yield from summaries


def _shapes(instance: Instance) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if instance.graph is not None:
        takes = tuple(f"{value.name} {value.type}" for value in instance.graph.inputs)
        return takes, tuple(str(value.type) for value in instance.graph.results)
    outputs, inputs = instance.params[0].type.dims
    return (f"[..., {inputs}]",), (f"[..., {outputs}]",)


def _parameter(instance: Instance, parameter: Parameter) -> ParameterSummary:
    sizes = tuple(instance.size(dim) for dim in parameter.type.dims)
    return ParameterSummary(parameter.name, str(parameter.type), sizes)


def _text(instance: Instance, name: str) -> str:
    """A hyperparameter's value as GAB writes it."""
    if name not in instance.env:
        return "?"
    value = instance.env[name]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
