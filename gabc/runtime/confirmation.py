"""A report with its open and refuted proofs put to the test, in seconds on one core. Needs torch.

The faults of a design seldom depend on its size, so it is run at the smallest scale at which it has
the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gabc.check.causality.verdict import Proofs
from gabc.check.report import Report, check
from gabc.diagnostics.model import Diagnostic, Severity
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.oracle import confirm

WIDTHS = (64, 128, 256)
FEW_LAYERS = 2
MOST_WIDTH, MOST_LAYERS = 1024, 32
"""Of the scale asked for, where no small one has the same faults; beyond, nothing is run."""

SHORT = (7, 33)
LONG = (*SHORT, 100)
"""Lengths of the sequences; the long ones where no `scan` has to go through them step by step."""

_CONTRACT = "GAB0710"


def needs_confirmation(report: Report) -> bool:
    """Whether a proof is open or refuted, and nothing else is wrong that a run would fall over.

    A contract that fails for want of the proof is no other error.
    """
    return any(proofs.faults for proofs in report.proofs.values()) and not _has_other_errors(report)


def confirmed(report: Report, folder: Path | None = None) -> Report:
    """The report after the runs: witnesses in the facts, GAB0405 or GAB0406 where there is none.

    A proof whose design is too large to run, and has other faults at small scales, stays as it is.
    """
    if not needs_confirmation(report):
        return report
    proofs = dict(report.proofs)
    done: dict[tuple[object, ...], Proofs] = {}
    said: dict[tuple[str, str, int, int], Diagnostic] = {}
    for name, found in report.proofs.items():
        if not found.faults:
            continue
        stack = _smallest(report, folder, found, report.stacks[name])
        if stack is None:
            continue
        key = (stack.scale.name, _finding(found))
        if key not in done:
            done[key] = confirm(found, stack, lengths=_lengths(found, stack))
        proofs[name] = _as_run(found, done[key])
        for before, after in zip(found.diagnostics, proofs[name].diagnostics, strict=True):
            said.setdefault(_key(before), after)
    diagnostics = tuple(
        replace(said[_key(d)], fixes=d.fixes) if _key(d) in said else d for d in report.diagnostics
    )
    return replace(report, diagnostics=diagnostics, proofs=proofs)


def _as_run(found: Proofs, run: Proofs) -> Proofs:
    """What a run showed, of the proofs at a scale with the same faults."""
    return replace(
        found,
        causality=replace(run.causality, holds_at=found.causality.holds_at),
        batch=replace(run.batch, holds_at=found.batch.holds_at),
        length=replace(run.length, holds_at=found.length.holds_at),
        diagnostics=run.diagnostics,
    )


def _has_other_errors(report: Report) -> bool:
    return any(
        d.severity is Severity.ERROR and d.phase != "causality" and d.code != _CONTRACT
        for d in report.diagnostics
    )


def _smallest(report: Report, folder: Path | None, proofs: Proofs, stack: Stack) -> Stack | None:
    """The design at the smallest scale where it has the same verdicts and faults."""
    asked = stack.scale
    for width in WIDTHS:
        if width >= asked.D:
            break
        for layers in _depths(proofs, len(stack.blocks)):
            scale = parse_scale(f"{width}x{layers}")
            small = check(report.source, scales=(scale,), folder=folder, offers_fixes=False)
            there = small.proofs.get(scale.name)
            if there and not _has_other_errors(small) and _finding(there) == _finding(proofs):
                return small.stacks[scale.name]
    is_small = asked.D <= MOST_WIDTH and len(stack.blocks) <= MOST_LAYERS
    return stack if is_small else None


def _depths(proofs: Proofs, all_layers: int) -> Iterator[int]:
    """A few layers, as many as there are up to the last one at fault, all."""
    faulty = 1 + max(fault.layer for fault in proofs.faults)
    depths = (FEW_LAYERS, faulty, all_layers)
    yield from sorted({min(max(depth, 1), all_layers) for depth in depths})


def _finding(proofs: Proofs) -> tuple[object, ...]:
    verdicts = tuple(p.verdict for p in (proofs.causality, proofs.length, proofs.batch))
    return verdicts, tuple(_key(diagnostic) for diagnostic in proofs.diagnostics)


def _lengths(proofs: Proofs, stack: Stack) -> tuple[int, ...]:
    graphs = [unit.instance.graph for unit in proofs.units]
    steps = any(node.op == "scan" for graph in graphs if graph for node in graph.nodes)
    is_large = len(stack.blocks) > FEW_LAYERS or max(WIDTHS) < stack.scale.D
    return SHORT if steps or is_large else LONG


def _key(diagnostic: Diagnostic) -> tuple[str, str, int, int]:
    span = diagnostic.span
    return diagnostic.code, span.source.path, span.start, span.end
