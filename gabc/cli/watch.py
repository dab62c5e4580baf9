"""`gabc check --watch`: again whenever a file changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gabc.cli.faults import InputFault
from gabc.cli.output import has_color
from gabc.syntax.parse import parse
from gabc.syntax.read import SourceError, read_source

_INTERVAL = 0.3  # seconds between looks at the files
_CLEAR = "\x1b[2J\x1b[H"

_Stamps = dict[Path, tuple[int, int] | None]


def watch(
    files: Sequence[Path],
    run: Callable[[], object],
    *,
    rounds: int | None = None,
    sleep: Callable[[float], None] | None = None,
) -> None:
    """Call `run` now and after every change of a file or of what it imports, until Ctrl-C.

    A file that is away for a moment, as while an editor saves it, is waited for. `rounds` ends it
    after so many calls.

    Raises:
        InputFault: from the first `run`; later ones are printed, and the watch goes on.
    """
    done = 0
    try:
        while True:
            stamps = _stamps(watched_files(files))
            _run(run, is_first=not done)
            done += 1
            if done == rounds:
                return
            changed = _wait(files, stamps, sleep or time.sleep)
            sys.stdout.write(_CLEAR if has_color(sys.stdout) else "")
            print(f"changed: {', '.join(map(str, changed))}", flush=True)
    except KeyboardInterrupt:
        print()


def _run(run: Callable[[], object], is_first: bool) -> None:
    try:
        run()
    except (InputFault, SourceError) as fault:
        if is_first:
            raise
        print(f"gabc: {fault}", file=sys.stderr)
    sys.stdout.flush()


def _wait(files: Sequence[Path], before: _Stamps, sleep: Callable[[float], None]) -> list[Path]:
    """The files that changed, as soon as there are any."""
    while True:
        now = _stamps([*before, *files])
        changed = [path for path in now if now[path] != before.get(path)]
        if changed:
            return changed
        sleep(_INTERVAL)


def _stamps(files: Iterable[Path]) -> _Stamps:
    """When each file was last written and how long it is; None for one that is not there."""
    stamps: _Stamps = {}
    for path in files:
        try:
            status = path.stat()
        except OSError:
            stamps[path] = None
        else:
            stamps[path] = (status.st_mtime_ns, status.st_size)
    return stamps


def watched_files(files: Sequence[Path]) -> list[Path]:
    """The files and the sibling files that they import, those included that do not exist yet."""
    found: list[Path] = []
    waiting = list(files)
    while waiting:
        path = waiting.pop(0)
        if path in found:
            continue
        found.append(path)
        try:
            tree, _ = parse(read_source(path))
        except (OSError, SourceError):
            continue
        imported = [item.module[0].id for item in tree.imports if len(item.module) == 1]
        waiting += [path.parent / f"{name}.gab" for name in imported]
    return found
