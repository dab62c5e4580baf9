"""`gabc check`: what is wrong with a design. Only what is not proved is run, and only a little."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
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
    static: Annotated[
        bool,
        typer.Option(
            "--static",
            help="Run nothing: what is not proved is not tested, and what is refuted gets no "
            "witness. Needs no torch.",
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again whenever a file or an import changes.")
    ] = False,
) -> None:
    """Check designs: syntax, names, shapes at every scale, the flow of Z; prove them causal.

    A design that is not proved, and has no other error, is run on random sequences as well: they
    show a leak where it is one, and test what is neither proved nor refuted. That takes seconds.
    """
    scales = scales_named(scale)
    if (unsafe or diff) and not fix:
        raise InputFault("--unsafe and --diff say how --fix is to go; add --fix")
    if watch:
        if fix or STANDARD_INPUT in map(str, files):
            raise InputFault("--watch follows files that you edit; leave out --fix and `-`")
        watch_files(files, lambda: _check(files, scales, format, as_document, static))
    elif fix:
        _fix(files, scales, format, as_document, static, unsafe, diff)
    elif (status := _check(files, scales, format, as_document, static)) != CLEAN:
        raise typer.Exit(status)


def _check(
    files: Sequence[Path],
    scales: Sequence[Scale],
    format: Format,
    as_document: bool,
    static: bool,
) -> int:
    """Check the files, print what was found, and give the exit status.

    A file that cannot be read takes nothing from the others: it is reported with them.
    """
    reports: list[Report] = []
    unread: dict[str, str] = {}
    for path in files:
        try:
            reports.append(_report(path, scales, static))
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
    static: bool,
    unsafe: bool,
    diff: bool,
) -> None:
    """Fix the files and print what is left; with `diff` only what would change."""
    fixed = [fix_file(path, scales, unsafe=unsafe, diff=diff) for path in files]
    if not diff:
        reports = [_tested(file.report, file.folder, static) for file in fixed]
        print_reports(reports, format, as_document)
        is_clean = all(report.ok for report in reports)
    else:
        is_clean = not any(file.changed or not file.report.ok for file in fixed)
    if not is_clean:
        raise typer.Exit(DIAGNOSTICS)


def _report(path: Path, scales: Sequence[Scale], static: bool) -> Report:
    """The report of one file; a file that is no text of the language has one finding."""
    try:
        source, folder = load(path)
    except SourceError as error:
        return Report(error.diagnostic.span.source, (error.diagnostic,), {}, {})
    return _tested(check_source(source, scales=scales, folder=folder), folder, static)


def _tested(report: Report, folder: Path, static: bool) -> Report:
    """With what is not proved put to the test; without torch, and with `static`, as it is.

    What is open then stays a warning of its own, GAB0407.
    """
    is_proved = all(proofs.are_proved for proofs in report.proofs.values())
    if static or is_proved or find_spec("torch") is None:
        return report
    from gabc.runtime.confirmation import confirmed

    return confirmed(report, folder)
