"""How diagnostics look, which are chosen, and the spelling help."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.diagnostics.render import explain_line, render_json, render_text
from gabc.diagnostics.select import select
from gabc.diagnostics.suggest import nearest
from gabc.syntax.parse import parse
from gabc.syntax.source import Source, Span

_TEXT = """\
unit A() {
    dim H = 4

    forward(X) {
        y = wq(X)
        return y + z
    }
}
"""
_SOURCE = Source("a.gab", _TEXT)


def _span(text: str, source: Source = _SOURCE) -> Span:
    start = source.text.index(text)
    return Span(source, start, start + len(text))


def _rendered(diagnostic: Diagnostic) -> str:
    return render_text([diagnostic], color=False)


def test_one_finding() -> None:
    diagnostic = Diagnostic(
        "GAB0201",
        "`y` and `z` have unlike shapes",
        _span("y + z"),
        label="added here",
        help="insert an axis",
        expected="[B, L, D]",
        actual="[B, L, H]",
        related=(Related(_span("dim H = 4"), "`H` is this"),),
        facts=(("D", "6"), ("H", "4")),
        fixes=(Fix("add `y` twice", (Edit(_span("z"), "y"),), Applicability.MAYBE),),
    )
    assert (
        _rendered(diagnostic)
        == """\
error[GAB0201]: `y` and `z` have unlike shapes
 --> a.gab:6:16
  |
2 |     dim H = 4
  |     --------- `H` is this
...
6 |         return y + z
  |                ^^^^^ added here
  = expected: [B, L, D]
  =   actual: [B, L, H]
  = where: D = 6, H = 4
  = help: insert an axis
  = perhaps: add `y` twice
6 +         return y + y

1 error
"""
    )


def test_what_the_message_says_is_not_said_again() -> None:
    diagnostic = Diagnostic(
        "GAB0001", "expected `)`, found `;`", _span("y + z"), expected="`)`", actual="`;`"
    )
    assert "=" not in _rendered(diagnostic).splitlines()[-3]


def test_a_fix_over_several_lines_is_a_diff() -> None:
    found = parse(Source("a.gab", "unit A() {\n    a = F()\n    dim H = 4\n    forward(X) {}\n}"))[
        1
    ]
    text = render_text(found[:1], color=False)
    assert text.endswith("= fix: move it up\n2 +     dim H = 4\n3 -     dim H = 4\n\n1 error\n")


def test_related_places_of_another_file_have_their_own_excerpt() -> None:
    other = Source("std/b.gab", "# b\nunit B2() { }\n")
    diagnostic = Diagnostic(
        "GAB0103", "no such name", _span("wq(X)"), related=(Related(_span("B2", other), "meant?"),)
    )
    assert (
        _rendered(diagnostic)
        == """\
error[GAB0103]: no such name
 --> a.gab:5:13
  |
5 |         y = wq(X)
  |             ^^^^^
  = note: meant?
 --> std/b.gab:2:6
  |
2 | unit B2() { }
  |      --

