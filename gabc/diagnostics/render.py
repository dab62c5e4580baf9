"""Prints diagnostics: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.model import Applicability, Diagnostic, Fix, Severity
from gabc.diagnostics.select import Selection, select
from gabc.diagnostics.snippet import Mark, Row, diff, excerpt
from gabc.syntax.source import Span

__all__ = ["explain_line", "render_json", "render_text", "select"]

_RESET = "\x1b[0m"
_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "title": "\x1b[1m",
    "gutter": "\x1b[1;34m",
    "note": "\x1b[1;36m",
    "-": "\x1b[31m",
    "+": "\x1b[32m",
}
_SURE = {
    Applicability.MACHINE: "fix",
    Applicability.MAYBE: "perhaps",
    Applicability.PLACEHOLDER: "fill in",
}


class JsonSpan(TypedDict):
    """Byte offsets into the UTF-8 text, and lines and columns (in characters) from 1."""

    path: str
    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int


class JsonNote(TypedDict):
    span: JsonSpan
    text: str


class JsonFix(TypedDict):
    title: str
    applicability: str
    edits: list[JsonNote]


class JsonDiagnostic(TypedDict):
    """One diagnostic, after rustc's JSON and SARIF 2.1.0."""

    code: str
    severity: str
    phase: str
    message: str
    span: JsonSpan
    label: str
    help: str
    related: list[JsonNote]
    expected: str
    actual: str
    facts: dict[str, str]
    fixes: list[JsonFix]
    explain: str
    fingerprint: str


def explain_line(code: str) -> str:
    """The one line that says what a code is about; the long text belongs to `gabc explain`."""
    return f"{code}: {CATALOGUE[code].title}"


