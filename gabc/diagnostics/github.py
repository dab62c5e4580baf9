"""Diagnostics as workflow commands, which GitHub shows beside the lines of a pull request.

The form is that of GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.model import Diagnostic


def render_github(diagnostic: Diagnostic) -> str:
    """One `::error ...::message` line, without its newline."""
    span = diagnostic.span
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    places = {"file": span.source.path, "line": str(line)}
    if end_line == line:
        # Columns are valid within one line only; the last one belongs to what is marked.
        places["col"] = str(column)
        places["endColumn"] = str(max(column, end_column - 1))
    else:
        places["endLine"] = str(end_line)
    places["title"] = f"{diagnostic.code}: {CATALOGUE[diagnostic.code].title}"
    properties = ",".join(f"{name}={_property(value)}" for name, value in places.items())
    text = f"{diagnostic.message}\n{diagnostic.help}".rstrip("\n")
    return f"::{diagnostic.severity.value} {properties}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
