"""`gabc check --fix`: findings that are repaired where that is sure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gabc.check.report import Report, check
from gabc.cli.atomic import replace_text
from gabc.cli.faults import InputFault
from gabc.cli.files import STANDARD_INPUT, load
from gabc.cli.text_diff import unified_diff
from gabc.diagnostics.fixes import Fixed, apply_fixes
from gabc.graph.instance import Scale
from gabc.syntax.source import Source


@dataclass(frozen=True, slots=True)
class FixedFile:
    """A file after its fixes: what is left to say of it, and whether its text changed."""

    report: Report
    folder: Path
    changed: bool


def fix_file(path: Path, scales: Sequence[Scale], *, unsafe: bool, diff: bool) -> FixedFile:
    """Apply the fixes of one file, with `unsafe` also those that may be right.

    With `diff` the change is printed and nothing is written. What was applied, and what was not
    because it would not have helped, is said on standard error.

    Raises:
        InputFault: the file cannot be read or written, or is standard input and not only shown.
        SourceError: it is no text of the language.
    """
    if str(path) == STANDARD_INPUT and not diff:
        raise InputFault(
            "--fix rewrites files; of standard input it can show the change: add --diff"
        )
    source, folder = load(path)

    def report_of(text: Source) -> Report:
        return check(text, scales=scales, folder=folder)

    fixed = apply_fixes(source, lambda text: report_of(text).diagnostics, unsafe)
    changed = fixed.text != source.text
    if changed and diff:
        print(unified_diff(source, fixed.text), end="")
    elif changed:
        replace_text(path, fixed.text)
    _tell(source, fixed)
    return FixedFile(report_of(Source(source.path, fixed.text)), folder, changed)


def _tell(source: Source, fixed: Fixed) -> None:
    for diagnostic, fix in fixed.applied:
        print(f"{diagnostic.span}: {diagnostic.code}: {fix.title}", file=sys.stderr)
    for diagnostic, fix in fixed.refused:
        reason = "not applied, since its finding stays or others come"
        print(f"{diagnostic.span}: {diagnostic.code}: {fix.title}: {reason}", file=sys.stderr)
    count = len(fixed.applied)
    print(f"{source.path}: {count} {'fix' if count == 1 else 'fixes'}", file=sys.stderr)
