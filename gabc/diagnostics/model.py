"""Diagnostics: what the compiler says of a design, as data.

The record follows rustc's JSON and SARIF 2.1.0. Nothing here prints; `render` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from gabc.diagnostics.catalogue import CATALOGUE
from gabc.syntax.source import Span

MAX_ERRORS = 100
"""Errors of one check that are looked for; a text with more of them is hardly a design."""
MAX_EXCERPT = 120
"""Characters of one name or piece of source inside a message."""
MAX_TEXT = 1_000
"""Characters of a message."""
_EXCERPT = re.compile(rf"`([^`]{{{MAX_EXCERPT + 1},}})`")


def cut(text: str) -> str:
    """A text for a message, with long excerpts of source, and the whole, cut and ended by `...`."""
    if len(text) <= MAX_EXCERPT:
        return text
    text = _EXCERPT.sub(lambda match: f"`{match[1][: MAX_EXCERPT - 3]}...`", text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


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

    def __post_init__(self) -> None:
        # What is said quotes the design, and a design may hold an expression of any length.
        for name in ("message", "label", "help", "expected", "actual"):
            object.__setattr__(self, name, cut(getattr(self, name)))

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


class TooManyErrors(Exception):
    """More errors than are looked for: the last finding says so, and the check ends."""


def too_many_errors(span: Span) -> Diagnostic:
    """The finding at the place of the first error that is not reported."""
    return Diagnostic(
        "GAB0701",
        f"more than {MAX_ERRORS} errors: the rest is not looked for",
        span,
        label="the next one",
        help="mend those above, then check again",
        facts=(("limit", str(MAX_ERRORS)),),
    )


@dataclass
class Diagnostics:
    """Collects findings; the same code at the same place is kept once.

    Where it is `bounded`, the first error past `MAX_ERRORS` ends it: `add` then raises
    `TooManyErrors`, and nothing is kept that comes later.
    """

    found: list[Diagnostic] = field(default_factory=list)
    bounded: bool = False
    _errors: int = 0
    _seen: set[tuple[str, str, int, int]] = field(default_factory=set)

    def add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        key = (diagnostic.code, span.source.path, span.start, span.end)
        if key in self._seen or self._errors > MAX_ERRORS:
            return
        self._seen.add(key)
        if self.bounded and diagnostic.severity is Severity.ERROR:
            self._errors += 1
            if self._errors > MAX_ERRORS:
                self.found.append(too_many_errors(diagnostic.span))
                raise TooManyErrors
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
