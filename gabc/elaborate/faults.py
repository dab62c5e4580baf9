"""What a refused piece of a design raises, and the fix that writes something else."""

from __future__ import annotations

from gabc.diagnostics.model import Applicability, Edit, Fix
from gabc.syntax.source import Span


class SilentError(Exception):
    """Something already reported: unwinds to the statement without another message."""


def replace(span: Span, text: str | None) -> tuple[Fix, ...]:
    """The fix that writes `text` instead, if there is one."""
    if text is None:
        return ()
    return (Fix(f"write `{text}`", (Edit(span, text),), Applicability.MAYBE),)
