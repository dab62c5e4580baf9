"""Printing, the same in every command: text for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from gabc.cli.faults import FoundErrors
from gabc.diagnostics.model import Diagnostic, Severity
from gabc.diagnostics.render import JsonDiagnostic, render_json, render_text
from gabc.diagnostics.select import select


def has_color(stream: TextIO) -> bool:
    """Color on a terminal, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_diagnostics(diagnostics: Sequence[Diagnostic], stream: TextIO) -> None:
    """The findings as text; nothing if there are none."""
    text = render_text(diagnostics, has_color(stream))
    if text:
        print(text, end="", file=stream)


def as_json(diagnostics: Sequence[Diagnostic]) -> list[JsonDiagnostic]:
    """Every finding that is no consequence of another, the first ones first."""
    chosen = select(diagnostics, limit=len(diagnostics))
    return [render_json(diagnostic) for diagnostic in chosen.shown]


def refuse_errors(diagnostics: Sequence[Diagnostic], as_document: bool) -> None:
    """Print what was found before a command goes on with its design; stop if there are errors.

    Findings go to standard error, so that output stays what it is; where `as_document`, errors are
    the document. Raises `FoundErrors`.
    """
    has_errors = any(d.severity is Severity.ERROR for d in diagnostics)
    if not as_document:
        print_diagnostics(diagnostics, sys.stderr)
    elif has_errors:
        print_json({"ok": False, "diagnostics": as_json(diagnostics)})
    if has_errors:
        raise FoundErrors
