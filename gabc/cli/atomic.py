"""Writing over a file that someone has written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from gabc.cli.faults import os_fault


def replace_text(path: Path, text: str) -> None:
    """Put `text` in place of a file's content: all of it or none, its permissions kept.

    A link stays, and what it points to is rewritten.

    Raises:
        InputFault: the file or its folder cannot be written.
    """
    place = path.resolve()
    try:
        handle, staged = tempfile.mkstemp(prefix=".gabc-", dir=place.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(staged, place.stat().st_mode & 0o7777)
            os.replace(staged, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
            raise
    except OSError as error:
        raise os_fault(path, error, "write") from error
