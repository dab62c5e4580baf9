"""Chooses what to show of many findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gabc.diagnostics.model import Diagnostic, Severity

# The order in which the phases run: what fails in one may be the cause of what fails later.
_PHASES = (
    *("syntax", "names", "limits", "shapes", "z", "causality", "parameters", "numerics"),
    "internal",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """`shown`, in order; how many more there are, and how many were errors and warnings in all."""

    shown: tuple[Diagnostic, ...]
    hidden: int
    errors: int
    warnings: int


def select(diagnostics: Iterable[Diagnostic], limit: int = 10) -> Selection:
    """Errors before warnings, causes before consequences, at most `limit`, in a fixed order.

    Left out as consequences: a finding at a place where an earlier phase found an error, and the
    warnings about a file whose syntax is wrong (what is unused there may be used by what did not
    parse). A message that was given before for another place comes after all first ones.
    """
    roots = _without_consequences(sorted(dict.fromkeys(diagnostics), key=_order))
    seen: set[tuple[str, str]] = set()
    first: list[Diagnostic] = []
    again: list[Diagnostic] = []
    for diagnostic in roots:
        key = (diagnostic.code, diagnostic.message)
        (again if key in seen else first).append(diagnostic)
        seen.add(key)
    ordered = sorted([*first, *again], key=lambda d: d.severity is Severity.WARNING)
    errors = sum(d.severity is Severity.ERROR for d in roots)
    shown = tuple(ordered[:limit])
    return Selection(shown, len(roots) - len(shown), errors, len(roots) - errors)


def _order(diagnostic: Diagnostic) -> tuple[int, str, int, int, str, str]:
    span = diagnostic.span
    return (
        _PHASES.index(diagnostic.phase),
        span.source.path,
        span.start,
        span.end,
        diagnostic.code,
        diagnostic.message,
    )


def _without_consequences(ordered: Sequence[Diagnostic]) -> list[Diagnostic]:
    errors: dict[str, list[Diagnostic]] = {}
    broken: set[str] = set()
    kept = []
    for diagnostic in ordered:
        path = diagnostic.span.source.path
        if any(_causes(error, diagnostic) for error in errors.get(path, ())):
            continue
        if diagnostic.severity is Severity.WARNING and path in broken:
            continue
        kept.append(diagnostic)
        if diagnostic.severity is Severity.ERROR:
            errors.setdefault(path, []).append(diagnostic)
            if diagnostic.phase == "syntax":
                broken.add(path)
    return kept


def _causes(error: Diagnostic, other: Diagnostic) -> bool:
    """Whether an error of an earlier phase stands at the place of `other`."""
    a, b = error.span, other.span
    return error.phase != other.phase and a.start < b.end and b.start < a.end
