"""The text of the standard library and of the designs: it parses, and every unit is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from gabc.syntax.parse import parse
from gabc.syntax.source import Source

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "stdlib_gaus").glob("*.gab"))
DESIGNS = sorted((ROOT / "examples").glob("*.gab"))


@pytest.mark.parametrize("path", LIBRARY + DESIGNS, ids=lambda path: path.name)
def test_parses_without_diagnostics(path: Path) -> None:
    file, found = parse(Source(path.name, path.read_text()))
    assert not found
    assert (file.design is not None) == (path in DESIGNS)
    assert file.units


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name)
def test_every_unit_states_its_shapes_and_its_source(path: Path) -> None:
    file, _ = parse(Source(path.name, path.read_text()))
    for unit in file.units:
        assert "Shapes:" in unit.doc, unit.name.id
        assert "Source:" in unit.doc, unit.name.id
