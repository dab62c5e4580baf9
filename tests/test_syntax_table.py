"""The parse table: its conflicts, its cache, and its agreement with Lark's own parser."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from pathlib import Path

import pytest
from gabc.grammar import grammar_text
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark, logger
from lark.exceptions import LarkError

from gabc.syntax import table
from gabc.syntax.lexer import lex
from gabc.syntax.parse import parse
from gabc.syntax.source import Source

_ROOT = Path(__file__).parent.parent
_FILES = sorted([*_ROOT.glob("stdlib_gaus/*.gab"), *_ROOT.glob("examples/*.gab")])
_LARK = Lark(grammar_text(), parser="lalr", lexer="basic")


def test_the_conflicts_are_those_the_grammar_explains(caplog: pytest.LogCaptureFixture) -> None:
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        Lark(grammar_text(), parser="lalr", lexer="basic", debug=True)
    finally:
        logger.setLevel(level)
    conflicts = [r.getMessage() for r in caplog.records if "conflict" in r.getMessage()]
    assert sorted(c.split("terminal ")[1].split(":")[0] for c in conflicts) == [
        "IF",
        "IF",
        "LBRACE",
    ]


_WORDS = """
{ } ( ) [ ] , : = == + - ** ?? ? ... -> if else for return state scan attend chunk with and not unit
fn forward from import dim param reads writes require test loss None 1 2.0 x
"""


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([p.read_text(encoding="utf-8") for p in _FILES]), st.integers(0, 2**32))
def test_what_is_accepted_is_what_lark_accepts(text: str, seed: int) -> None:
    """One or two tokens changed: a finding exactly where Lark's own parser refuses the text."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 2)):
        token = chance.choice(lex(Source("a", text)).tokens)
        word = chance.choice(["", *_WORDS.split()])
        end = chance.choice([token.start, token.end])
        text = f"{text[: token.start]} {word} {text[end:]}"
    try:
        _LARK.parse(text)
        accepted = True
    except LarkError:
        accepted = False
    _, found = parse(Source("a", text))
    if accepted:
        found = [d for d in found if d.code not in ("GAB0006", "GAB0008", "GAB0009")]
    assert accepted == (not found)


def test_the_cache_is_used_and_survives_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table.load_table.cache_clear()
    built = table.load_table()
    (path,) = (tmp_path / "gabc").iterdir()
    monkeypatch.setattr(table, "build_table", lambda grammar: pytest.fail("built again"))
    table.load_table.cache_clear()
    assert table.load_table().states == built.states
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for damage in ("", "not json", path.read_text(encoding="utf-8")[:-1]):
        path.write_text(damage, encoding="utf-8")
        table.load_table.cache_clear()
        assert len(table.load_table().states) == len(built.states)
    assert [p.name for p in (tmp_path / "gabc").iterdir()] == [path.name]
    table.load_table.cache_clear()


def test_an_unwritable_cache_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    table.load_table.cache_clear()
    assert table.load_table().rules
    table.load_table.cache_clear()


def test_parsing_imports_neither_lark_nor_torch() -> None:
    load = "from gabc.syntax.parse import parse; from gabc.syntax.source import Source; import sys;"
    run = "parse(Source('a', '')); print([m for m in ('lark', 'torch') if m in sys.modules])"
    parse(Source("a", ""))
    result = subprocess.run([sys.executable, "-c", load + run], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr
