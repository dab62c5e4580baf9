"""Where data lies on this machine: the folder DATA_DIR names, and the folders beside it."""

from __future__ import annotations

import os
from pathlib import Path

from gabc.data.errors import DataError


def data_dir_from_environment() -> Path | None:
    """The folder that the environment variable DATA_DIR names, or None where it is not set.

    Raises:
        DataError: DATA_DIR is set and is not a folder, or is an empty one.
    """
    value = os.environ.get("DATA_DIR")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"DATA_DIR is {folder}, which is not a folder. Correct it, or unset it.")
    if not any(folder.iterdir()):
        raise DataError(f"DATA_DIR is {folder}, which is empty. Put data there, or unset it.")
    return folder


def find_folder(name: str, data_dir: Path | None) -> Path | None:
    """The folder `name` inside `data_dir` or beside it, or None."""
    if data_dir is None:
        return None
    for candidate in (data_dir / name, data_dir.resolve().parent / name):
        if candidate.is_dir():
            return candidate
    return None