def render_json(diagnostic: Diagnostic) -> JsonDiagnostic:
    """One diagnostic as a JSON object."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "phase": diagnostic.phase,
        "message": diagnostic.message,
        "span": _json_span(diagnostic.span),
        "label": diagnostic.label,
        "help": diagnostic.help,
        "related": [{"span": _json_span(r.span), "text": r.text} for r in diagnostic.related],
        "expected": diagnostic.expected,
        "actual": diagnostic.actual,
        "facts": dict(diagnostic.facts),
        "fixes": [_json_fix(fix) for fix in diagnostic.fixes],
        "explain": explain_line(diagnostic.code),
        "fingerprint": diagnostic.fingerprint,
    }


def _json_span(span: Span) -> JsonSpan:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "path": span.source.path,
        "start": span.source.byte_offset(span.start),
        "end": span.source.byte_offset(span.end),
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _json_fix(fix: Fix) -> JsonFix:
    return {
        "title": fix.title,
        "applicability": fix.applicability.value,
        "edits": [{"span": _json_span(edit.span), "text": edit.text} for edit in fix.edits],
    }


def render_text(diagnostics: Iterable[Diagnostic], color: bool, limit: int = 10) -> str:
    """The findings worth showing, with their source lines, and a last line that counts them all.

    An empty string if there are none.
    """
    selection = select(diagnostics, limit)
    if not selection.shown:
        return ""
    printer = _Printer(color)
    parts = [printer.diagnostic(diagnostic) for diagnostic in selection.shown]
    return "\n\n".join([*parts, printer.summary(selection)]) + "\n"


class _Printer:
    def __init__(self, color: bool) -> None:
        self._color = color

    def _styled(self, text: str, style: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if self._color and text else text

    def diagnostic(self, diagnostic: Diagnostic) -> str:
        severity = diagnostic.severity.value
        sections = self._places(diagnostic)
        shown = {row.number for _, _, section in sections for row in section}
        fixes = [(fix, _changes(fix, shown)) for fix in diagnostic.fixes]
        rows = [row for _, _, rows in sections for row in rows]
        rows += [row for _, rows in fixes for row in rows]
        width = len(str(max((row.number for row in rows), default=1)))
        heading = self._styled(f"{severity}[{diagnostic.code}]", severity)
        lines = [f"{heading}{self._styled(f': {diagnostic.message}', 'title')}"]
        for span, title, section in sections:
            if title:
                lines.append(self._note(width, "note", title))
            arrow = self._styled(f"{' ' * width}-->", "gutter")
            lines.append(f"{arrow} {span}")
            lines.append(self._styled(f"{' ' * width} |", "gutter"))
            lines += [self._row(row, width, severity) for row in section]
        lines += [self._note(width, *note) for note in _notes(diagnostic)]
        for fix, section in fixes:
            lines.append(self._note(width, _SURE[fix.applicability], fix.title))
            lines += [self._row(row, width, severity) for row in section]
        return "\n".join(lines)

    def _places(self, diagnostic: Diagnostic) -> list[tuple[Span, str, list[Row]]]:
        """The primary excerpt with the related places of its file; others on their own."""
        source = diagnostic.span.source
        marks = [Mark(diagnostic.span, diagnostic.label, True)]
        elsewhere = []
        for related in diagnostic.related:
            mark = Mark(related.span, related.text, False)
            if related.span.source is source:
                marks.append(mark)
            else:
                rows = excerpt(related.span.source, [Mark(related.span, "", False)])
                elsewhere.append((related.span, related.text, rows))
        return [(diagnostic.span, "", excerpt(source, marks)), *elsewhere]

    def _row(self, row: Row, width: int, severity: str) -> str:
        number = str(row.number) if row.number else ""
        if row.sign == ".":
            return self._styled("." * max(3, width), "gutter")
        if row.sign in "+-" and row.number:
            sign = self._styled(f"{row.sign} {row.text}".rstrip(), row.sign)
            return f"{self._styled(number.rjust(width), 'gutter')} {sign}"
        gutter = self._styled(f"{number.rjust(width)} |", "gutter")
        style = {"^": severity, "-": "gutter"}.get(row.sign)
        text = self._styled(row.text, style) if style else row.text
        return f"{gutter} {text}".rstrip()

    def _note(self, width: int, kind: str, text: str) -> str:
        indent = f"\n{' ' * (width + len(kind) + 5)}"
        equals = self._styled("=", "gutter")
        return f"{' ' * (width + 1)}{equals} {self._styled(f'{kind}:', 'note')} " + indent.join(
            text.splitlines()
        )

    def summary(self, selection: Selection) -> str:
        counts = []
        if selection.errors:
            counts.append(self._styled(_count(selection.errors, "error"), Severity.ERROR.value))
        if selection.warnings:
            counts.append(self._styled(_count(selection.warnings, "warning"), "warning"))
        hidden = f" ({selection.hidden} not shown)" if selection.hidden else ""
        return f"{' and '.join(counts)}{hidden}"


def _changes(fix: Fix, shown: set[int]) -> list[Row]:
    """The diff of a fix; a line replaced by one line is not printed again if it is `shown`."""
    rows = [row for row in diff(fix.edits[0].span.source, fix.edits) if row.text or row.sign == "-"]
    if [row.sign for row in rows] == ["-", "+"] and rows[0].number in shown:
        return rows[1:]
    return rows


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _notes(diagnostic: Diagnostic) -> list[tuple[str, str]]:
    """What the message and the label have not said already."""
    said = f"{diagnostic.message} {diagnostic.label}"
    notes = []
    if diagnostic.expected and diagnostic.expected not in said:
        notes.append(("expected", diagnostic.expected))
    if diagnostic.actual and diagnostic.actual not in said:
        notes.append(("  actual" if notes else "actual", diagnostic.actual))
    if diagnostic.facts and diagnostic.phase not in ("limits", "syntax"):
        notes.append(("where", ", ".join(f"{name} = {value}" for name, value in diagnostic.facts)))
    if diagnostic.help:
        notes.append(("help", diagnostic.help))
    return notes
