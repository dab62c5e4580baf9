"""The page of all diagnostics, `docs/errors.md`."""

from __future__ import annotations

from itertools import groupby

from gabc.diagnostics.catalogue import CATALOGUE, Code
from gabc.diagnostics.explain import explain

_HEAD = """\
# Errors and warnings

<!-- Generated from gabc/diagnostics/explanations: pytest tests/test_explain.py --update-golden -->

Every finding of `gabc check` has a code that is never used for anything else. `gabc explain CODE`
prints the section about it.
"""
_FAMILIES = {
    "syntax": "Syntax",
    "names": "Names",
    "shapes": "Shapes",
    "z": "Z",
    "causality": "Causality, length and batch",
    "parameters": "Parameters and initial values",
    "numerics": "Kernels and numerics",
    "limits": "Cost and limits",
    "internal": "Internal",
}


def error_index() -> str:
    """All explanations in the order of their codes, with a table of contents."""
    families = [(name, list(codes)) for name, codes in groupby(_codes(), lambda c: c.phase)]
    contents = [_contents(_FAMILIES[name], codes) for name, codes in families]
    sections = [_section(_FAMILIES[name], codes) for name, codes in families]
    return "\n".join([_HEAD, *contents, *sections]).rstrip("\n") + "\n"


def _codes() -> list[Code]:
    return [CATALOGUE[code] for code in sorted(CATALOGUE)]


def _contents(family: str, codes: list[Code]) -> str:
    rows = [f"| [{c.code}](#{c.code.lower()}) | {c.title} | {c.severity} |" for c in codes]
    return "\n".join([f"**{family}**\n", "| code | title | severity |", "|---|---|---|", *rows, ""])


def _section(family: str, codes: list[Code]) -> str:
    """The explanations of a family, their headings one level down."""
    parts = [f"## {family}\n"]
    for code in codes:
        text = explain(code.code).text
        body = text.partition("\n")[2].replace("\n## ", "\n#### ")
        parts.append(f'<a id="{code.code.lower()}"></a>\n\n### {code.code}: {code.title}\n{body}')
    return "\n".join(parts)
