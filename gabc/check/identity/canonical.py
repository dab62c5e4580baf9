"""`canonical`: a design's function without names, units, order and sugar; and its hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gabc.check.identity.build import Builder, Unit
from gabc.check.identity.order import Text, text_of
from gabc.check.identity.reduce import reduce
from gabc.check.identity.statics import Scope
from gabc.dims import Dim
from gabc.graph.instance import Head, Instance, Parameter, Stack
from gabc.graph.nodes import Graph

_ANY_BLOCK = "blocks.*"
"""Begins the names of parameters of a block wherever it stands."""


@dataclass(frozen=True, slots=True)
class Canonical:
    """The canonical text of a design or unit. Equal texts: the same function.

    Sizes are polynomials in `D` and `n_layers` wherever the design has them so; a stack whose
    blocks are all alike has the same text at every scale.
    """

    lines: tuple[str, ...]

    @property
    def hash(self) -> str:
        """32 hexadecimal digits, the same on every machine."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def canonical(stack: Stack) -> Canonical:
    """The canonical form of a design.

    Not told apart: names, the order of independent statements and of operands that commute, units
    and functions inlined or not, `a - b` and `a + (-b)`, numbers folded, values nobody uses, Z
    keys, patterns that move nothing, `detach` and `dropout`. Told apart: everything else, initial
    values and what blocks share among it.
    """
    return _Form.of(stack).canonical


def parameter_order(stack: Stack) -> list[tuple[str, Instance, Parameter]]:
    """The parameters and buffers that the design reads, in the order of its canonical form.

    For each: its full name in the design, the instance that has it, and itself.
    """
    return _Form.of(stack).parameters


@dataclass(frozen=True, slots=True)
class _Form:
    canonical: Canonical
    parameters: list[tuple[str, Instance, Parameter]]

    @staticmethod
    def of(stack: Stack) -> _Form:
        head = _head(stack.head, stack.scale.D)
        blocks = list(dict.fromkeys(stack.blocks))
        alone = {block: _block(block, stack.blocks) for block in blocks}
        first, _ = alone[blocks[0]]
        if all(text.lines == first.lines for text, _ in alone.values()):
            found: dict[str, tuple[Instance, Parameter]] = {}
            for layer, block in enumerate(stack.blocks):
                text, builder = alone[block]
                for name, owner in _ordered(text, builder):
                    found.setdefault(name.replace(_ANY_BLOCK, f"blocks.{layer}", 1), owner)
            lines = (head, "every block", *first.lines)
        else:
            text, builder = _inlined(stack)
            found = dict(_ordered(text, builder))
            lines = (head, "blocks one after another", *text.lines)
        parameters = [(name, *owner) for name, owner in found.items()]
        return _Form(Canonical(lines), parameters)


def _ordered(text: Text, builder: Builder) -> Iterator[tuple[str, tuple[Instance, Parameter]]]:
    for key in text.leaves:
        if key and key[0] in builder.parameters:
            name = str(key[0])
            yield name, builder.parameters[name]


def structural_hash(stack: Stack) -> str:
    """The hash of the canonical form: equal only for equal functions."""
    return canonical(stack).hash


def canonical_unit(instance: Instance) -> Canonical:
    """The canonical form of a unit by itself, its hyperparameters as they are in this instance."""
    if instance.graph is None:
        bias = " and bias" if len(instance.params) > 1 else ""
        shape = ", ".join(str(instance.size(dim)) for dim in instance.params[0].type.dims)
        return Canonical((f"linear [{shape}]{bias}",))
    builder = Builder()
    terms = builder.terms
    graph = instance.graph
    inputs = [
        terms.leaf("input", (place,), partial(_described, str(place)))
        for place in range(len(graph.inputs))
    ]
    reads = [terms.leaf("z", (read.key,), partial(_described, read.key)) for read in graph.z_reads]
    unit = Unit(builder, instance, Scope.of(instance, None, False), "unit")
    results, writes = unit.run(graph, inputs, reads)
    losses = terms.add("losses", tuple(builder.losses))
    keys = " ".join(write.key for write in graph.z_writes)
    return Canonical((f"writes {keys}", *text_of(reduce(terms, (*results, *writes, losses))).lines))


def _block(block: Instance, blocks: Sequence[Instance]) -> tuple[Text, Builder]:
    """A block as a function of X and of the Z entries that it both reads and writes.

    An entry that no block writes never arrives; one that no block reads is nobody's result.
    """
    builder = Builder()
    terms, graph = builder.terms, block.graph
    assert graph is not None
    written = {write.key for other in blocks for write in _graph(other).z_writes}
    reads = {
        read.key: terms.leaf("z", (read.key,), _described)
        for read in graph.z_reads
        if read.key in written
    }
    X = terms.leaf("input", (), _described)
    entries = [reads.get(read.key) for read in graph.z_reads]
    results, writes = builder.block(block, _ANY_BLOCK, X, entries)
    for write, value in zip(graph.z_writes, writes, strict=True):
        if write.key in reads:
            terms.follow[reads[write.key]] = (value,)
    losses = terms.add("losses", tuple(builder.losses))
    return text_of(reduce(terms, (*results, losses))), builder


def _inlined(stack: Stack) -> tuple[Text, Builder]:
    """All blocks in a row, Z entries followed from one to the next."""
    builder = Builder()
    z: dict[str, int] = {}
    X = builder.terms.leaf("input", (), _described)
    for layer, block in enumerate(stack.blocks):
        graph = _graph(block)
        entries = [z.get(read.key) for read in graph.z_reads]
        (X,), writes = builder.block(block, f"blocks.{layer}", X, entries)
        z.update(zip((write.key for write in graph.z_writes), writes, strict=True))
    losses = builder.terms.add("losses", tuple(builder.losses))
    return text_of(reduce(builder.terms, (X, losses))), builder


def _described(text: str = "") -> tuple[str, tuple[Dim, ...]]:
    """A leaf that is told apart by no more than a text."""
    return text, ()


def _graph(block: Instance) -> Graph:
    assert block.graph is not None
    return block.graph


def _head(head: Head, width: int) -> str:
    """The options beside `gab`; the usual scale of the embedding holds at every width."""
    scale = "none" if head.embed_scale is None else str(head.embed_scale)
    if head.embed_scale is not None and math.isclose(head.embed_scale, math.sqrt(width)):
        scale = f"sqrt({Dim.symbol('D')})"
    return f"head tie={head.tie} cap={head.logit_cap} embed={scale}"
