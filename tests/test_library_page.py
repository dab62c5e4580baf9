"""docs/library.md: the standard library, unit by unit, generated from its own text.

Rewrite it with `pytest tests/test_library_page.py --update-golden`.
"""

from __future__ import annotations

from pathlib import Path

from gabc.elaborate.modules import parse_standard, standard_modules
from gabc.syntax import tree

PAGE = Path(__file__).parent.parent / "docs" / "library.md"


def library_page() -> str:
    """Every module of `std` with its units: how each is written, and what its comment says."""
    parts = [
        "# The standard library",
        "Generated from `stdlib_gaus/` (`pytest tests/test_library_page.py --update-golden`). "
        "Import a unit with `from std.norm import RMSNorm`. "
        "A hyperparameter with `=` may be left out.",
    ]
    for module in standard_modules():
        file, diagnostics = parse_standard(module)
        assert not diagnostics
        parts.append(f"## std.{module}")
        for unit in file.units:
            parts += [f"### {unit.name.id}", f"```gab\n{signature(unit)}\n```", described(unit.doc)]
        for function in file.functions:
            arguments = ", ".join(argument.span.text for argument in function.args)
            head = f"fn {function.name.id}({arguments})"
            parts += [
                f"### {function.name.id}",
                f"```gab\n{head}\n```",
                described(function.doc),
            ]
    return "\n\n".join(parts) + "\n"


def signature(unit: tree.Unit) -> str:
    """`RMSNorm(width: dim = D, eps: float = 1e-5)`, one hyperparameter a line if it is long."""
    hypers = [hyper.span.text for hyper in unit.hypers]
    short = f"{unit.name.id}({', '.join(hypers)})"
    if len(short) <= 100:
        return short
    return f"{unit.name.id}(\n" + "".join(f"    {hyper},\n" for hyper in hypers) + ")"


def described(doc: str) -> str:
    """The comment above a unit; indented equations stay as they are, line by line."""
    lines: list[str] = []
    in_equation = False
    for line in doc.splitlines():
        is_equation = line.startswith("    ")
        if is_equation is not in_equation:
            lines.append("")
        lines.append(line)
        in_equation = is_equation
    return "\n".join(lines)


def test_library_page_is_up_to_date(update_golden: bool) -> None:
    if update_golden:
        PAGE.write_text(library_page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == library_page()


def test_every_unit_says_its_shapes_and_source() -> None:
    for module in standard_modules():
        for unit in parse_standard(module)[0].units:
            assert "Shapes:" in unit.doc, unit.name.id
            assert "Source:" in unit.doc, unit.name.id
