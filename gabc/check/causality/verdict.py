"""What was found of a design: its verdicts, and the legs that stand against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gabc.dependence.bounds import ZERO, Bound, is_never_negative
from gabc.dependence.domain import Dependence, Leg, Source
from gabc.dependence.forms import axis_form
from gabc.dependence.leads import lead
from gabc.diagnostics.model import Diagnostic
from gabc.graph.instance import Instance
from gabc.graph.nodes import Value
from gabc.syntax.source import Span

TIME, BATCH = -2, -3
"""The axes of the stream [B, L, D]."""


class Verdict(StrEnum):
    """`TESTED`: not proved, and no run has contradicted it."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    TESTED = "tested"


class Subject(StrEnum):
    CAUSALITY = "causality"
    LENGTH = "length"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Witness:
    """The result at `reads` changed when only `position` did, in sequences of `length`.

    For the length, `position` is the length of the shorter sequence; for the batch both are rows.
    """

    reads: int
    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A leg of a result that must not be. `write` is the Z entry that it leaves through, if any."""

    subject: Subject
    layer: int
    leg: Leg
    span: Span
    write: str = ""


@dataclass(frozen=True, slots=True)
class Property:
    """A verdict; `holds_at` is the scale whose numbers it rests on, `None` if it holds at all."""

    verdict: Verdict
    holds_at: str | None = None
    witness: Witness | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UnitProof:
    """A unit, once for each distinct knowledge of its arguments, with what each value depends on.

    `reach` are the positions, relative to its own, that its results depend on: of the stream that
    enters the block. It is `None` where they depend on none, or have no position of their own.
    """

    path: str
    unit: str
    layer: int
    reach: tuple[Bound, Bound] | None
    values: Mapping[Value, Dependence]
    instance: Instance


@dataclass(frozen=True, slots=True, eq=False)
class Proofs:
    """What is proved of a design at a scale.

    `receptive_field` is the interval of positions, relative to its own, that a result of the whole
    stack may depend on; `None` where causality is refuted without bound.
    """

    design: str
    scale: str
    causality: Property
    batch: Property
    length: Property
    receptive_field: tuple[Bound, Bound]
    units: tuple[UnitProof, ...]
    faults: tuple[Fault, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def are_proved(self) -> bool:
        properties = (self.causality, self.batch, self.length)
        return all(p.verdict is Verdict.PROVED for p in properties)


def lead_of(leg: Leg, value: Dependence) -> Bound:
    """How far beyond its own position an element of the stream reads at most."""
    return lead(leg, value, axis_form(TIME))


def is_causal(leg: Leg, value: Dependence) -> bool:
    return lead_of(leg, value).value <= 0


def keeps_rows(leg: Leg) -> bool:
    return leg.linear == axis_form(BATCH) and leg.lo == ZERO and leg.hi == ZERO


def holds_everywhere(bound: Bound) -> bool:
    """Whether `bound <= 0` at every scale, as far as its form tells."""
    return is_never_negative(-bound)


def is_about_tokens(leg: Leg) -> bool:
    return leg.source is Source.TOKENS
