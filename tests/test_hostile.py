"""Texts made to keep the checker busy, or to make it say too much: each meets a stated limit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from gabc.check.report import check
from gabc.cli.main import main
from gabc.diagnostics.model import MAX_ERRORS, MAX_TEXT, Diagnostic, Diagnostics, TooManyErrors
from gabc.diagnostics.render import render_text
from gabc.diagnostics.suggest import nearest
from gabc.syntax import limits
from gabc.syntax.parse import parse
from gabc.syntax.source import Source, Span

# Processor time; every text takes a third of it on a machine that is not loaded.
SECONDS = 1.5


def _body(text: str) -> str:
    return f"gab N\nunit N() {{\n  forward(X) {{\n{text}\n    return X\n  }}\n}}\n"


def _lines(pattern: str, count: int) -> str:
    return "\n".join(pattern.format(i=i) for i in range(count))


_CHAIN = "\n".join(
    f"unit U{i}() {{ a = U{i - 1}() b = U{i - 1}() forward(X) {{ return b(a(X)) }} }}"
    for i in range(1, 41)
)
HOSTILE = {
    "calls of unknown names": _body(_lines("    y{i} = zz{i}(X)", 20_000)),
    "fewer calls of unknown names": _body(_lines("    y{i} = zz{i}(X)", 3_000)),
    "long names, alike": _body(
        _lines("    " + "abcdefgh" * 12 + "{i} = X", 1_800)
        + "\n"
        + _lines("    q = " + "abcdefhg" * 12 + "{i}(X)", 300)
    ),
    "brackets left open": _body(_lines("    y{i} = zz{i}(X", 5_000)),
    "brackets that close nothing": _body(")\n" * 15_000),
    "statements that do not parse": _body(_lines("    y{i} = = X", 4_000)),
    "a pattern": _body(f'    X = rearrange(X, "{"(" * 300_000}")'),
    "one unit over and over": "gab N\n" + "unit N() { forward(X) { return X } }\n" * 25_000,
    "many units": "gab N0\n" + _lines("unit N{i}() {{ forward(X) {{ return X }} }}", 1_200),
    "operations": _body("    X = X * X + X\n" * 15_000),
    "a conditional without end": _body("    X = " + "X if true else " * 4_500 + "X"),
    "units that double": f"gab N\nunit U0() {{ forward(X) {{ return X }} }}\n{_CHAIN}\n"
    "unit N() { a = U40() forward(X) { return a(X) } }",
    "a name": f"gab {'N' * 900_000}\nunit M() {{ forward(X) {{ return X }} }}",
    "a number": _body(f"    X = X * 1.{'1' * 500_000}"),
    "requirements that fail": "gab N\nunit N() {\n"
    + "require D % 3 == 5\n" * 3_000
    + "forward(X) { return X } }",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_refused_fast_and_briefly(text: str) -> None:
    source = Source("a.gab", text)
    start = time.process_time()
    report = check(source)
    shown = render_text(report.diagnostics, color=False)
    assert time.process_time() - start < SECONDS
    assert "GAB0701" in {d.code for d in report.diagnostics}
    assert sum(d.code != "GAB0113" for d in report.diagnostics) <= MAX_ERRORS + 1
    assert len(shown) < 10_000


def test_parameters_without_use_are_reported_fast() -> None:
    text = "gab N\nunit N() {\n" + _lines("param p{i}: [D] = ones()", 1_800)
    start = time.process_time()
    found = check(Source("a.gab", text + "\nforward(X) { return X } }")).diagnostics
    assert time.process_time() - start < SECONDS
    assert {d.code for d in found} == {"GAB0502"}


def _finding(place: int, code: str = "GAB0101") -> Diagnostic:
    return Diagnostic(code, f"number {place}", Span(SOURCE, place, place + 1))


SOURCE = Source("a.gab", "x" * 1_000)


def test_errors_are_collected_to_a_limit() -> None:
    found = Diagnostics(bounded=True)
    for place in range(500, 900):
        found.add(_finding(place, "GAB0113"))
    for place in range(MAX_ERRORS):
        found.add(_finding(place))
        found.add(_finding(place))  # the same one is no other
    with pytest.raises(TooManyErrors):
        found.add(_finding(MAX_ERRORS))
    found.add(_finding(MAX_ERRORS + 1))
    assert len(found.found) == 400 + MAX_ERRORS + 1
    assert found.found[-1].code == "GAB0701"
    assert f"more than {MAX_ERRORS} errors" in found.found[-1].message


@pytest.mark.parametrize("count", [MAX_ERRORS, MAX_ERRORS + 1])
def test_a_check_ends_after_the_last_error_looked_for(count: int) -> None:
    found = check(Source("a.gab", _body(_lines("    y{i} = zz{i}(X)", count)))).diagnostics
    unknown = [d for d in found if d.code == "GAB0101"]
    assert len(unknown) == MAX_ERRORS
    assert [d.code for d in found[MAX_ERRORS:]] == ["GAB0701"] * (count > MAX_ERRORS)


def test_syntax_errors_have_the_same_limit() -> None:
    file, found = parse(Source("a.gab", _body(_lines("    y{i} = = X", MAX_ERRORS + 1))))
    assert [d.code for d in found] == ["GAB0001"] * MAX_ERRORS + ["GAB0701"]
    assert file.units == ()
    file, found = parse(Source("a.gab", _body(_lines("    y{i} = = X", MAX_ERRORS))))
    assert [d.code for d in found] == ["GAB0001"] * MAX_ERRORS
    assert len(file.units) == 1


def _codes(text: str) -> list[str]:
    return [d.code for d in parse(Source("a.gab", text))[1]]


def test_names_literals_and_definitions_have_limits() -> None:
    name, string = "n" * limits.MAX_NAME, "s" * (limits.MAX_LITERAL - 2)
    assert _codes(f"fn {name}(x) {{ return x }}") == []
    assert _codes(f"fn {name}n(x) {{ return x }}") == ["GAB0701"]
    assert _codes(f'fn f(x) {{ return g(x, "{string}") }}') == []
    assert _codes(f'fn f(x) {{ return g(x, "{string}s") }}') == ["GAB0701"]
    some = _lines("fn f{i}(x) {{ return x }}", limits.MAX_DEFINITIONS)
    assert _codes(some) == []
    assert _codes(f"{some} fn g(x) {{ return x }}") == ["GAB0701"]


def test_a_pattern_has_a_limit() -> None:
    long = _body(f'    X = rearrange(X, "b l d -> b l d{" " * 190}")')
    (found,) = check(Source("a.gab", long)).diagnostics
    assert (found.code, found.message) == (
        "GAB0205",
        "a pattern has at most 200 characters, and this one 204",
    )


def test_what_is_quoted_is_cut() -> None:
    long = Diagnostic("GAB0101", f"`{'a' * 500}` and `b`", Span(SOURCE, 0, 1), help="c" * 5_000)
    assert long.message == f"`{'a' * 117}...` and `b`"
    assert len(long.help) == MAX_TEXT


def test_suggestions_have_a_limit_and_the_same_answers_below_it() -> None:
    assert nearest("sofmax", ["softmax", "argmax"]) == "softmax"
    assert nearest("ab", [f"ac{i}" for i in range(5_000)]) is None


@pytest.mark.parametrize(
    ("power", "reason"),
    [
        ("n**n**n", "the exponent `n` of a size must be a written number"),
        ("D**65", "a power in a size has an exponent of at most 64"),
    ],
)
def test_a_power_that_is_no_size_says_why(power: str, reason: str) -> None:
    text = f"gab N\nunit N(n: int = 3) {{\n dim E = {power}\n forward(X) {{ return X }} }}"
    found = [d for d in check(Source("a.gab", text)).diagnostics if d.code == "GAB0109"]
    assert len(found) == 1
    assert reason in found[0].message


def test_a_dim_that_is_too_large_is_reported_once() -> None:
    text = "gab N\nunit N() {\n dim E = D**30\n forward(X) { return X } }"
    assert [d.code for d in check(Source("a.gab", text)).diagnostics if d.phase == "limits"] == [
        "GAB0701"
    ]


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_file_is_a_warning(text: str) -> None:
    (found,) = check(Source("a.gab", text)).diagnostics
    assert (found.code, found.severity.value) == ("GAB0119", "warning")
    assert "is empty" in found.message


def test_a_pipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe.gab"
    os.mkfifo(pipe)
    assert main(["check", str(pipe)]) == 2
    assert "is not a regular file; `-` reads standard input" in capsys.readouterr().err


def test_a_missing_file_takes_nothing_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, lost = tmp_path / "good.gab", tmp_path / "lost.gab"
    good.write_text(_body("    X = X * 2.0"))
    assert main(["check", "--json", str(lost), str(good)]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["ok"] is False
    first, second = document["files"]
    assert (first["path"], first["design"], first["ok"]) == (str(good), "N", True)
    assert second == {"path": str(lost), "ok": False, "error": f"there is no file {lost}"}
    assert f"there is no file {lost}" in printed.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--nope", "a.gab"], "No such option: --nope"), ([], "Missing argument")],
)
def test_a_misused_option_is_a_document_too(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", *arguments]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert reason in document["error"]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--scale", "13M", "unknown scale `13M`; did you mean `14M`? use one of 14M, 31M"),
        ("--scale", "64x1000000000", "scale `64x1000000000` is out of range"),
        ("--scale", "99999999999999999999999x2", "is out of range"),
        ("--scale", "9" * 9_000 + "x2", "is out of range"),
        ("--scale", "", "a scale is empty"),
        ("--scale", "14M,,31M", "a scale is empty"),
        ("--fit", "64x2", "scale `64x2` has no reference size to fit: fit to one of 14M, 31M"),
        ("--fit", "32M", "unknown scale `32M`; did you mean `31M`? fit to one of 14M, 31M"),
        ("--fit", "2.7B", "scale `2.7B` has no reference size to fit"),
    ],
)
def test_scales_that_there_are_not(
    option: str, value: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.gab"
    path.write_text(_body("    X = X * 2.0"))
    assert main(["check" if option == "--scale" else "show", str(path), option, value]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error) < 500
    assert option == "--scale" or "2.7B" not in error.partition("fit to one of")[2]


@pytest.mark.parametrize("bounds", ["10 ** 30", "10 ** 30, 0, -1", "0, 10 ** 30, 7"])
def test_a_range_past_the_largest_machine_integer_is_a_limit(bounds: str) -> None:
    text = _body(f"    for i in range({bounds}) {{\n X = X + i\n }}")
    assert [d.code for d in check(Source("a.gab", text)).diagnostics] == ["GAB0701"]
