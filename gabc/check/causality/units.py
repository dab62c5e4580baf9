"""Each unit by itself: what it does to arguments that are as they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite

from gabc.check.causality.analysis import Analyser
from gabc.check.causality.sizes import Numbers
from gabc.check.causality.verdict import Proofs, Subject, UnitProof, Verdict, is_about_tokens
from gabc.dependence.bounds import INFINITY, ONE, ZERO, Bound, smaller
from gabc.dependence.domain import Dependence, Extent, Leg, joined
from gabc.dependence.forms import STEP, Form, axis_form, coefficient_of, form
from gabc.dependence.leads import lead
from gabc.graph.instance import Instance, Stack

Verdicts = Mapping[Subject, Verdict]

_WORST = (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.TESTED, Verdict.PROVED)


def unit_verdicts(stack: Stack, proofs: Proofs) -> dict[Instance, Verdicts]:
    """The verdicts of every unit that is called; the worst, where it is called on several values.

    A unit is proved if its results (what it writes to Z among them) are sound wherever its
    arguments are: an argument that depends on more is taken to depend on its own position and row
    alone, so that a leak counts against the unit that makes it and those around it, not against
    those that come after. What is proved of the whole design is proved of every unit, since a unit
    may read ahead of its argument where its caller makes up for that; and while the whole is only
    unknown, no unit is refuted.
    """
    judge = _Judge(Analyser(_numbers(stack)))
    found: dict[Instance, Verdicts] = {}
    for unit in proofs.units:
        verdicts = _within(proofs, judge.verdicts(unit))
        before = found.get(unit.instance, verdicts)
        found[unit.instance] = {
            subject: min(before[subject], verdicts[subject], key=_WORST.index)
            for subject in Subject
        }
    return found


def _within(proofs: Proofs, own: Verdicts) -> Verdicts:
    """Verdicts of a unit beside those of the whole design."""
    whole = {
        Subject.CAUSALITY: proofs.causality.verdict,
        Subject.LENGTH: proofs.length.verdict,
        Subject.BATCH: proofs.batch.verdict,
    }
    return {
        subject: own[subject]
        if whole[subject] is Verdict.REFUTED or own[subject] is Verdict.PROVED
        else whole[subject]
        for subject in Subject
    }


def _numbers(stack: Stack) -> Numbers:
    """The value of every size by its full name, as `UnitSizes` calls it."""
    is_mixed = len(dict.fromkeys(stack.blocks)) > 1
    numbers: Numbers = {"D": stack.scale.D}
    for layer, block in enumerate(stack.blocks):
        for path, instance in block.walk(f"blocks.{layer}" if is_mixed else ""):
            for name, value in instance.env.items():
                if name == "D" or isinstance(value, bool):
                    continue
                if isinstance(value, (int, float)) and isfinite(value):
                    # A decimal stands for the decimal number.
                    numbers[f"{path}.{name}" if path else name] = Fraction(repr(value))
    return numbers


@dataclass(eq=False)
class _Judge:
    """Analyses units again on arguments that are as they should be, where they are not."""

    analyser: Analyser

    def verdicts(self, unit: UnitProof) -> Verdicts:
        graph = unit.instance.graph
        assert graph is not None, "the stack is elaborated in full"
        args = [unit.values[value] for value in graph.inputs]
        entries = [unit.values.get(read.value) for read in graph.z_reads]
        sound_args = [_mended(arg) for arg in args]
        sound_entries = [None if entry is None else _mended(entry) for entry in entries]
        if sound_args == args and sound_entries == entries:
            written = (write.value for write in graph.z_writes)
            return _judged([unit.values[value] for value in (*graph.results, *written)])
        outcome = self.analyser.unit(unit.instance, unit.path, sound_args, sound_entries)
        return _judged(outcome.results)


def _mended(value: Dependence) -> Dependence:
    """The value, what it must not depend on replaced by its own position and row."""
    time = [leg for leg in value.time if _is_causal(leg, value)]
    if len(time) < len(value.time):
        position, _ = next(_positions(value, in_scan=False))
        time.append(Leg(position, ZERO, ZERO))
    batch = [leg for leg in value.batch if _keeps_row(leg, value)]
    if len(batch) < len(value.batch):
        rows = _axes(value, Extent.BATCH)
        batch.extend(Leg(axis_form(row), ZERO, ZERO) for row in rows[:1])
    if len(time) == len(value.time) and len(batch) == len(value.batch):
        return value
    return replace(value, time=joined(time), batch=joined(batch))


def _judged(results: Sequence[Dependence]) -> Verdicts:
    ahead = [(leg, v) for v in results for leg in v.time if not _is_causal(leg, v)]
    mixed = [(leg, v) for v in results for leg in v.batch if not _keeps_row(leg, v)]
    return {
        Subject.CAUSALITY: _verdict(
            [(leg, v) for leg, v in ahead if is_about_tokens(leg)], Extent.TIME
        ),
        # What reads ahead also depends on whether there is anything ahead.
        Subject.LENGTH: _verdict(ahead, Extent.TIME),
        Subject.BATCH: _verdict(mixed, Extent.BATCH),
    }


def _verdict(against: Sequence[tuple[Leg, Dependence]], extent: Extent) -> Verdict:
    """Nothing is refuted by what the analysis did not follow: a leg, or an axis merged of two."""
    if not against:
        return Verdict.PROVED
    is_lost = all(
        leg.is_lost or any(value.axes[axis].spacing is None for axis in _axes(value, extent))
        for leg, value in against
    )
    return Verdict.UNKNOWN if is_lost else Verdict.REFUTED


# ---------------------------------------------------------------- positions of any value


def _axes(value: Dependence, extent: Extent) -> list[int]:
    names = range(-value.rank, 0)
    return [name for name in names if value.axes[name].extent is extent]


def _positions(value: Dependence, in_scan: bool) -> Iterator[tuple[Form, Bound]]:
    """Each position that an element may be said to have, and how much later it may look.

    That is its index on an axis of time; in blocks of C, `C n + c`, or without an axis for c
    anything in the block; in the body of a scan, the step, and in a chunk the place in it. A
    matrix of queries and keys has two positions.
    """
    static = _axes(value, Extent.STATIC)
    for axis in _axes(value, Extent.TIME):
        spacing = value.axes[axis].spacing
        if spacing is None:
            continue
        if spacing == ONE:
            yield axis_form(axis), ZERO
            continue
        places = [place for place in static if value.axes[place].size == spacing]
        for place in places:
            yield form({axis: spacing, place: ONE}), ZERO
        if not places:
            yield axis_form(axis, spacing), spacing - ONE
    yield axis_form(STEP), ZERO
    if in_scan:
        for place in static:
            yield form({STEP: ONE, place: ONE}), ZERO


def _is_causal(leg: Leg, value: Dependence) -> bool:
    """Whether an element reads nothing after a position of its own."""
    least = INFINITY
    in_scan = coefficient_of(leg.linear, STEP).value != 0
    for position, allowance in _positions(value, in_scan):
        least = smaller(least, lead(leg, value, position) - allowance)
    return least.value <= 0


def _keeps_row(leg: Leg, value: Dependence) -> bool:
    rows = [axis_form(axis) for axis in _axes(value, Extent.BATCH)]
    return leg.linear in rows and leg.lo == ZERO and leg.hi == ZERO
