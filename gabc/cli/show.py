"""`gabc show`: the unit tree of a design at a scale, with shapes and parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.elaborate.scales import DEFAULT_SCALE, VOCAB_SIZE

if TYPE_CHECKING:
    from rich.tree import Tree

    from gabc.runtime.inspect import DesignSummary, UnitSummary
    from gabc.runtime.scale_fit import Fit


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
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the unit tree of a design: shapes, parameters per unit and in all."""
    wanted, is_fitted = scale_or_fit(scale, fit)
    source, folder = load(file)

    from gabc.api import NoDesignError, elaborate
    from gabc.runtime.inspect import inspect
    from gabc.runtime.scale_fit import FitError

    try:
        design = elaborate(source, scale=wanted, fit=is_fitted, folder=folder)
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    assert design.stack is not None
    summary = inspect(design.stack, vocab_size)
    if as_document:
        print_json(document(summary, design.fit))
        return

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    if design.fit is not None:
        console.print(str(design.fit))
    console.print(draw(summary))
    console.print(totals(summary))


def document(summary: DesignSummary, fit: Fit | None) -> dict[str, object]:
    """The summary as `--json` prints it."""
    parameters = summary.parameters
    return {
        "design": summary.design,
        "scale": summary.scale,
        "width": summary.width,
        "blocks": summary.blocks,
        "vocab_size": summary.vocab_size,
        "fit": None if fit is None else str(fit),
        "parameters": {
            "total": parameters.total,
            "embedding": parameters.embedding,
            "per_block": list(parameters.per_block),
            "shared": parameters.shared,
            "final_norm": parameters.final_norm,
            "head": parameters.head,
        },
        "tree": _node(summary.tree),
    }


def _node(unit: UnitSummary) -> dict[str, object]:
    return {
        "name": unit.name,
        "unit": unit.unit,
        "copies": unit.copies,
        "shared": unit.is_shared,
        "settings": dict(unit.settings),
        "takes": list(unit.takes),
        "gives": list(unit.gives),
        "parameters": unit.parameters,
        "own": [
            {"name": p.name, "shape": p.shape, "sizes": list(p.sizes), "count": p.count}
            for p in unit.own
        ],
        "children": [_node(child) for child in unit.children],
    }


def draw(summary: DesignSummary) -> Tree:
    """The tree for a terminal."""
    from rich.markup import escape
    from rich.tree import Tree

    def grow(parent: Tree, unit: UnitSummary) -> None:
        branch = parent.add(_label(unit, escape), guide_style="dim")
        for child in unit.children:
            grow(branch, child)

    size = f"width {summary.width}, {summary.blocks} blocks, {summary.vocab_size:,} tokens"
    root = Tree(f"[bold]{summary.design}[/bold] at {summary.scale}: {size}", guide_style="dim")
    for child in summary.tree.children:
        grow(root, child)
    return root


def _label(unit: UnitSummary, escape: Callable[[str], str]) -> str:
    """`attn: MultiHeadAttention(heads=8)  X [B, L, D] -> [B, L, D]  66,048`."""
    copies = f" x {unit.copies}" if unit.copies > 1 else ""
    shared = " shared" if unit.is_shared else ""
    settings = ", ".join(f"{name}={value}" for name, value in unit.settings)
    flow = f"{', '.join(unit.takes)} -> {', '.join(unit.gives)}"
    count = f"  [cyan]{unit.parameters:,}[/cyan]" if unit.parameters else ""
    head = f"{unit.name}{copies}:{shared} {unit.unit}" + (f"({settings})" if settings else "")
    return f"[bold]{escape(head)}[/bold]  [dim]{escape(flow)}[/dim]{count}"


def totals(summary: DesignSummary) -> str:
    """`5,378,688 parameters: 4,096,000 embedding, 6 x 213,760 in blocks, 128 final norm`."""
    parameters = summary.parameters
    parts = [f"{parameters.embedding:,} embedding"]
    runs = [(count, len(list(group))) for count, group in groupby(parameters.per_block)]
    parts.append(" + ".join(f"{times} x {count:,}" for count, times in runs) + " in blocks")
    if parameters.shared:
        parts.append(f"{parameters.shared:,} shared by all blocks")
    parts.append(f"{parameters.final_norm:,} final norm")
    if parameters.head:
        parts.append(f"{parameters.head:,} head")
    return f"{parameters.total:,} parameters: {', '.join(parts)}"
