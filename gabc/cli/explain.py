"""`gabc explain`: what a code means, with a wrong and a right example."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gabc.cli.faults import InputFault
from gabc.cli.output import print_json
from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.explain import explain as explanation_of
from gabc.diagnostics.suggest import nearest

_PREFIX = "GAB"


def explain(
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE", help="`GAB0201` or `0201`; all codes if left out."),
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Explain a code: why it is an error, a wrong example with its message, and a right one."""
    if code is None:
        _list(as_document)
        return
    found = explanation_of(_code_named(code))
    entry = CATALOGUE[found.code]
    if as_document:
        print_json({**asdict(found), "severity": entry.severity, "phase": entry.phase})
    else:
        print(found.text, end="")


def _list(as_document: bool) -> None:
    entries = [CATALOGUE[code] for code in sorted(CATALOGUE)]
    if as_document:
        print_json([asdict(entry) for entry in entries])
        return
    for entry in entries:
        note = "" if entry.severity == "error" else f"  ({entry.severity})"
        print(f"{entry.code}  {entry.title}{note}")


def _code_named(text: str) -> str:
    """A code of the catalogue; its digits are enough. Raises `InputFault` with the nearest one."""
    upper = text.strip().upper()
    code = upper if upper.startswith(_PREFIX) else f"{_PREFIX}{upper.zfill(4)}"
    if code in CATALOGUE:
        return code
    near = nearest(code, CATALOGUE) or _by_title(text)
    hint = f"did you mean {near} ({CATALOGUE[near].title})? " if near else ""
    raise InputFault(f"there is no code {text}; {hint}`gabc explain` lists all of them")


def _by_title(text: str) -> str | None:
    """The code whose title is the text, or nearly."""
    titles = {entry.title: entry.code for entry in CATALOGUE.values()}
    near = text if text in titles else nearest(text, titles)
    return titles[near] if near else None
