"""Design files as commands are given them."""

from __future__ import annotations

import sys
from pathlib import Path

from gabc.cli.faults import InputFault, os_fault
from gabc.diagnostics.suggest import nearest
from gabc.syntax.limits import MAX_FILE_BYTES
from gabc.syntax.read import read_source, source_of
from gabc.syntax.source import Source

STANDARD_INPUT = "-"


def load(path: Path) -> tuple[Source, Path]:
    """A design's text and the folder of its siblings; `-` is standard input.

    Raises:
        InputFault: there is no such file, it is no regular one, or it cannot be read.
        SourceError: it is not UTF-8, or too large.
    """
    if str(path) == STANDARD_INPUT:
        return source_of("<stdin>", sys.stdin.buffer.read(MAX_FILE_BYTES + 1)), Path()
    if path.is_dir():
        raise InputFault(f"{path} is a folder; name a .gab file{_for_example(path)}")
    try:
        # A pipe or a device may never end.
        if path.exists() and not path.is_file():
            raise InputFault(f"{path} is not a regular file; `-` reads standard input")
        return read_source(path), path.parent
    except FileNotFoundError:
        raise InputFault(f"there is no file {path}{_did_you_mean(path)}") from None
    except OSError as error:
        raise os_fault(path, error, "read") from error


def _for_example(folder: Path) -> str:
    found = sorted(folder.glob("*.gab"))
    return f", for example {found[0]}" if found else ""


def _did_you_mean(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    near = nearest(path.name, [found.name for found in path.parent.glob("*.gab")])
    return f"; did you mean {path.parent / near}?" if near else ""
