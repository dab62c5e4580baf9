"""The grammar as llguidance reads it: the same language as the parser's."""

from __future__ import annotations

import re
from pathlib import Path

import llguidance
import pytest
from gabc.grammar import RESERVED, decoding_grammar, grammar_text
from lark import Lark
from lark.exceptions import LarkError

from gabc.syntax.lexer import lex
from gabc.syntax.source import Source
from gabc.syntax.table import load_table

_ROOT = Path(__file__).parent.parent
_DESIGNS = sorted([*_ROOT.glob("stdlib_gaus/*.gab"), *_ROOT.glob("examples/*.gab")])
_TOKENIZER = llguidance.LLTokenizer("byte")
_LARK = Lark(grammar_text(), parser="lalr", lexer="basic")


@pytest.fixture(scope="module")
def grammar() -> str:
    return llguidance.LLMatcher.grammar_from_lark(decoding_grammar())


def _decodes(grammar: str, text: str) -> bool:
    """Whether a constrained decoder could have written the whole text."""
    matcher = llguidance.LLMatcher(_TOKENIZER, grammar)
    tokens = _TOKENIZER.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def _parses(text: str) -> bool:
    try:
        _LARK.parse(text)
    except LarkError:
        return False
    return True


def test_the_grammar_loads_unchanged() -> None:
    grammar = llguidance.LLMatcher.grammar_from_lark(grammar_text())
    assert llguidance.LLMatcher.validate_grammar(grammar) == ""


def test_the_grammar_uses_only_what_both_accept() -> None:
    text = re.sub(r"//.*", "", grammar_text())
    assert not re.search(r"%declare|%import|\.\d+\s*:|\(\?[=!<]|\{[A-Za-z_]", text)


@pytest.mark.parametrize("path", _DESIGNS, ids=lambda path: path.stem)
def test_designs_can_be_decoded(grammar: str, path: Path) -> None:
    assert _decodes(grammar, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _DESIGNS, ids=lambda path: path.stem)
def test_a_design_without_one_token_is_judged_alike(grammar: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = lex(Source(path.name, text)).tokens
    for token in tokens[:: max(1, len(tokens) // 15)]:
        broken = text[: token.start] + text[token.end :]
        assert _decodes(grammar, broken) == _parses(broken), token


@pytest.mark.parametrize("word", RESERVED)
def test_reserved_words_are_no_names(grammar: str, word: str) -> None:
    text = f"unit {word}() {{ forward(X) {{ return X }} }}"
    assert not _decodes(grammar, text)
    assert not _parses(text)


def test_every_other_word_of_the_grammar_is_a_name() -> None:
    words = {text for text in load_table().literals if text.isidentifier()}
    assert {word for word in words if not _parses(f"from a import {word}")} == set(RESERVED)


@pytest.mark.parametrize(
    "body",
    [
        "return X +",
        "x = a b return x",
        "return f(a=1, b)",
        "return (a, b)",
        "return [e for e in x]",
        "return a < b < c",
        "x = f(X) { return x } return x",
        "x += 1 return x",
        "return 'x'",
    ],
)
def test_wrong_bodies_cannot_be_decoded(grammar: str, body: str) -> None:
    text = f"unit A() {{ forward(X) {{ {body} }} }}"
    assert not _decodes(grammar, text)
    assert not _parses(text)
