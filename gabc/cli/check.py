"""`gabc check`: what is wrong with a design, without running it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gabc.check.report import Report
from gabc.check.report import check as check_source
from gabc.cli.faults import CLEAN, DIAGNOSTICS, USAGE, InputFault
from gabc.cli.files import STANDARD_INPUT, load
from gabc.cli.fix import fix_file
from gabc.cli.report_formats import Format, print_reports
from gabc.cli.scales import scales_named
from gabc.cli.watch import watch as watch_files
from gabc.graph.instance import Scale
from gabc.syntax.read import SourceError


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Designs; `-` is standard input.")
    ],
    scale: Annotated[
        str,
        typer.Option(metavar="S,...", help="Scales to check at: `14M,125M`, `64x2`, or `all`."),
    ] = "14M",
    format: Annotated[
        Format,
        typer.Option(
            help="`json` prints one diagnostic per line, `sarif` one SARIF 2.1.0 log, `github` "
            "workflow commands."
        ),
    ] = Format.TEXT,
    as_document: Annotated[
        bool, typer.Option("--json", help="Print one JSON document for all files.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Apply the fixes that are sure, each checked before.")
    ] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="With --fix: also those that may be right.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="With --fix: print the change, write nothing.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again whenever a file or an import changes.")
    ] = False,
) -> None:
    """Check designs: syntax, names, shapes at every scale, the flow of Z; prove them causal."""
    scales = scales_named(scale)
    if (unsafe or diff) and not fix:
        raise InputFault("--unsafe and --diff say how --fix is to go; add --fix")
    if watch:
        if fix or STANDARD_INPUT in map(str, files):
            raise InputFault("--watch follows files that you edit; leave out --fix and `-`")
        watch_files(files, lambda: _check(files, scales, format, as_document))
    elif fix:
        _fix(files, scales, format, as_document, unsafe, diff)
    elif (status := _check(files, scales, format, as_document)) != CLEAN:
        raise typer.Exit(status)


def _check(
    files: Sequence[Path], scales: Sequence[Scale], format: Format, as_document: bool
) -> int:
    """Check the files, print what was found, and give the exit status.

    A file that cannot be read takes nothing from the others: it is reported with them.
    """
    reports: list[Report] = []
    unread: dict[str, str] = {}
    for path in files:
        try:
            reports.append(_report(path, scales))
        except InputFault as fault:
            unread[str(path)] = str(fault)
    print_reports(reports, format, as_document, unread)
    for message in unread.values():
        print(f"gabc: {message}", file=sys.stderr)
    if unread:
        return USAGE
    return CLEAN if all(report.ok for report in reports) else DIAGNOSTICS


def _fix(
    files: Sequence[Path],
    scales: Sequence[Scale],
    format: Format,
    as_document: bool,
    unsafe: bool,
    diff: bool,
) -> None:
    """Fix the files and print what is left; with `diff` only what would change."""
    fixed = [fix_file(path, scales, unsafe=unsafe, diff=diff) for path in files]
    if not diff:
        print_reports([file.report for file in fixed], format, as_document)
    if not all(file.report.ok for file in fixed) or (diff and any(file.changed for file in fixed)):
        raise typer.Exit(DIAGNOSTICS)


def _report(path: Path, scales: Sequence[Scale]) -> Report:
    """The report of one file; a file that is no text of the language has one finding."""
    try:
        source, folder = load(path)
    except SourceError as error:
        return Report(error.diagnostic.span.source, (error.diagnostic,), {}, {})
    return check_source(source, scales=scales, folder=folder)
