"""`gabc show --causality`: why a design is proved, value by value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.tree import Tree

    from gabc.check.causality.derivation import Step, UnitDerivation
    from gabc.check.causality.verdict import Proofs, Property
    from gabc.runtime.inspect_facts import Facts

_INNERMOST = re.compile(r"[(\[][^()\[\]]*[)\]]")

_HEADINGS = {
    "causality": "a result at t depends on no later token",
    "length": "nor on how many tokens there are",
    "batch": "nor on another row of the batch",
}


def verdict_lines(facts: Facts) -> Iterator[str]:
    """Each verdict with what it means and where it holds, the units at fault, and the receptive
    field."""
    from gabc.check.causality.verdict import Subject
    from gabc.runtime.inspect_facts import at_fault, interval_text

    proofs = facts.proofs
    for subject, meaning in _HEADINGS.items():
        found: Property = getattr(proofs, subject)
        where = "at every scale" if found.holds_at is None else f"at {found.holds_at}"
        yield f"{subject} ({meaning}): {found.verdict.value} {where}"
        units = at_fault(facts, Subject(subject))
        if units:
            yield f"  not proved of {', '.join(units)}, taken alone"
    yield f"receptive field: position t reads {interval_text(proofs.receptive_field)}"


def derivation_tree(proofs: Proofs) -> Tree:
    """Units within units, and of each its values in order: what they read, why, and where."""
    from rich.markup import escape
    from rich.tree import Tree

    from gabc.check.causality.derivation import derivations

    root = Tree(
        f"[bold]{escape(proofs.design)}[/bold], value by value (t is a value's own position, b its "
        "row, other letters its other axes)",
        guide_style="dim",
    )
    branches: dict[tuple[int, str], Tree] = {}
    seen: set[tuple[str, tuple[Line, ...]]] = set()
    for unit in derivations(proofs):
        lines = tuple(_line(step) for step in unit.steps)
        if (unit.path, lines) in seen:
            continue  # the same in another layer, or of another value of equal shape
        seen.add((unit.path, lines))
        parent = _nearest(unit, branches) or root
        branch = parent.add(f"[bold]{escape(_title(unit))}[/bold]", guide_style="dim")
        branches.setdefault((unit.layer, unit.path), branch)
        for line in lines:
            text = f"{escape(line.value)}  [cyan]{escape(line.reads)}[/cyan]  {escape(line.why)}"
            entry = branch.add(f"{text}  [dim]{escape(line.place)}[/dim]", guide_style="dim")
            for constant in line.constants:
                entry.add(escape(constant))
    return root


def derivation_document(proofs: Proofs) -> list[dict[str, object]]:
    """The derivation as `--json` prints it."""
    from gabc.check.causality.derivation import derivations

    return [
        {
            "path": unit.path,
            "unit": unit.unit,
            "layer": unit.layer,
            "reads": None if unit.reach is None else list(unit.reach),
            "values": [
                {
                    "value": step.value,
                    "type": step.type,
                    "axes": list(step.axes),
                    "reads": list(step.reads),
                    "constant_outside": [list(pair) for pair in step.constant_outside],
                    "because": step.because,
                    "place": str(step.span),
                }
                for step in unit.steps
            ],
        }
        for unit in derivations(proofs)
    ]


class Line(NamedTuple):
    """A value as the tree shows it."""

    value: str
    reads: str
    why: str
    place: str
    constants: tuple[str, ...]


def _indexed(step: Step) -> str:
    """A value with its axes; `(X + y)[b, t, c]` where it is an expression of several parts."""
    if not step.axes:
        return step.value
    outside = step.value
    while (inner := _INNERMOST.sub("", outside)) != outside:
        outside = inner
    value = f"({step.value})" if " " in outside.strip() else step.value
    return f"{value}[{', '.join(step.axes)}]"


def _line(step: Step) -> Line:
    from gabc.check.causality.derivation import whether

    # Who reads a position also knows that there is one.
    implied = {whether(read) for read in step.reads}
    shown = ", ".join(read for read in step.reads if read not in implied)
    reads = f"reads {shown}" if shown else "reads no position"
    why = "by a unit, below" if step.because == "`call`" else f"by {step.because}"
    return Line(
        _indexed(step),
        reads,
        step.because if step.because == "an argument" else why,
        f"{step.span.source.path}:{step.span.line}",
        tuple(f"{constant} unless {zone}" for zone, constant in step.constant_outside),
    )


def _nearest(unit: UnitDerivation, branches: Mapping[tuple[int, str], Tree]) -> Tree | None:
    """The branch of the unit around this one; an array has none of its own between."""
    path = unit.path
    while path:
        path = path.rpartition(".")[0]
        if (unit.layer, path) in branches:
            return branches[unit.layer, path]
    return None


def _title(unit: UnitDerivation) -> str:
    from gabc.runtime.inspect_facts import path_parts

    name = f"{path_parts(unit.path)[-1]}: {unit.unit}" if unit.path else unit.unit
    layer = f" (layer {unit.layer})" if unit.layer else ""
    return f"{name}{layer}"
