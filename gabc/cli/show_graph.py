"""`gabc show --graph` and `--graph-tree`: pictures of a design."""

from __future__ import annotations

from pathlib import Path

from gabc.cli.faults import InputFault, os_fault
from gabc.draw.data_flow import data_flow
from gabc.draw.picture import Picture
from gabc.draw.svg import DrawingError, svg
from gabc.draw.unit_tree import unit_tree
from gabc.graph.instance import Stack
from gabc.runtime.inspect import DesignSummary


def draw_flow(stack: Stack, depth: int, path: Path) -> None:
    """The data flow of a block as an SVG file. Raises `InputFault`."""
    _write(data_flow(stack, depth), path, is_wide=False)


def draw_tree(summary: DesignSummary, path: Path) -> None:
    """The units of a design as an SVG file. Raises `InputFault`."""
    _write(unit_tree(summary), path, is_wide=True)


def _write(picture: Picture, path: Path, is_wide: bool) -> None:
    if path.suffix.lower() != ".svg":
        raise InputFault(f"pictures are SVG; name a file that ends in .svg, not {path}")
    try:
        path.write_text(svg(picture, is_wide=is_wide), encoding="utf-8")
    except DrawingError as error:
        raise InputFault(str(error)) from None
    except OSError as error:
        raise os_fault(path, error, "write") from error
