"""The difference of two texts."""

from __future__ import annotations

import difflib

from gabc.syntax.source import Source


def unified_diff(source: Source, text: str) -> str:
    """What would change in a file whose text becomes `text`, as `diff -u` prints it."""
    before = source.text.splitlines(keepends=True)
    after = text.splitlines(keepends=True)
    rows = difflib.unified_diff(before, after, source.path, source.path)
    return "".join(row if row.endswith("\n") else f"{row}\n" for row in rows)
