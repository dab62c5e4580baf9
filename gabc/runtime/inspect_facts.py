"""What is known of a design besides its tree: proofs, costs and identity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

from gabc.check.causality.chain import offset
from gabc.check.causality.units import Verdicts, unit_verdicts
from gabc.check.causality.verdict import Proofs, Subject, UnitProof, Verdict
from gabc.check.cost import Costs, cost
from gabc.check.identity import canonical_unit, structural_hash
from gabc.dependence.bounds import Bound, larger, smaller
from gabc.graph.instance import Instance, Stack
from gabc.passes import optimise


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """`costs` are those of the optimised stack, floats of four bytes.

    `hash` is of the design as written, `unit_hashes` of each of its units by path; equal units have
    equal hashes wherever they stand. `verdicts` has the units that `costs` has; `None` for one that
    nothing calls.
    """

    proofs: Proofs
    costs: Costs
    hash: str
    unit_hashes: Mapping[str, str]
    verdicts: Mapping[str, Verdicts | None]

    @property
    def can_decode(self) -> bool:
        """Whether a decoder's state means anything: not where later tokens are read."""
        return self.proofs.causality.verdict is not Verdict.REFUTED


def gather(stack: Stack, proofs: Proofs, vocab_size: int) -> Facts:
    """Everything that follows from the text; without torch. `proofs` are those of `stack`."""
    costs = cost(optimise(stack), vocab_size=vocab_size)
    verdicts = _verdicts(stack, proofs, costs)
    return Facts(proofs, costs, structural_hash(stack), _unit_hashes(stack), verdicts)


def interval_text(interval: tuple[Bound, Bound] | None) -> str:
    """Which positions a result at `t` depends on: `0 .. t`, `t - (kernel - 1) .. t`, `none`."""
    if interval is None:
        return "none"
    first, last = interval
    start = f"t{offset(first)}" if first.is_finite else "0"
    end = f"t{offset(last)}" if last.is_finite else "L - 1"
    return start if start == end else f"{start} .. {end}"


def path_parts(path: str) -> list[str]:
    """`blocks.0-3.experts.1.up` is `blocks.0-3`, `experts.1` and `up`."""
    return re.findall(r"[^.]+(?:\.\d+(?:-\d+)?)?", path)


def reads_of_units(stack: Stack, proofs: Proofs) -> dict[str, tuple[Bound, Bound] | None]:
    """Which positions the results of each unit depend on, by the unit's path in the costs.

    A unit that is called on several values, or in several layers, has the widest interval.
    """
    labels = run_labels(stack)
    is_mixed = len(set(labels)) > 1
    by_path: dict[str, list[UnitProof]] = {}
    by_instance: dict[Instance, list[UnitProof]] = {}
    for unit in proofs.units:
        label = labels[unit.layer]
        below = (
            unit.path.removeprefix(f"blocks.{unit.layer}").lstrip(".") if is_mixed else unit.path
        )
        by_path.setdefault(f"{label}.{below}" if below else label, []).append(unit)
        by_instance.setdefault(unit.instance, []).append(unit)
    found = {}
    for label, block in dict(zip(labels, stack.blocks, strict=True)).items():
        for path, instance in block.walk(label):
            # Proofs tell once of an instance that stands in several places on equal arguments.
            units = by_path.get(path) or by_instance.get(instance)
            if units:
                found[path] = _hull([unit.reach for unit in units if unit.reach is not None])
    return found


def _hull(reaches: Sequence[tuple[Bound, Bound]]) -> tuple[Bound, Bound] | None:
    if not reaches:
        return None
    firsts, lasts = zip(*reaches, strict=True)
    return reduce(smaller, firsts), reduce(larger, lasts)


_SOUND: Verdicts = dict.fromkeys(Subject, Verdict.PROVED)


def _verdicts(stack: Stack, proofs: Proofs, costs: Costs) -> dict[str, Verdicts | None]:
    """By path. What is around the blocks, and a `Linear`, keep to one position of one row."""
    by_instance = unit_verdicts(stack, proofs)
    found: dict[str, Verdicts | None] = {}
    for label, block in dict(zip(run_labels(stack), stack.blocks, strict=True)).items():
        for path, instance in block.walk(label):
            found[path] = _SOUND if instance.unit is None else by_instance.get(instance)
    return {unit.path: found.get(unit.path, _SOUND) for unit in costs.units}


def at_fault(facts: Facts, subject: Subject) -> list[str]:
    """The innermost units of which a property is not proved, by their paths."""
    paths = [
        path
        for path, verdicts in facts.verdicts.items()
        if verdicts is not None and verdicts[subject] is not Verdict.PROVED
    ]
    return [p for p in paths if not any(other.startswith(f"{p}.") for other in paths)]


def run_labels(stack: Stack) -> list[str]:
    """The name of each layer's run of equal blocks: `blocks`, or `blocks.0-3` where they differ."""
    labels: list[str] = []
    for _, group in groupby(stack.blocks, key=id):
        first, count = len(labels), len(list(group))
        last = first + count - 1
        label = f"blocks.{first}" if count == 1 else f"blocks.{first}-{last}"
        labels.extend([label] * count)
    return ["blocks"] * len(labels) if len(set(labels)) == 1 else labels


def _unit_hashes(stack: Stack) -> dict[str, str]:
    known: dict[int, str] = {}
    found: dict[str, str] = {}
    for label, block in dict(zip(run_labels(stack), stack.blocks, strict=True)).items():
        for path, instance in block.walk(label):
            if id(instance) not in known:
                known[id(instance)] = canonical_unit(instance).hash
            found[path] = known[id(instance)]
    return found
