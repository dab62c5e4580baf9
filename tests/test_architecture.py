"""The way through the code has one direction: a folder imports only from folders to its left."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gabc"

# `runtime` builds what `codegen` wrote, `evaluate` reads what `train` wrote; `cli` sees all.
ORDER = (
    "syntax",
    "diagnostics",
    "dims",
    "graph",
    "dependence",
    "ops",
    "elaborate",
    "recurrences",
    "passes",
    "check",
    "codegen",
    "runtime",
    "data",
    "train",
    "evaluate",
    "draw",
    "api",
    "cli",
)

# `syntax` and `diagnostics` are one stage: a finding has a place, and a parser has findings.
ALLOWED = {("syntax", "diagnostics")}

EXCEPTIONS = {
    # The name `gabc.check` is the package and the function of the API at once.
    ("check/__init__.py", "api"),
    # The functions that generated code calls; of the rest of `runtime` nothing is imported.
    ("codegen/helpers.py", "runtime"),
}


def imports(path: Path) -> Iterator[str]:
    """The gabc folders a file imports, those under TYPE_CHECKING and in functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "gabc" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("folder", ORDER)
def test_imports_point_left(folder: str) -> None:
    place = PACKAGE / folder
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    wrong = [
        f"{file.relative_to(PACKAGE)} imports gabc.{target}"
        for file in files
        if file.exists()
        for target in imports(file)
        if target in ORDER
        and ORDER.index(target) > ORDER.index(folder)
        and (folder, target) not in ALLOWED
        and (str(file.relative_to(PACKAGE)), target) not in EXCEPTIONS
    ]
    assert wrong == []


def test_every_folder_has_its_place() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert folders <= set(ORDER)


def test_nothing_of_the_compiler_imports_torch_when_it_is_imported() -> None:
    torch_free = ORDER[: ORDER.index("codegen") + 1]
    for folder in torch_free:
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Import):
                    assert all(alias.name.split(".")[0] != "torch" for alias in node.names), file
                elif isinstance(node, ast.ImportFrom) and node.module:
                    assert node.module.split(".")[0] != "torch", file
