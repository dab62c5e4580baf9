"""`unit_tree`: the units of a design as a picture."""

from __future__ import annotations

from gabc.draw.picture import Look, Picture
from gabc.runtime.inspect import DesignSummary, UnitSummary


def unit_tree(summary: DesignSummary) -> Picture:
    """One node for each unit of the tree, with its settings and its parameters in all."""
    picture = Picture()

    def grow(unit: UnitSummary, parent: int | None) -> None:
        here = picture.add(_label(unit), Look.UNIT if unit.children else Look.LAYER)
        if parent is not None:
            picture.join(parent, here)
        for child in unit.children:
            grow(child, here)

    grow(summary.tree, None)
    return picture


def _label(unit: UnitSummary) -> str:
    copies = f" × {unit.copies}" if unit.copies > 1 else ""
    lines = [f"{unit.name}{copies}: {unit.unit}"]
    lines.extend(f"{name}={value}" for name, value in unit.given)
    if unit.parameters:
        lines.append(f"{unit.parameters:,} parameters")
    if unit.is_shared:
        lines.append("shared by all blocks")
    return "\n".join(lines)
