"""`gabc check` for machines (SARIF, GitHub), for people who edit (`--watch`), and `gabc fmt`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gabc.cli.faults import InputFault
from gabc.cli.main import main
from gabc.cli.watch import watch, watched_files
from gabc.diagnostics.github import render_github
from gabc.diagnostics.model import Diagnostic, Edit, Fix, Related
from gabc.diagnostics.sarif import render_sarif
from gabc.syntax.source import Source, Span

WRONG = """gab Wrong

# Größe: “é” is one character and two bytes.
unit Wrong() {
    up   = Linear(D, 2 * D)
    down = Linear(2 * D, D)

    forward(X) {
        y = softmax(down(up(X)), dim=-1)
        return y + (X + up(X))
    }
}
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong one.gab"
    path.write_text(WRONG, encoding="utf-8")
    return path


# ---------------------------------------------------------------- SARIF


def _required(log: dict[str, Any]) -> None:
    """What the schema of SARIF 2.1.0 requires of the objects that are used here."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    for run in log["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"] == "gabc"
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        ids = [rule["id"] for rule in driver["rules"]]
        assert len(ids) == len(set(ids))
        for rule in driver["rules"]:
            assert rule["shortDescription"]["text"]
            assert rule["fullDescription"]["text"]
            assert rule["help"]["text"]
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        for result in run["results"]:
            assert result["message"]["text"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert ids[result["ruleIndex"]] == result["ruleId"]
            assert all(isinstance(v, str) for v in result["partialFingerprints"].values())
            for location in (*result["locations"], *result["relatedLocations"]):
                _required_place(location["physicalLocation"])
            for fix in result["fixes"]:
                assert fix["artifactChanges"]
                for change in fix["artifactChanges"]:
                    assert change["replacements"]
                    for replacement in change["replacements"]:
                        _required_region(replacement["deletedRegion"])
                        assert isinstance(replacement["insertedContent"]["text"], str)


def _required_place(place: dict[str, Any]) -> None:
    assert " " not in place["artifactLocation"]["uri"]
    _required_region(place["region"])


def _required_region(region: dict[str, int]) -> None:
    assert region["startLine"] >= 1
    assert region["startColumn"] >= 1
    assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])
    assert region["charOffset"] >= 0
    assert region["charLength"] >= 0


def test_sarif(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "sarif", str(wrong)]) == 1
    log = json.loads(capsys.readouterr().out)
    _required(log)
    (run,) = log["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["GAB0106", "GAB0201"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["GAB0106", "GAB0201"]
    assert "## Right" in run["tool"]["driver"]["rules"][0]["help"]["markdown"]
    first = run["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("/wrong%20one.gab")
    region = place["region"]
    start = region["charOffset"]
    assert WRONG[start : start + region["charLength"]] == "dim"
    assert (region["startLine"], region["startColumn"]) == (9, 34)
    (fix,) = first["fixes"]
    assert fix["properties"] == {"applicability": "machine"}
    (change,) = fix["artifactChanges"]
    (replacement,) = change["replacements"]
    at, size = (replacement["deletedRegion"][k] for k in ("charOffset", "charLength"))
    repaired = WRONG[:at] + replacement["insertedContent"]["text"] + WRONG[at + size :]
    assert repaired == WRONG.replace("dim=-1", "axis=-1")


def test_sarif_of_a_clean_file(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[1] / "examples" / "gpt2.gab"
    assert main(["check", "--format", "sarif", str(example)]) == 0
    log = json.loads(capsys.readouterr().out)
    _required(log)
    assert log["runs"][0]["results"] == []


def _invented() -> Diagnostic:
    """A finding with everything a finding can have, over two files."""
    here, there = Source("a.gab", "one two\nthree four\n"), Source("b,c:d.gab", "five six\n")
    return Diagnostic(
        "GAB0201",
        "100% of `x`\nis wrong, as: it stands",
        Span(here, 4, 13),
        label="here",
        help="write y",
        expected="D",
        actual="2 D",
        related=(Related(Span(there, 0, 4), "there"),),
        facts=(("D", "8"),),
        fixes=(Fix("both", (Edit(Span(here, 0, 3), "1"), Edit(Span(there, 5, 8), "6"))),),
    )


def test_sarif_over_two_files() -> None:
    log = json.loads(json.dumps(render_sarif([_invented()], "1.2.3")))
    _required(log)
    (result,) = log["runs"][0]["results"]
    related = result["relatedLocations"][0]
    assert related["message"]["text"] == "there"
    assert related["physicalLocation"]["artifactLocation"]["uri"] == "b%2Cc%3Ad.gab"
    changes = result["fixes"][0]["artifactChanges"]
    assert [len(change["replacements"]) for change in changes] == [1, 1]
    assert result["properties"] == {
        "facts": {"D": "8"},
        "expected": "D",
        "actual": "2 D",
        "help": "write y",
    }
    assert log["runs"][0]["tool"]["driver"]["version"] == "1.2.3"


# ---------------------------------------------------------------- GitHub


def test_github_escapes() -> None:
    assert render_github(_invented()) == (
        "::error file=a.gab,line=1,endLine=2,title=GAB0201%3A dims differ::"
        "100%25 of `x`%0Ais wrong, as: it stands%0Awrite y"
    )
    elsewhere = Diagnostic("GAB0116", "unused", _invented().related[0].span)
    assert render_github(elsewhere) == (
        "::warning file=b%2Cc%3Ad.gab,line=1,col=1,endColumn=4,title=GAB0116%3A import never used"
        "::unused"
    )


def test_github(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "github", str(wrong)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"::error file={wrong},line=9,col=34,endColumn=36,title=GAB0106%3A")


# ---------------------------------------------------------------- watch


def _edits(*changes: Callable[[], object]) -> Callable[[float], None]:
    """A `sleep` that makes one change to the files each time."""
    waiting = list(changes)

    def sleep(_: float) -> None:
        waiting.pop(0)()

    return sleep


def test_watch_runs_after_each_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_file, part = tmp_path / "main.gab", tmp_path / "part.gab"
    main_file.write_text("from part import A\n", encoding="utf-8")
    seen: list[str] = []

    def run() -> None:
        seen.append(part.read_text(encoding="utf-8") if part.exists() else "-")

    sleep = _edits(
        lambda: None,
        lambda: part.write_text("# one\n", encoding="utf-8"),
        lambda: part.write_text("# two, and longer\n", encoding="utf-8"),
        lambda: main_file.write_text("# imports nothing\n", encoding="utf-8"),
    )
    watch([main_file], run, rounds=4, sleep=sleep)
    assert seen == ["-", "# one\n", "# two, and longer\n", "# two, and longer\n"]
    out = capsys.readouterr().out
    assert out == f"changed: {part}\nchanged: {part}\nchanged: {main_file}\n"


def test_watch_waits_for_a_file_that_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.gab"
    path.write_text("# a\n", encoding="utf-8")
    runs: list[bool] = []

    def run() -> None:
        runs.append(path.exists())
        if not path.exists():
            raise InputFault("there is no file a.gab")

    watch([path], run, rounds=3, sleep=_edits(path.unlink, lambda: path.write_text("# b\n")))
    assert runs == [True, False, True]
    assert "there is no file a.gab" in capsys.readouterr().err


def test_watch_refuses_what_is_wrong_from_the_start(tmp_path: Path) -> None:
    def run() -> None:
        raise InputFault("there is no such file")

    with pytest.raises(InputFault):
        watch([tmp_path / "none.gab"], run, rounds=1)


def test_watch_ends_with_the_keyboard(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gabc.cli.watch.time.sleep", interrupted)
    assert main(["check", "--watch", str(wrong)]) == 0
    shown = capsys.readouterr()
    assert "error[GAB0106]" in shown.out
    assert shown.err == ""


def test_watched_files_follow_imports(tmp_path: Path) -> None:
    texts = {"a": "from b import B\nfrom std.norm import RMSNorm\n", "b": "from a import A\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.gab").write_text(text, encoding="utf-8")
    assert watched_files([tmp_path / "a.gab"]) == [tmp_path / "a.gab", tmp_path / "b.gab"]


# ---------------------------------------------------------------- fmt

UGLY = "unit A(){forward(X){return X+ 1.0}}"
PRETTY = "unit A() {\n    forward(X) {\n        return X + 1.0\n    }\n}\n"


@pytest.fixture
def ugly(tmp_path: Path) -> Path:
    path = tmp_path / "ugly.gab"
    path.write_text(UGLY, encoding="utf-8")
    return path


def test_fmt_rewrites(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", str(ugly)]) == 0
    assert ugly.read_text(encoding="utf-8") == PRETTY
    assert capsys.readouterr().err == f"{ugly} reformatted\n"
    before = ugly.stat().st_mtime_ns
    assert main(["fmt", str(ugly)]) == 0
    assert ugly.stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_fmt_only_says_so(ugly: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", option, str(ugly)]) == 1
    assert ugly.read_text(encoding="utf-8") == UGLY
    shown = capsys.readouterr()
    if option == "--check":
        assert shown.err == f"{ugly} would be reformatted\n"
    else:
        assert f"-{UGLY}\n" in shown.out
        assert "+        return X + 1.0\n" in shown.out
    ugly.write_text(PRETTY, encoding="utf-8")
    assert main(["fmt", option, str(ugly)]) == 0


def test_fmt_of_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BytesIO(UGLY.encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main(["fmt", "-"]) == 0
    assert capsys.readouterr().out == PRETTY


def test_fmt_leaves_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.gab"
    path.write_text("unit A() { forward(X) { return X + } }", encoding="utf-8")
    assert main(["fmt", str(path)]) == 1
    assert path.read_text(encoding="utf-8") == "unit A() { forward(X) { return X + } }"
    assert "error[GAB0001]" in capsys.readouterr().err


def test_fmt_writes_unix_newlines(ugly: Path) -> None:
    ugly.write_bytes(PRETTY.replace("\n", "\r\n").encode())
    assert main(["fmt", str(ugly)]) == 0
    assert ugly.read_bytes() == PRETTY.encode()
