"""Every code has an explanation, and what it shows is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gabc.check.report import check
from gabc.cli.main import main
from gabc.diagnostics.catalogue import CATALOGUE
from gabc.diagnostics.error_index import error_index
from gabc.diagnostics.explain import Explanation, explain, read_explanation
from gabc.diagnostics.model import Diagnostic
from gabc.diagnostics.render import render_text
from gabc.syntax.format.source import format_source
from gabc.syntax.source import Source

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "gabc" / "diagnostics" / "explanations"
CODES = sorted(CATALOGUE)


# What the command says of these comes from a run in float64 as well, which takes torch.
CONFIRMED = tuple(f"GAB040{number}" for number in range(1, 7))


def _findings(code: str, text: str) -> list[Diagnostic]:
    """What is said of an example: by `check`, and for some codes by the run that confirms it."""
    report = check(Source("design.gab", text))
    if code not in CONFIRMED:
        return list(report.diagnostics)
    from gabc.runtime.confirmation import confirmed

    return list(confirmed(report).diagnostics)


def _with_new_report(old: Explanation, report: str) -> str:
    return Explanation(old.code, old.title, old.reason, old.wrong, report, old.right).text


@pytest.mark.parametrize("code", CODES)
def test_wrong_example(code: str, update_golden: bool) -> None:
    """The wrong example gives its code and no other, in the words that are shown."""
    explanation = explain(code)
    found = _findings(code, explanation.wrong)
    assert {diagnostic.code for diagnostic in found} == {code}
    rendered = render_text(found, color=False)
    if update_golden:
        path = FOLDER / f"{code}.md"
        path.write_text(_with_new_report(explanation, rendered), encoding="utf-8")
        explain.cache_clear()
        explanation = explain(code)
    assert explanation.report == rendered


@pytest.mark.parametrize("code", CODES)
def test_right_example(code: str) -> None:
    """The right example has no findings, warnings included, and is laid out as it should be."""
    right = explain(code).right
    found = _findings(code, right)
    assert not found, render_text(found, color=False)
    assert format_source(right) == right


@pytest.mark.parametrize("code", CODES)
def test_titles_and_reasons(code: str) -> None:
    explanation = explain(code)
    assert explanation.title == CATALOGUE[code].title
    assert len(explanation.reason.split()) >= 10
    assert explanation.text == (FOLDER / f"{code}.md").read_text(encoding="utf-8")


def test_no_explanation_without_a_code() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == CODES


def test_error_index_is_up_to_date(update_golden: bool) -> None:
    path = ROOT / "docs" / "errors.md"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(error_index(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == error_index()


def test_unknown_code_and_bad_form() -> None:
    with pytest.raises(KeyError):
        explain("GAB9999")
    with pytest.raises(ValueError, match=r"explanations/GAB0201\.md is not in the form"):
        read_explanation("GAB0201", "# GAB0201: dims differ\n\nNothing more.\n")


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("spelling", ["GAB0201", "gab0201", "0201", "201"])
def test_command(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", spelling]) == 0
    assert capsys.readouterr().out == explain("GAB0201").text


def test_command_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "GAB0113", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["code"], document["severity"]) == ("GAB0113", "warning")
    assert document["wrong"] == explain("GAB0113").wrong
    assert document["report"].startswith("warning[GAB0113]")


def test_command_lists_all_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:7] for line in lines] == CODES
    assert main(["explain", "--json"]) == 0
    assert [entry["code"] for entry in json.loads(capsys.readouterr().out)] == CODES


@pytest.mark.parametrize(
    ("given", "meant"), [("GAB0221", "GAB0201"), ("02o1", "GAB0201"), ("dims differ", "GAB0201")]
)
def test_unknown_code_names_the_nearest(
    given: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", given]) == 2
    error = capsys.readouterr().err
    assert f"there is no code {given}; did you mean {meant}" in error
