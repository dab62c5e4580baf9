"""The proof of a design: causal, the same for every length, rows apart."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.check.causality.analysis import Analyser, Outcome
from gabc.check.causality.explain import explained
from gabc.check.causality.generality import chooses_by_scale
from gabc.check.causality.verdict import (
    BATCH,
    TIME,
    Fault,
    Proofs,
    Property,
    Subject,
    UnitProof,
    Verdict,
    holds_everywhere,
    is_about_tokens,
    is_causal,
    keeps_rows,
    lead_of,
)
from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, larger, smaller
from gabc.dependence.domain import Axis, Dependence, Extent, Leg
from gabc.dependence.forms import axis_form
from gabc.graph.instance import Instance, Stack
from gabc.graph.types import B, D, L


def prove(stack: Stack) -> Proofs:
    """Prove a design causal, length-invariant and free of mixing between rows, or say what is not.

    Every block takes a stream whose position t depends on tokens up to t, and must return one; Z
    entries keep what they depend on from block to block. What enters a block is taken to be finite:
    one that makes NaN of a token spoils others by `0 * NaN` in the next block. Needs no torch, and
    never raises for a fault of the design.
    """
    analyser = Analyser()
    distinct = len(dict.fromkeys(stack.blocks))
    z: dict[str, Dependence] = {}
    faults: list[Fault] = []
    ends: list[Dependence] = []
    units: list[UnitProof] = []
    for layer, block in enumerate(stack.blocks):
        seen = len(analyser.outcomes)
        path = f"blocks.{layer}" if distinct > 1 else ""
        outcome = block_outcome(analyser, stack, block, path, z)
        units.extend(_unit_proof(o, layer) for o in analyser.outcomes[seen:])
        ends.append(outcome.results[0])
        faults.extend(_faults(outcome, layer))
    return _proofs(stack, ends, units, faults)


def block_outcome(
    analyser: Analyser, stack: Stack, block: Instance, path: str, z: dict[str, Dependence]
) -> Outcome:
    """One block on a fresh stream; what it writes joins `z`."""
    graph = block.graph
    assert graph is not None, "the stack is elaborated in full"
    analyser.numbers["D"] = stack.scale.D
    stream = Dependence(
        (
            Axis(Extent.BATCH, None, ONE, dim=B),
            Axis(Extent.TIME, None, ONE, dim=L),
            Axis(Extent.STATIC, Bound(stack.scale.D, D), dim=D),
        ),
        (Leg(axis_form(TIME), ZERO, ZERO),),
        (Leg(axis_form(BATCH), ZERO, ZERO),),
    )
    outcome = analyser.unit(block, path, [stream], [z.get(read.key) for read in graph.z_reads])
    written = outcome.results[len(graph.results) :]
    z.update(zip((write.key for write in graph.z_writes), written, strict=True))
    return outcome


def _faults(outcome: Outcome, layer: int) -> list[Fault]:
    graph = outcome.instance.graph
    assert graph is not None
    end = outcome.results[0]
    span = graph.results[0].span
    found: list[Fault] = []
    for leg in end.time:
        if not is_causal(leg, end):
            subject = Subject.CAUSALITY if is_about_tokens(leg) else Subject.LENGTH
            found.append(Fault(subject, layer, leg, span))
    found.extend(Fault(Subject.BATCH, layer, leg, span) for leg in end.batch if not keeps_rows(leg))
    written = outcome.results[len(graph.results) :]
    for write, value in zip(graph.z_writes, written, strict=True):
        if any(axis.extent is Extent.TIME for axis in value.axes):
            continue
        for leg in value.time:
            subject = Subject.CAUSALITY if is_about_tokens(leg) else Subject.LENGTH
            found.append(Fault(subject, layer, leg, write.value.span, write.key))
    return found


def _proofs(
    stack: Stack, ends: Sequence[Dependence], units: Sequence[UnitProof], faults: Sequence[Fault]
) -> Proofs:
    causality = _verdict(faults, (Subject.CAUSALITY,))
    # What reads ahead also depends on whether there is anything ahead.
    length = _verdict(faults, (Subject.LENGTH, Subject.CAUSALITY))
    batch = _verdict(faults, (Subject.BATCH,))
    leads = [lead_of(leg, end) for end in dict.fromkeys(ends) for leg in end.time]
    seen_at = stack.scale.name if chooses_by_scale(stack) else None
    holds_at = seen_at if all(holds_everywhere(bound) for bound in leads) else stack.scale.name
    return Proofs(
        stack.name,
        stack.scale.name,
        Property(causality, holds_at),
        Property(batch, seen_at),
        Property(length, holds_at),
        _receptive_field(ends),
        tuple(units),
        tuple(faults),
        tuple(explained(faults)),
    )


def _verdict(faults: Sequence[Fault], subjects: tuple[Subject, ...]) -> Verdict:
    about = [fault for fault in faults if fault.subject in subjects]
    if not about:
        return Verdict.PROVED
    is_lost = all(fault.leg.is_lost for fault in about)
    return Verdict.UNKNOWN if is_lost else Verdict.REFUTED


def _receptive_field(ends: Sequence[Dependence]) -> tuple[Bound, Bound]:
    """The positions, relative to its own, that a result of the stack may depend on."""
    lo, hi = ZERO, ZERO
    for end in ends:
        legs = [leg for leg in end.time if is_about_tokens(leg)]
        if not legs:
            continue
        least, most = INFINITY, -INFINITY
        for leg in legs:
            is_plain = leg.linear == axis_form(TIME)
            least = smaller(least, leg.lo if is_plain else -INFINITY)
            most = larger(most, lead_of(leg, end))
        lo = lo + least
        hi = hi + most
    return lo, hi


def _unit_proof(outcome: Outcome, layer: int) -> UnitProof:
    return UnitProof(
        outcome.path,
        outcome.instance.name,
        layer,
        reach_of(outcome.results[0]),
        outcome.known,
        outcome.instance,
    )


def reach_of(value: Dependence) -> tuple[Bound, Bound] | None:
    """The hull of the intervals on the value's own time axis, if all its legs stand on that."""
    lo: Bound | None = None
    hi: Bound | None = None
    for leg in value.time:
        if not is_about_tokens(leg):
            continue
        if len(leg.linear) != 1 or value.axes[leg.linear[0][0]].extent is not Extent.TIME:
            return None
        lo = leg.lo if lo is None else smaller(lo, leg.lo)
        hi = leg.hi if hi is None else larger(hi, leg.hi)
    return None if lo is None or hi is None else (lo, hi)
