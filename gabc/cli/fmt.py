"""`gabc fmt`: designs in their one layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.atomic import replace_text
from gabc.cli.faults import DIAGNOSTICS
from gabc.cli.files import STANDARD_INPUT, load
from gabc.cli.output import print_diagnostics
from gabc.cli.text_diff import unified_diff


def fmt(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Designs; `-` is standard input, printed again."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; name the files that would change.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; print what would change.")
    ] = False,
) -> None:
    """Rewrite designs in the one layout of the language; a file with syntax errors stays as it is.

    Exit status 1 if a file has syntax errors, or would change under `--check` or `--diff`.
    """
    statuses = [_format(path, check, diff) for path in files]
    if not all(statuses):
        raise typer.Exit(DIAGNOSTICS)


def _format(path: Path, check: bool, diff: bool) -> bool:
    """Format one file; whether all is well with it."""
    from gabc.syntax.format.source import FormatError, format_source

    source, _ = load(path)
    try:
        formatted = format_source(source.text, source.path)
    except FormatError as error:
        print_diagnostics(error.diagnostics, sys.stderr)
        return False
    changed = formatted != source.text
    if check or diff:
        if changed and diff:
            print(unified_diff(source, formatted), end="")
        if changed and check:
            print(f"{source.path} would be reformatted", file=sys.stderr)
        return not changed
    if str(path) == STANDARD_INPUT:
        print(formatted, end="")
    elif changed:
        replace_text(path, formatted)
        print(f"{source.path} reformatted", file=sys.stderr)
    return True
