"""What the proof knows of a value.

Positions are those of the sequence that enters the block. "Depends on position s" means: on the
value there, or on whether the sequence is longer than s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from gabc.dependence.bounds import INFINITY, ZERO, Bound, larger, smaller
from gabc.dependence.forms import Form, Line
from gabc.dependence.ranges import ANY, Range
from gabc.dims import Dim
from gabc.syntax.source import Span

_ONE = Dim.const(1)


class Extent(Enum):
    """What an axis counts."""

    STATIC = "static"
    TIME = "time"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. A static one has a `size`.

    Index i of a time (or batch) axis exists when the sequence is longer than
    `spacing * i - offset`; for an axis whose size is no such thing, `spacing` is `None`.
    """

    extent: Extent
    size: Bound | None = None
    spacing: Bound | None = None
    offset: Bound = ZERO
    dim: Dim = field(default=_ONE, compare=False)
    """The size in the names of the design."""

    @property
    def is_unit(self) -> bool:
        return self.size is not None and self.size.dim is None and self.size.value == 1


class Source(Enum):
    """What a leg depends on: what stands at the positions, or only how many there are."""

    TOKENS = "tokens"
    LENGTH = "length"


class Kind(Enum):
    """What an operation does to a leg, for messages."""

    INPUT = "input"
    REDUCE = "reduces"
    MASK = "keeps"
    MOVE = "moves"
    LOOKUP = "looks up"
    DATA = "looks up by data"
    CHUNK = "returns from a chunk"
    PAD = "fills up"
    COUNT = "takes as a number"


@dataclass(frozen=True, slots=True)
class Spoilt:
    """Why what looks like a mask is none: a clause for a message, and what to write."""

    span: Span
    because: str
    help: str


@dataclass(frozen=True, slots=True, eq=False)
class Reason:
    """The operation that made a leg what it is, and the leg before it.

    `name` and `axis` are the axis that it is about, in the names of the leg before.
    """

    kind: Kind
    operation: str
    span: Span
    before: Leg | None = None
    axis: Axis | None = None
    constraint: Constraint | None = None
    name: int = 0
    spoilt: Spoilt | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """The value at an index depends on position s only if `s - linear(index)` is in [lo, hi].

    `is_lost`: unbounded only because the analysis did not follow (an index by data, a mask of
    positions it does not read).
    """

    linear: Form
    lo: Bound
    hi: Bound
    source: Source = Source.TOKENS
    is_lost: bool = False
    reason: Reason | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constraint:
    """`lo <= linear(index) <= hi`; `span` is the comparison it comes from."""

    linear: Form
    lo: Bound
    hi: Bound
    span: Span | None = field(default=None, compare=False, repr=False)


Region: TypeAlias = "tuple[Constraint, ...]"
"""All of the constraints; the empty one is everywhere."""

Zone: TypeAlias = "tuple[Region, ...]"
"""Any of the regions; the empty one is nowhere."""

EVERYWHERE: Zone = ((),)
NOWHERE: Zone = ()


@dataclass(frozen=True, slots=True)
class Fill:
    """Outside `zone` the value is `constant`. False is 0, true is 1."""

    constant: float
    zone: Zone


@dataclass(frozen=True, slots=True)
class Values:
    """The value lies between lines of its own axes: above all `lowers`, below all `uppers`.

    `is_whole`: it is a whole number. `padded` is an axis beyond whose index 0 this need not hold:
    the last block is filled with zeros.
    """

    lowers: tuple[Line, ...]
    uppers: tuple[Line, ...]
    is_whole: bool = True
    padded: int | None = None

    @property
    def line(self) -> Line | None:
        """The line that the value is, if it is one."""
        if self.padded is None and len(self.lowers) == 1 and self.lowers == self.uppers:
            return self.lowers[0]
        return None


@dataclass(frozen=True, slots=True)
class Dependence:
    """A value with its axes.

    `is_vague`: cut by a mask of positions that was not understood. `may_overflow`: an operation on
    the way can be infinite for finite arguments, so that zero times it is not zero. `within`:
    between which numbers its elements lie.
    """

    axes: tuple[Axis, ...]
    time: tuple[Leg, ...] = ()
    batch: tuple[Leg, ...] = ()
    fills: tuple[Fill, ...] = ()
    values: Values | None = None
    is_vague: bool = False
    may_overflow: bool = False
    spoilt: Spoilt | None = field(default=None, compare=False)
    within: Range = ANY

    @property
    def rank(self) -> int:
        return len(self.axes)

    def axis(self, name: int) -> Axis:
        return self.axes[name]

    def zone(self, constant: float) -> Zone:
        """Outside this zone the value is `constant`."""
        for fill in self.fills:
            if fill.constant == constant:
                return fill.zone
        return EVERYWHERE

    @property
    def constant(self) -> float | None:
        """The number that the value is everywhere."""
        for fill in self.fills:
            if fill.zone == NOWHERE:
                return fill.constant
        return None

    @property
    def range(self) -> Range:
        """Between which numbers its elements lie."""
        number = self.constant
        return self.within if number is None else Range(number, number)

    @property
    def exact_values(self) -> Values | None:
        """The values that hold at every index and that floating point tells apart."""
        known = self.values
        if known is None or known.padded is not None:
            return None
        lines = (*known.lowers, *known.uppers)
        return known if all(line.is_representable for line in lines) else None


MOST_LEGS = 32
"""Beyond this many forms a value is taken to depend on everything."""


def joined(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    """Legs of equal form as one leg with the hull of their intervals."""
    found: dict[tuple[Form, Source, bool], Leg] = {}
    for leg in legs:
        key = (leg.linear, leg.source, leg.is_lost)
        other = found.get(key)
        if other is None:
            found[key] = leg
        elif other is not leg:
            found[key] = _hull(other, leg)
    return tuple(found.values()) if len(found) <= MOST_LEGS else anything(tuple(found.values()))


def anything(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    """The legs as one that may be on any position: precision is given up, for each source."""
    last = {leg.source: leg for leg in legs}
    return tuple(
        Leg((), -INFINITY, INFINITY, source, True, leg.reason) for source, leg in last.items()
    )


def _hull(a: Leg, b: Leg) -> Leg:
    lo, hi = smaller(a.lo, b.lo), larger(a.hi, b.hi)
    farther = b if b.hi.value > a.hi.value else a
    if lo == farther.lo and hi == farther.hi:
        return farther
    return Leg(farther.linear, lo, hi, farther.source, farther.is_lost, farther.reason)