1 error
"""
    )


def _marks(text: str, start: int, end: int) -> tuple[str, str]:
    """The source line and the line of marks of a span."""
    source = Source("a.gab", text)
    lines = _rendered(Diagnostic("GAB0001", "m", Span(source, start, end))).splitlines()
    return lines[3].partition("|")[2].removeprefix(" "), lines[4].partition("|")[2][1:]


@pytest.mark.parametrize(
    ("text", "start", "end", "line", "marks"),
    [
        ("\tx = y", 5, 6, "    x = y", "        ^"),
        ("\tx\ty", 1, 4, "    x    y", "    ^^^^^^"),
        ("漢字 = y", 5, 6, "漢字 = y", "       ^"),
        ("漢字 = y", 0, 2, "漢字 = y", "^^^^"),
        ("e\u0301 = y", 5, 6, "e\u0301 = y", "    ^"),
        ("x = ", 4, 4, "x =", "    ^"),
        ("x\n", 2, 2, "", "^"),
        ("", 0, 0, "", "^"),
        ("x = 1\r\n", 4, 5, "x = 1", "    ^"),
        ("x = \x00", 4, 5, "x = \ufffd", "    ^"),
        ("x {\n}\n", 2, 5, "x {", "  ^ to line 2"),
        ("x {\n}\n", 2, 4, "x {", "  ^"),
    ],
)
def test_marks_stand_under_the_text(text: str, start: int, end: int, line: str, marks: str) -> None:
    assert _marks(text, start, end) == (line, marks)


def test_a_long_line_is_cut_around_the_mark() -> None:
    text = "a" * 5000 + "bad" + "c" * 5000
    line, marks = _marks(text, 5000, 5003)
    assert len(line) < 120
    assert line[marks.index("^") : marks.rindex("^") + 1] == "bad"


def test_colour_adds_only_escapes() -> None:
    found = parse(Source("a.gab", "unit A() {\n x = True\n retrun X + }"))[1]
    plain = render_text(found, color=False)
    coloured = render_text(found, color=True)
    assert coloured != plain
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


def test_nothing_is_printed_for_nothing() -> None:
    assert render_text([], color=True) == ""


# ---------------------------------------------------------------- choosing


def _at(code: str, start: int, end: int, message: str = "m", path: str = "a.gab") -> Diagnostic:
    source = _SOURCE if path == "a.gab" else Source(path, _TEXT)
    return Diagnostic(code, message, Span(source, start, end))


def test_causes_come_first_and_warnings_last() -> None:
    found = [
        _at("GAB0113", 0, 1, "w"),
        _at("GAB0201", 2, 3, "shape"),
        _at("GAB0101", 50, 51, "name 2"),
        _at("GAB0101", 40, 41, "name 1"),
    ]
    selection = select(found)
    assert [d.message for d in selection.shown] == ["name 1", "name 2", "shape", "w"]
    assert (selection.errors, selection.warnings, selection.hidden) == (3, 1, 0)
    assert select(reversed(found)) == selection


def test_a_later_phase_is_silent_where_an_earlier_one_has_spoken() -> None:
    cause, consequence = _at("GAB0101", 10, 20), _at("GAB0201", 15, 30)
    assert select([consequence, cause]).shown == (cause,)
    other_file = _at("GAB0201", 15, 30, path="b.gab")
    assert select([other_file, cause]).shown == (cause, other_file)


def test_a_file_that_does_not_parse_has_no_warnings() -> None:
    syntax, warning = _at("GAB0001", 0, 1), _at("GAB0113", 50, 51)
    assert select([warning, syntax]).shown == (syntax,)
    elsewhere = _at("GAB0113", 50, 51, path="b.gab")
    assert select([elsewhere, syntax]).shown == (syntax, elsewhere)


def test_repeated_messages_make_room_for_new_ones() -> None:
    found = [_at("GAB0101", i, i + 1, "same") for i in range(0, 24, 2)]
    found.append(_at("GAB0101", 60, 61, "other"))
    selection = select(found, limit=3)
    assert [d.message for d in selection.shown] == ["same", "other", "same"]
    assert selection.hidden == 10


def test_the_count_of_hidden_findings_is_stated() -> None:
    found = [_at("GAB0101", i, i + 1, f"m{i}") for i in range(12)]
    text = render_text([*found, _at("GAB0113", 60, 61)], color=False)
    assert text.endswith("\n\n12 errors and 1 warning (3 not shown)\n")
    assert text.count("error[") == 10


# ---------------------------------------------------------------- JSON


def test_json_counts_bytes_and_characters() -> None:
    source = Source("é.gab", "# é漢\nx = yy\n")
    span = _span("yy", source)
    diagnostic = Diagnostic(
        "GAB0101",
        "m",
        span,
        facts=(("D", "6"),),
        related=(Related(_span("x", source), "r"),),
        fixes=(Fix("t", (Edit(span, "z"),)),),
    )
    record = json.loads(json.dumps(render_json(diagnostic)))
    assert record["span"] == {
        "path": "é.gab",
        "start": 12,
        "end": 14,
        "line": 2,
        "column": 5,
        "end_line": 2,
        "end_column": 7,
    }
    assert record["span"]["start"] == source.text.encode().index(b"yy")
    assert record["severity"] == "error"
    assert record["phase"] == "names"
    assert record["facts"] == {"D": "6"}
    assert record["related"][0]["text"] == "r"
    assert record["fixes"][0]["applicability"] == "machine"
    assert record["fixes"][0]["edits"][0]["text"] == "z"
    assert record["explain"] == explain_line("GAB0101") == "GAB0101: unknown name"
    assert record["fingerprint"] == diagnostic.fingerprint


# ---------------------------------------------------------------- spelling


@pytest.mark.parametrize(
    ("word", "candidates", "meant"),
    [
        ("retrun", ("return", "state"), "return"),
        ("RMSnorm", ("RMSNorm", "LayerNorm"), "RMSNorm"),
        ("rms_norm", ("RMSNorm", "LayerNorm"), "RMSNorm"),
        ("lenght", ("length", "height"), "length"),
        ("v_frist", ("v_first", "v_second"), "v_first"),
        ("cat", ("concat", "cast"), "cast"),
        ("cat", ("concat", "mean"), "concat"),
        ("keepdim", ("keep", "axis"), "keep"),
        ("attention", ("attend", "scan"), "attend"),
        ("q", ("k", "v"), None),
        ("wq", ("wk", "wv", "wo"), "wk"),
        ("hello", ("world", "unit"), None),
        ("softmax", ("softmax",), None),
        ("x", (), None),
    ],
)
def test_did_you_mean(word: str, candidates: tuple[str, ...], meant: str | None) -> None:
    assert nearest(word, candidates) == meant


@given(st.text("abcde", min_size=4, max_size=12), st.integers(0, 11), st.sampled_from("xyz"))
def test_one_slip_in_a_word_is_found(word: str, place: int, letter: str) -> None:
    place %= len(word)
    for slip in (
        word[:place] + letter + word[place:],
        word[:place] + letter + word[place + 1 :],
        word[:place] + word[place + 1 :],
    ):
        assert nearest(slip, [word]) == word or slip == word
