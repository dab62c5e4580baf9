"""Faults of what a user gave, and the exit statuses of every command."""

from __future__ import annotations

from pathlib import Path

CLEAN = 0
DIAGNOSTICS = 1
USAGE = 2
INTERNAL = 3


class InputFault(Exception):
    """Something given cannot be used; the message is one sentence with the place and the repair."""


class FoundErrors(Exception):
    """A design has errors, and they have been printed."""


def os_fault(path: Path | str, error: OSError, doing: str) -> InputFault:
    """`cannot read x.gab: permission denied`, in place of Python's own wording."""
    reason = (error.strerror or str(error)).lower()
    return InputFault(f"cannot {doing} {path}: {reason}")
