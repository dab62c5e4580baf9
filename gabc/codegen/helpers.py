"""The functions that generated modules call: imported, or pasted with all they need."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gabc.runtime
from gabc.codegen.layout import WIDTH

PACKAGE = "gabc.runtime.functional"

KERNELS = {"rms_norm": "gabc.kernels.rms_norm"}
"""Helpers that have a kernel, and its module; text that stands alone uses the plain function."""

FUSED_KERNELS = KERNELS | {
    "causal_conv": "gabc.kernels.short_conv",
    "delta_rule": "gabc.kernels.delta_rule",
    "delta_rule_state": "gabc.kernels.delta_rule",
    "linear_attention": "gabc.kernels.linear_attention",
    "linear_attention_state": "gabc.kernels.linear_attention",
    "linear_scan": "gabc.kernels.linear_scan",
    "max_plus_scan": "gabc.kernels.max_plus_scan",
}
"""As `KERNELS`, of modules for Triton: on a CPU these run their references, which are slower than
the plain functions."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A top-level definition of the package: its module, its text and the names it uses."""

    name: str
    module: str
    line: int
    text: str
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Library:
    """Every definition by name, and per module the import statement that binds each other name."""

    helpers: Mapping[str, Helper]
    imports: Mapping[str, Mapping[str, str]]


@cache
def library() -> Library:
    """The package's source, parsed (importing it would import torch)."""
    helpers: dict[str, Helper] = {}
    imports: dict[str, dict[str, str]] = {}
    folder = Path(str(gabc.runtime.__file__)).parent / "functional"
    for path in sorted(folder.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        imports[path.stem] = {}
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports[path.stem].update(_imported(node))
            for name in _defined(node):
                if name in helpers:
                    raise ValueError(f"{name} is defined in {helpers[name].module} and {path.stem}")
                text = _with_decorators(source, node)
                helpers[name] = Helper(name, path.stem, node.lineno, text, _names(node))
    return Library(helpers, imports)


def import_lines(names: Iterable[str], *, is_fused: bool = False) -> list[str]:
    """`from gabc.runtime.functional.attention import attend`, one statement a module."""
    kernels = FUSED_KERNELS if is_fused else KERNELS
    modules: dict[str, list[str]] = {}
    for name in sorted(names):
        module = kernels.get(name, f"{PACKAGE}.{library().helpers[name].module}")
        modules.setdefault(module, []).append(name)
    lines = []
    for module in sorted(modules):
        statement = f"from {module} import {', '.join(modules[module])}"
        if len(statement) <= WIDTH:
            lines.append(statement)
        else:
            lines += [f"from {module} import (", *(f"    {n}," for n in modules[module]), ")"]
    return lines


def pasted(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The import statements and the texts of the helpers and of all they use, in a fixed order."""
    found: dict[str, Helper] = {}
    queue = sorted(names)
    while queue:
        helper = library().helpers[queue.pop()]
        if helper.name not in found:
            found[helper.name] = helper
            queue += sorted(name for name in helper.uses if name in library().helpers)
    ordered = sorted(found.values(), key=lambda helper: (helper.module, helper.line))
    imports = {
        statement
        for helper in ordered
        for name, statement in library().imports[helper.module].items()
        if name in helper.uses and PACKAGE not in statement
    }
    return sorted(imports), [helper.text for helper in ordered]


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Each bound name with a statement that binds it alone."""
    bound = {}
    for alias in node.names:
        renamed = f" as {alias.asname}" if alias.asname else ""
        what = f"import {alias.name}{renamed}"
        statement = f"from {node.module} {what}" if isinstance(node, ast.ImportFrom) else what
        bound[alias.asname or alias.name.split(".")[0]] = statement
    return bound


def _names(node: ast.stmt) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _with_decorators(source: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
