"""Documentation that cannot rot: the README's examples run, and tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gabc.cli.main import COMMANDS, main
from gabc.graph.static import Literal
from gabc.ops import PRIMITIVES
from gabc.ops.base import REQUIRED, ArgKind, Parameter

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
LANGUAGE = ROOT / "docs" / "language.md"

_FILE = re.compile(r"`(?P<name>\w+\.gab)`[^\n]*\n+```(?:gab)?\n(?P<text>.*?)```", re.DOTALL)
_SESSION = re.compile(r"```console\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")

# Commands whose output the README shows in full or in part, and which take no time.
_QUICK = ("gabc check", "gabc show", "gabc compile")


def sessions() -> list[tuple[str, list[str]]]:
    """(command, lines shown) of every quick command in the README, in order."""
    found: list[tuple[str, list[str]]] = []
    for block in _SESSION.findall(README.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, lines) for command, lines in found if command.startswith(_QUICK)]


def test_readme_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line shown stands in the real output, in that order; `...` stands for lines left out."""
    for name, text in _FILE.findall(README.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    shown = sessions()
    assert len(shown) >= 3
    for command, lines in shown:
        main(command.split()[1:])
        captured = capsys.readouterr()
        real = [line.rstrip() for line in (captured.out + captured.err).splitlines()]
        place = 0
        is_gap = False
        for line in lines:
            if line == "...":
                is_gap = True
                continue
            assert line in real[place:], (command, line, real)
            found = real.index(line, place)
            assert is_gap or found == place, (command, line, real)
            place, is_gap = found + 1, False
        assert is_gap or place == len(real), (command, real[place:])


def test_readme_names_every_command() -> None:
    text = README.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`gabc {name}" in text


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda p: p.name,
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


# ---------------------------------------------------------------- the table of primitives

_BEGIN, _END = "<!-- primitives: begin -->\n", "<!-- primitives: end -->"


def primitive_table() -> str:
    rows = ["| call | what it computes |", "| --- | --- |"]
    for name, primitive in sorted(PRIMITIVES.items()):
        if primitive.internal:
            continue
        arguments = ", ".join(_arguments(primitive.parameters))
        doc = " ".join(primitive.doc.split()).replace("|", "\\|")
        rows.append(f"| `{name}({arguments})` | {doc} |")
    return "\n".join(rows) + "\n"


def _arguments(parameters: tuple[Parameter, ...]) -> list[str]:
    shown = []
    has_star = False
    for parameter in parameters:
        if parameter.hidden:
            continue
        if parameter.keyword_only and not has_star:
            shown.append("*")
            has_star = True
        text = f"*{parameter.name}" if parameter.variadic else parameter.name
        if parameter.default is not REQUIRED and not parameter.variadic:
            text += f"={_default(parameter)}"
        shown.append(text)
    return shown


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if isinstance(value, Literal):
        value = value.value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if parameter.kind is ArgKind.TEXT else str(value)


def test_table_of_primitives(update_golden: bool) -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    expected = before + _BEGIN + primitive_table() + _END + after
    if update_golden:
        LANGUAGE.write_text(expected, encoding="utf-8")
        return
    assert text == expected, "run: python -m pytest tests/test_docs.py --update-golden"
