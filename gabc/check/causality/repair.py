"""Fixes for faults of causality: each is applied and checked anew before it is offered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gabc.check.causality.explain import Blame, blames, diagnostic_of
from gabc.check.causality.rewrites import rewrites
from gabc.check.causality.verdict import Proofs
from gabc.check.causality.written import written
from gabc.diagnostics.fixes import apply_edits, helps
from gabc.diagnostics.model import Diagnostic, Fix
from gabc.syntax.source import Source, Span

MOST_TRIED = 24
"""Candidates of one file: each takes a whole check."""

MOST_TRIED_EACH = 8
"""Candidates for one finding."""

Check = Callable[[Source], Sequence[Diagnostic]]


def with_fixes(
    found: Sequence[Diagnostic], proofs: Iterable[Proofs], source: Source, check: Check
) -> list[Diagnostic]:
    """The findings, those of causality with the fix that repairs them, where the text tells one.

    A candidate is offered if, applied to the text of `source`, `check` no longer finds the fault,
    and nothing else that was not there. `check` finds what `found` has, and offers no fixes.
    """
    blamed: dict[tuple[str, str, int, int], Blame] = {}
    for at_scale in proofs:
        for blame in blames(at_scale.faults):
            blamed.setdefault(_key(diagnostic_of(blame).code, blame.span), blame)
    text = written(source)
    tried = 0
    result: list[Diagnostic] = []
    for diagnostic in found:
        at = blamed.get(_key(diagnostic.code, diagnostic.span))
        fix: Fix | None = None
        if at is not None and diagnostic.span.source.path == source.path:
            for number, candidate in enumerate(rewrites(at, text)):
                if number == MOST_TRIED_EACH or tried == MOST_TRIED:
                    break
                tried += 1
                changed = Source(source.path, apply_edits(source.text, candidate.edits))
                if helps(diagnostic, found, check(changed)):
                    fix = candidate
                    break
        result.append(diagnostic if fix is None else replace(diagnostic, fixes=(fix,)))
    return result


def _key(code: str, span: Span) -> tuple[str, str, int, int]:
    return code, span.source.path, span.start, span.end
