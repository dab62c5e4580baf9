"""Commands whose packages are extras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from gabc.cli.faults import InputFault


@contextmanager
def needs(extra: str, *modules: str) -> Iterator[None]:
    """Around the imports of a command: a missing package becomes the line that installs it.

    `modules` are needed later on, in another process or at the end.
    """
    try:
        for name in modules:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "gabc":
            raise
        raise InputFault(
            f"this command needs {error.name}, which is not installed; "
            f"run: pip install 'gabc[{extra}]'"
        ) from error
