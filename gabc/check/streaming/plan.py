"""The plan of a stack: for each operation how it goes on, for each unit what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from gabc.check.streaming.layout import Layout
from gabc.dims import Dim
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import Node, Value
from gabc.ops.streaming import Memory
from gabc.syntax.source import Span


class NodeKind(Enum):
    """How an operation goes on with a sequence.

    PLAIN treats positions alike, STREAM keeps a memory by its own rule; the others are the
    interpreter's.
    """

    PLAIN = auto()
    STREAM = auto()
    CALL = auto()
    SCAN = auto()
    ATTEND = auto()
    BLOCKS = auto()
    UNBLOCKS = auto()


@dataclass(frozen=True, slots=True)
class Consumer:
    """What an operation reads of a value's past: at most `most` positions (`None`: all).

    `is_ring`: exactly so many, zeros before the start.
    """

    most: int | None
    is_ring: bool


@dataclass(frozen=True, slots=True, eq=False)
class NodePlan:
    node: Node
    kind: NodeKind
    memory: Memory | None = None
    child: UnitPlan | None = None
    body: tuple[NodePlan, ...] = ()
    """Of a region."""


@dataclass(frozen=True, slots=True, eq=False)
class UnitPlan:
    """How a unit goes on with a sequence, for arguments of these axes.

    `pasts` are the values whose past some operation reads, each kept once for all that do.
    `hindrance`: the place and the name of an operation that has no way to go on. For it the unit is
    computed again from the start, and keeps its `arguments` with positions: so many elements each
    for a row.
    """

    instance: Instance
    layouts: Mapping[Value, Layout]
    nodes: tuple[NodePlan, ...]
    pasts: Mapping[Value, Consumer]
    arguments: Mapping[Value, Dim]
    hindrance: tuple[Span, str] | None = None

    @property
    def is_recomputed(self) -> bool:
        return self.hindrance is not None

    @property
    def takes_blocks(self) -> bool:
        """Whether an argument counts blocks, the last of which may change."""
        return any(self.layouts[value].clock != 1 for value in self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class StackPlan:
    """`hindrance` is why the whole model is computed again: a Z entry with two axes of time."""

    stack: Stack
    blocks: tuple[UnitPlan, ...]
    hindrance: tuple[Span, str] | None = None
