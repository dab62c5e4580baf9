"""Reads the executable language specification: Markdown whose `gab` fences state their diagnostics.

    ```gab [scale=31M] [file=other.gab] [fixed]

`scale` is the scale to check at (14M if left out); a fence with `file` is a sibling file, visible
to the later fences of its section; a `fixed` fence is what the fence before it becomes when all its
machine fixes are applied. A comment `# error[GAB0201]: part of the message` stands on the line
where a diagnostic starts, or alone on the line before (several may). A `text` fence is the rendered
report of the fence before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEADING = re.compile(r"#+ +(.*)")
_OPENING = re.compile(r"```(\w+)((?: +[\w.=]+)*) *")
_EXPECTED = re.compile(
    r"# (error|warning)\[(GAB\d{4})\](?:: (.*?))?(?=\s*(?:# (?:error|warning)\[|$))"
)


@dataclass(frozen=True, slots=True)
class Expected:
    """A diagnostic that a fence promises: on `line` of the fence, with `message` in it."""

    line: int
    severity: str
    code: str
    message: str


@dataclass(eq=False)
class Fence:
    """One `gab` fence. `first` is the line of the file (from 0) on which its text begins."""

    path: Path
    heading: str
    number: int
    text: str
    first: int
    options: dict[str, str]
    siblings: dict[str, str]
    golden: tuple[int, int] | None = None
    """The lines of the `text` fence that follows, from and to (exclusive)."""
    fixed: Fence | None = None
    expected: list[Expected] = field(default_factory=list)

    @property
    def id(self) -> str:
        heading = re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")
        return f"{self.path.stem}:{heading}:{self.number}"


def read_fences(path: Path) -> list[Fence]:
    """The fences of one file that are designs to check, in order."""
    found: list[Fence] = []
    heading = path.stem
    siblings: dict[str, str] = {}
    for kind, info, first, lines in _blocks(path):
        match kind:
            case "heading":
                heading, siblings = info, {}
            case "gab":
                options = dict(part.partition("=")[::2] for part in info.split())
                number = sum(fence.heading == heading for fence in found) + 1
                text = "\n".join(lines) + "\n"
                fence = Fence(path, heading, number, text, first, options, dict(siblings))
                fence.expected = list(_expected(lines))
                if "fixed" in options:
                    found[-1].fixed = fence
                    continue
                if "file" in options:
                    siblings[options["file"]] = text
                found.append(fence)
            case "text" if found:
                found[-1].golden = (first, first + len(lines))
    return found


def _blocks(path: Path) -> Iterator[tuple[str, str, int, list[str]]]:
    """Headings, and fences with the word after the backticks, its options and their lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        heading, opening = _HEADING.fullmatch(lines[number]), _OPENING.fullmatch(lines[number])
        number += 1
        if heading is not None:
            yield "heading", heading[1], number, []
        elif opening is not None:
            end = lines.index("```", number)
            yield opening[1], opening[2], number, lines[number:end]
            number = end + 1


def _expected(lines: list[str]) -> Iterator[Expected]:
    """The diagnostics that the comments of a fence promise."""
    waiting: list[tuple[str, str, str]] = []
    for number, line in enumerate(lines, 1):
        found = [(m[1], m[2], m[3] or "") for m in _EXPECTED.finditer(line)]
        if found and line.lstrip().startswith("#"):
            waiting += found
            continue
        for severity, code, message in [*waiting, *found]:
            yield Expected(number, severity, code, message)
        waiting = []
    for severity, code, message in waiting:
        # After the last line: what is missing at the end of the file.
        yield Expected(len(lines), severity, code, message)


def without_expectations(text: str) -> str:
    """A fence's text without the comments that state diagnostics."""
    kept = []
    for line in text.splitlines():
        match = _EXPECTED.search(line)
        start = line if match is None else line[: match.start()].rstrip()
        if match is None or start:
            kept.append(start)
    return "\n".join(kept) + "\n"


def replace_lines(path: Path, first: int, last: int, text: str) -> None:
    """Put `text` in place of some lines of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[first:last] = text.splitlines()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
