"""`gabc diff`: whether two designs are one function; otherwise which units differ, and the cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.extras import needs
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.scales import scale_named
from gabc.elaborate.scales import DEFAULT_SCALE

if TYPE_CHECKING:
    from rich.console import Console

    from gabc.check.cost import Amounts, Costs
    from gabc.check.identity import Difference, UnitChange
    from gabc.graph.instance import Scale, Stack

LENGTH = 2048

_MEASURES = {
    "parameters": "parameters",
    "forward_flops_per_token": "forward FLOPs per token",
    "training_flops_per_token": "training FLOPs per token",
    "activation_bytes_per_token": "activation bytes per token",
    "state_bytes": "decode state, bytes",
    "launches": "kernel launches, eager forward",
}


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A design.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another design.")],
    scale: Annotated[
        str, typer.Option(metavar="S", help="The size to compare at.")
    ] = DEFAULT_SCALE,
    length: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="Tokens of a sequence, for costs.")
    ] = LENGTH,
    is_run: Annotated[
        bool,
        typer.Option("--run", help="Also compare the results on fixed random numbers, in float64."),
    ] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two designs: the same function, or which units differ and what that costs."""
    from gabc.check.cost import cost
    from gabc.check.identity import compare
    from gabc.passes import optimise

    wanted = scale_named(scale)
    stacks = [_stack(file, wanted, as_document) for file in (before, after)]
    difference = compare(*stacks)
    costs = [cost(optimise(stack)) for stack in stacks]
    fingerprints = _fingerprints(stacks) if is_run else None
    if as_document:
        print_json({**document(difference, costs, length), "fingerprint": fingerprints})
        return

    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False, markup=False)
    _print(console, difference, costs, [stack.name for stack in stacks], length)
    if fingerprints is not None:
        console.print(_run_line(fingerprints))


def _fingerprints(stacks: list[Stack]) -> dict[str, str]:
    """What each computes for fixed inputs and parameters, as a hash."""
    with needs("torch"):
        from gabc.runtime.fingerprint import fingerprint

        before, after = (fingerprint(stack) for stack in stacks)
    return {"before": before, "after": after}


def _run_line(fingerprints: dict[str, str]) -> str:
    before, after = fingerprints["before"], fingerprints["after"]
    if before == after:
        return f"run on fixed numbers: the same results (fingerprint {before})"
    return f"run on fixed numbers: other results (fingerprints {before}, {after})"


def _stack(file: Path, scale: Scale, as_document: bool) -> Stack:
    from gabc.api import NoDesignError, elaborate

    source, folder = load(file)
    try:
        design = elaborate(source, scale=scale, folder=folder)
    except NoDesignError as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    assert design.stack is not None
    return design.stack


def document(difference: Difference, costs: list[Costs], length: int) -> dict[str, object]:
    """The comparison as `--json` prints it; every cost as [before, after]."""
    totals = [totals_of(cost, length) for cost in costs]
    units = [units_of(cost, length) for cost in costs]
    return {
        "same": difference.is_same,
        "hash": {"before": difference.before, "after": difference.after},
        "length": length,
        "head": {name: [a, b] for name, a, b in difference.head},
        "units": [
            {
                "path": change.path,
                "kind": change.kind,
                "before": change.before,
                "after": change.after,
                "settings": {name: [a, b] for name, a, b in change.settings},
                "statements": list(change.statements),
                "costs": {
                    key: [side.get(change.path, {}).get(key) for side in units] for key in _MEASURES
                },
            }
            for change in difference.changes
        ],
        "costs": {key: [total[key] for total in totals] for key in _MEASURES},
        "classes": {
            "time": [str(cost.time) for cost in costs],
            "state": [str(cost.state) for cost in costs],
        },
    }


def totals_of(costs: Costs, length: int) -> dict[str, int]:
    """The measures of a whole model, at one sequence of the length."""
    from gabc.check.cost import value_at

    parameters = round(value_at(costs.parameters, length))
    return {"parameters": parameters, **_measures(costs.total, length)}


def units_of(costs: Costs, length: int) -> dict[str, dict[str, int]]:
    """The measures of each unit with all below it, one copy, by path."""
    from gabc.check.cost import value_at

    return {
        unit.path: {
            "parameters": round(value_at(unit.parameters, length)),
            **_measures(unit.amounts, length),
        }
        for unit in costs.units
    }


def _measures(amounts: Amounts, length: int) -> dict[str, int]:
    from gabc.check.cost import value_at

    return {
        "forward_flops_per_token": round(value_at(amounts.forward, length) / length),
        "training_flops_per_token": round(value_at(amounts.training, length) / length),
        "activation_bytes_per_token": round(value_at(amounts.saved, length) / length),
        "state_bytes": round(value_at(amounts.state, length)),
        "launches": round(value_at(amounts.launches, length)),
    }


def _print(
    console: Console, difference: Difference, costs: list[Costs], names: list[str], length: int
) -> None:
    if difference.is_same:
        console.print(f"{names[0]} and {names[1]} are the same function (hash {difference.before})")
        return
    console.print(f"{names[0]} and {names[1]} are different designs")
    console.print(f"  {difference.before}\n  {difference.after}")
    for name, a, b in difference.head:
        console.print(f"head: {name} {a} -> {b}")
    for change in difference.changes:
        console.print(_headline(change))
        for name, a, b in change.settings:
            console.print(f"    {name}: {a or 'none'} -> {b or 'none'}")
        for line in change.statements:
            console.print(f"    {line}", style="green" if line[0] == "+" else "red")
    if not difference.changes and not difference.head:
        console.print("every unit is the same; they are put together or shared in another way")
    console.print(f"costs of one sequence of {length} tokens")
    totals = [totals_of(cost, length) for cost in costs]
    for key, title in _MEASURES.items():
        console.print(_cost_line(title, totals[0][key], totals[1][key]))
    for title, classes in (
        ("time per token", [str(cost.time) for cost in costs]),
        ("decode state", [str(cost.state) for cost in costs]),
    ):
        shown = classes[0] if classes[0] == classes[1] else " -> ".join(classes)
        console.print(f"    {title:<32}{shown}")


def _headline(change: UnitChange) -> str:
    if change.kind == "replaced":
        return f"{change.path}: {change.before} -> {change.after}"
    return f"{change.path}: {change.after or change.before} {change.kind}"


def _cost_line(title: str, before: int, after: int) -> str:
    if before == after:
        return f"    {title:<32}{before:,} (same)"
    share = f", {(after - before) / before:+.1%}" if before else ""
    return f"    {title:<32}{before:,} -> {after:,} ({after - before:+,}{share})"
