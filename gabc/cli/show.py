"""`gabc show`: a design's units, what is proved of it, what it costs, and pictures of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.faults import DIAGNOSTICS, InputFault
from gabc.cli.files import load
from gabc.cli.output import as_json, print_diagnostics, print_json, refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.diagnostics.suggest import nearest
from gabc.elaborate.scales import DEFAULT_SCALE, VOCAB_SIZE

if TYPE_CHECKING:
    from rich.console import Console

    from gabc.check.cost import Device
    from gabc.check.report import Report
    from gabc.graph.instance import Scale, Stack
    from gabc.passes.fusion import Fusion
    from gabc.runtime.inspect import DesignSummary
    from gabc.runtime.inspect_facts import Facts
    from gabc.runtime.scale_fit import Fit
    from gabc.syntax.source import Source

LENGTH = 2048
BATCH = 8

_WIDE = 240  # where output is not a terminal, nothing is cut


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A design; `-` is standard input.")],
    scale: Annotated[
        str | None, typer.Option(metavar="S", help=f"The size to show. [{DEFAULT_SCALE}]")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="Change depth or width to within 2% of this scale's reference size."
        ),
    ] = None,
    vocab_size: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="Tokens of the embedding.")
    ] = VOCAB_SIZE,
    tree: Annotated[bool, typer.Option("--tree", help="The units, and nothing else.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="What each unit costs, as compiled, and its growth.")
    ] = False,
    causality: Annotated[
        bool, typer.Option("--causality", help="Why it is proved causal, value by value.")
    ] = False,
    recurrences: Annotated[
        bool, typer.Option("--recurrences", help="What each `scan` is, and why a loop is one.")
    ] = False,
    fusion: Annotated[
        bool, typer.Option("--fusion", help="What --backend triton makes one kernel, and what not.")
    ] = False,
    length: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="Tokens of a sequence, for costs.")
    ] = LENGTH,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With the time of a step on H200, H100 or CPU."),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1 << 20, help="Sequences of a step, for --device.")
    ] = BATCH,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw the data flow, a frame for each unit."),
    ] = None,
    graph_depth: Annotated[
        int, typer.Option(min=0, max=64, help="Levels of units that --graph draws open.")
    ] = 1,
    graph_tree: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the tree of units.")
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show a design: its units, what is proved of it and what it costs."""
    wanted, is_fitted = scale_or_fit(scale, fit)
    ceiling = None if device is None else _device(device)
    source, folder = load(file)
    shown = _shown(source, folder, wanted, is_fitted, vocab_size, as_document)
    pictures = _draw(shown, graph, graph_depth, graph_tree)
    has_cost = cost or ceiling is not None
    parts = _Parts(tree, has_cost, causality, recurrences, fusion, bool(pictures))
    if as_document:
        _print_document(shown, length, batch, ceiling, parts, pictures)
    else:
        _print(shown, parts, length, batch, ceiling)
        for path in pictures:
            print(f"wrote {path}")
    if not shown.report.ok:
        raise typer.Exit(DIAGNOSTICS)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What was asked for; the tree and a summary where it was nothing."""

    tree: bool
    cost: bool
    causality: bool
    recurrences: bool
    fusion: bool
    pictures: bool

    @property
    def is_default(self) -> bool:
        asked = (self.tree, self.cost, self.causality, self.recurrences, self.fusion, self.pictures)
        return not any(asked)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A design at the scale chosen, with everything that is known of it."""

    report: Report
    stack: Stack
    summary: DesignSummary
    facts: Facts
    fit: Fit | None


def _shown(
    source: Source,
    folder: Path,
    scale: Scale,
    is_fitted: bool,
    vocab_size: int,
    as_document: bool,
) -> _Shown:
    """A design that is refuted has a tree and costs like any other, and is shown with its errors.

    Raises `FoundErrors` where it has errors that leave nothing to show.
    """
    from gabc.api import NoDesignError, check, elaborate
    from gabc.elaborate.limits import MAX_FRAMES, recursion_limit
    from gabc.runtime.inspect import inspect
    from gabc.runtime.inspect_facts import gather
    from gabc.runtime.scale_fit import FitError

    fit = None
    try:
        if is_fitted:
            design = elaborate(source, scale=scale, fit=True, folder=folder)
            refuse_errors(design.diagnostics, as_document)
            assert design.fit is not None
            fit, scale = design.fit, design.fit.scale
        report = check(source, scales=[scale], folder=folder)
        stack = report.stacks.get(scale.name)
        if stack is None:
            refuse_errors(report.diagnostics, as_document)
            elaborate(source, scale=scale, folder=folder)  # says what is missing
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None
    assert stack is not None
    if not as_document:
        print_diagnostics(report.diagnostics, sys.stderr)
    with recursion_limit(MAX_FRAMES):
        facts = gather(stack, report.proofs[scale.name], vocab_size)
        return _Shown(report, stack, inspect(stack, vocab_size), facts, fit)


