"""From lines of a generated module back to the design."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

from gabc.codegen.layout import Printed

VERSION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A line and column (from 1) of a `.gab` file, and the text of that line."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class SourceMap:
    """The place in the design for lines (from 1) of the generated file."""

    lines: Mapping[int, Place]

    def to_json(self) -> str:
        """`{"version": 1, "lines": {"12": ["gpt2.gab", 14, 9, "..."]}}`, lines in order."""
        lines = {
            str(number): [place.file, place.line, place.column, place.text]
            for number, place in sorted(self.lines.items())
        }
        return json.dumps({"version": VERSION, "lines": lines}, ensure_ascii=False) + "\n"


def source_map_of(printed: list[Printed]) -> SourceMap:
    """The map of a file, from its lines as they were printed."""
    lines = {}
    for number, row in enumerate(printed, start=1):
        if row.span is None:
            continue
        source = row.span.source
        line, column = source.position(row.span.start)
        lines[number] = Place(source.path, line, column, source.line(line).strip())
    return SourceMap(lines)


def read_source_map(text: str) -> SourceMap:
    """A map written by `SourceMap.to_json`. Raises `ValueError` for another version."""
    data = json.loads(text)
    if data.get("version") != VERSION:
        raise ValueError(f"a source map of version {data.get('version')!r}; this reads {VERSION}")
    return SourceMap({int(number): Place(*place) for number, place in data["lines"].items()})


def annotate(exception: BaseException, file: str, source_map: SourceMap) -> None:
    """Add the lines of the design, outermost first, that led to an exception in `file`.

    `file` is the generated module's file name as tracebacks show it.
    """
    for place in dict.fromkeys(_places(exception.__traceback__, file, source_map)):
        exception.add_note(f"  in the design, {place}: {place.text}")


def _places(traceback: TracebackType | None, file: str, source_map: SourceMap) -> Iterator[Place]:
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            place = source_map.lines.get(traceback.tb_lineno)
            if place is not None:
                yield place
        traceback = traceback.tb_next
