"""Diagnostics: what the compiler says of a design, as data.

The record follows rustc's JSON and SARIF 2.1.0. Nothing here prints; `render` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from gabc.diagnostics.catalogue import CATALOGUE
from gabc.syntax.source import Span


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


class Applicability(Enum):
    """How sure a fix is: `MACHINE` may be applied unseen, `PLACEHOLDER` needs filling in."""

    MACHINE = "machine"
    MAYBE = "maybe"
    PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text of `span` by `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    title: str
    edits: tuple[Edit, ...]
    applicability: Applicability = Applicability.MACHINE


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that explains the first."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `message` is one sentence that stands alone; `help` says what to do."""

    code: str
    message: str
    span: Span
    label: str = ""
    help: str = ""
    expected: str = ""
    actual: str = ""
    related: tuple[Related, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    fixes: tuple[Fix, ...] = ()

    @property
    def severity(self) -> Severity:
        return Severity(CATALOGUE[self.code].severity)

    @property
    def phase(self) -> str:
        return CATALOGUE[self.code].phase

    @property
    def fingerprint(self) -> str:
        """Equal for the same finding at another line, so that a repair loop knows it again."""
        text = "\0".join((self.code, self.message, self.span.text))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Diagnostics:
    """Collects findings; the same code at the same place is kept once."""

    found: list[Diagnostic] = field(default_factory=list)
    _seen: set[tuple[str, str, int, int]] = field(default_factory=set)

    def add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        key = (diagnostic.code, span.source.path, span.start, span.end)
        if key not in self._seen:
            self._seen.add(key)
            self.found.append(diagnostic)

    def knows(self, code: str, span: Span) -> bool:
        """Whether this was found here already."""
        return (code, span.source.path, span.start, span.end) in self._seen

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.add(diagnostic)

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self.found)

    def has_errors_since(self, count: int) -> bool:
        """Whether an error was added after the first `count` findings."""
        return any(d.severity is Severity.ERROR for d in self.found[count:])
