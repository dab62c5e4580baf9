"""The unit tree of a design as a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.tree import Tree

    from gabc.runtime.inspect import DesignSummary, UnitSummary


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
    settings = ", ".join(f"{name}={value}" for name, value in unit.given)
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