def _device(name: str) -> Device:
    from gabc.check.cost import DEVICES

    if name not in DEVICES:
        near = nearest(name, DEVICES)
        hint = f"did you mean `{near}`? " if near else ""
        raise InputFault(f"{hint}--device knows {', '.join(DEVICES)}, not `{name}`")
    return DEVICES[name]


def _draw(shown: _Shown, flow: Path | None, depth: int, tree: Path | None) -> list[Path]:
    """Write the pictures asked for. Raises `InputFault` where that cannot be."""
    if flow is None and tree is None:
        return []
    from gabc.cli.show_graph import draw_flow, draw_tree

    written = []
    if flow is not None:
        draw_flow(shown.stack, depth, flow)
        written.append(flow)
    if tree is not None:
        draw_tree(shown.summary, tree)
        written.append(tree)
    return written


def _print(shown: _Shown, parts: _Parts, length: int, batch: int, ceiling: Device | None) -> None:
    from rich.console import Console

    from gabc.cli.show_summary import summary_lines
    from gabc.cli.show_tree import draw, totals

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    if shown.fit is not None:
        console.print(str(shown.fit))
    if parts.tree or parts.is_default:
        console.print(draw(shown.summary))
        console.print(totals(shown.summary))
    if parts.is_default:
        for line in summary_lines(shown.facts, length):
            console.print(line, markup=False)
    if parts.causality:
        _print_causality(console, shown.facts)
    if parts.recurrences:
        from gabc.cli.show_recurrences import recurrence_lines
        from gabc.recurrences.classify import classify

        for line in recurrence_lines(classify(shown.stack), length):
            console.print(line, markup=False, soft_wrap=True)
    if parts.fusion:
        from gabc.cli.show_fusion import fusion_lines

        for line in fusion_lines(_fusions(shown.stack)):
            console.print(line, markup=False, soft_wrap=True)
    if parts.cost:
        _print_cost(console, shown.facts, length, batch, ceiling)


def _fusions(stack: Stack) -> list[tuple[str, Fusion]]:
    """What is fused in the units of a design, which is done after all other rewrites."""
    from gabc.passes import optimise
    from gabc.passes.fusion import fusions

    return fusions(optimise(stack))


def _print_causality(console: Console, facts: Facts) -> None:
    from gabc.cli.show_causality import derivation_tree, verdict_lines

    for line in verdict_lines(facts):
        console.print(line, markup=False)
    console.print(derivation_tree(facts.proofs))


def _print_cost(
    console: Console, facts: Facts, length: int, batch: int, ceiling: Device | None
) -> None:
    from gabc.check.cost import step_time
    from gabc.cli.show_cost import (
        NO_DECODER,
        TERMS,
        estimate,
        numbers,
        polynomials,
        recomputed_lines,
        totals_as_polynomials,
    )

    costs = facts.costs
    console.print(numbers(costs, length))
    console.print()
    console.print(polynomials(costs))
    notes = [TERMS, *recomputed_lines(costs)] if facts.can_decode else [TERMS, NO_DECODER]
    for line in (*totals_as_polynomials(costs, length), "", *notes):
        console.print(line, markup=False, soft_wrap=True)
    if ceiling is not None:
        time = step_time(costs, ceiling, batch=batch, length=length)
        for line in estimate(ceiling, time, batch, length):
            console.print(line, markup=False, soft_wrap=True)


def _print_document(
    shown: _Shown,
    length: int,
    batch: int,
    ceiling: Device | None,
    parts: _Parts,
    pictures: list[Path],
) -> None:
    from gabc.check.cost import step_time
    from gabc.cli.show_causality import derivation_document
    from gabc.cli.show_cost import ASSUMPTIONS
    from gabc.cli.show_document import document, step_time_document

    report = shown.report
    printed: dict[str, object] = {
        "ok": report.ok,
        "diagnostics": as_json(report.diagnostics),
        **document(shown.summary, shown.facts, shown.stack, shown.fit, length),
    }
    if parts.causality:
        printed["derivation"] = derivation_document(shown.facts.proofs)
    if parts.recurrences:
        from gabc.cli.show_recurrences import recurrence_document
        from gabc.recurrences.classify import classify

        printed["recurrences"] = recurrence_document(classify(shown.stack))
    if parts.fusion:
        from gabc.cli.show_fusion import fusion_document

        printed["fusion"] = fusion_document(_fusions(shown.stack))
    if ceiling is not None:
        time = step_time(shown.facts.costs, ceiling, batch=batch, length=length)
        printed["step_time"] = step_time_document(ceiling, time, batch, length, ASSUMPTIONS)
    if pictures:
        printed["written"] = [str(path) for path in pictures]
    print_json(printed)
