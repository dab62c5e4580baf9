"""The typed graph of one unit: what its `forward` computes, in static single assignment.

Names, `fn` calls, loops and static conditions are gone; unit boundaries are kept (`call` nodes):
generated code has one class per unit. Shapes are in the unit's own names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from gabc.dims import Dim
from gabc.graph.static import Static
from gabc.graph.types import TensorType
from gabc.syntax.source import Span


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One tensor. Values are compared by identity. `name` is the author's, or empty."""

    type: TensorType
    span: Span
    name: str = ""


@dataclass(frozen=True, slots=True)
class ChildRef:
    """A child of the unit: `wq`, or `experts[2]`."""

    name: str
    index: int | None = None


Argument: TypeAlias = (
    "Value | Static | Dim | ChildRef | str | int | bool | tuple[Argument, ...] | None"
)


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A `state` of a scan: `current` is its value when a step begins, `next` when it ends."""

    current: Value
    initial: Value | Static
    next: Value


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The body in braces after `scan` or `attend`.

    `inputs` are the names bound in the body: for a scan one per argument in order (the time axis
    removed, or of the chunk's size); for `attend` `score, b, h, i, j`. Values of the graph around
    it may be used inside. `step` is the position `t`, if the body uses it.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    results: tuple[Value, ...]
    carried: tuple[Carried, ...] = ()
    step: Value | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation. `args` holds the arguments by the primitive's parameter names.

    Besides the primitives of `gabc.ops` there are
    - `param` (`name`): a parameter or buffer of the unit;
    - `call` (`child`, `args`: tuple of values, `z`: tuple of values): a child's forward. Its
      results are the results, then the Z entries that it writes; `z_keys` and `z_writes` name them;
    - `coalesce` (`value`, `default`): `Z.key ?? default`, `value` being an optional Z read;
    - `scan` (`inputs`: tuple of values, `chunk`: Dim or None) with a region;
    - `attend` with a region, besides being a primitive without one.
    """

    op: str
    args: dict[str, Argument]
    outputs: tuple[Value, ...]
    span: Span
    region: Region | None = None

    @property
    def output(self) -> Value:
        return self.outputs[0]

    def operands(self) -> Iterator[Value]:
        """The values among the arguments, in order, without those used only inside the region."""
        for argument in self.args.values():
            yield from _values(argument)
        if self.region is not None:
            for carried in self.region.carried:
                yield from _values(carried.initial)


def _values(argument: Argument) -> Iterator[Value]:
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from _values(part)


@dataclass(frozen=True, slots=True, eq=False)
class ZRead:
    """A Z entry that enters the unit. `key` is `v_first` or `skip[3]`.

    `path` are the units from this one down to the one that reads it, for messages.
    """

    key: str
    value: Value
    optional: bool
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ZWrite:
    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class CallDim:
    """A dim bound at the call: `name` is the size of axis `axis` of argument `argument`."""

    name: str
    argument: int
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A unit's `forward`: the returned values, and the Z entries that leave beside them."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    results: tuple[Value, ...]
    z_reads: tuple[ZRead, ...] = ()
    z_writes: tuple[ZWrite, ...] = ()
    losses: tuple[tuple[str, Value], ...] = ()
    call_dims: tuple[CallDim, ...] = ()
    span: Span | None = field(default=None)
