"""Small random faults for `.gab` texts: what a hasty author, or a language model, gets wrong."""

from __future__ import annotations

import random
import re

from gabc.elaborate.names import BUILT_IN
from gabc.syntax.lexer import lex
from gabc.syntax.source import Source
from gabc.syntax.tokens import Token

_NUMBERS = ("0", "1", "2", "7", "1.5", "10 ** 30")
_VALUES = (*_NUMBERS, "none", "true", "D", "L", "B", "layer", "X", '"b l"')
_OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "==", "<", "and", "??")
_WORDS = (*sorted(BUILT_IN), "scan", "attend", "Z", "t", "heads", "weight")


def mutated(text: str, rng: random.Random) -> str:
    """The text with one to three faults."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(_FAULTS)(text, rng)
    return text


def _tokens(text: str) -> list[Token]:
    return [token for token in lex(Source("fuzz.gab", text)).tokens if token.end > token.start]


def _replaced(text: str, token: Token, new: str) -> str:
    return text[: token.start] + new + text[token.end :]


def _change_token(text: str, rng: random.Random) -> str:
    tokens = _tokens(text)
    if not tokens:
        return text
    token = rng.choice(tokens)
    match token.kind:
        case "NAME":
            names = sorted({other.text for other in tokens if other.kind == "NAME"})
            return _replaced(text, token, rng.choice((rng.choice(names), rng.choice(_WORDS))))
        case "INTEGER" | "FLOAT" | "TRUE" | "FALSE" | "NONE":
            return _replaced(text, token, rng.choice(_VALUES))
        case "STRING":
            letters = list(token.text)
            letters[rng.randrange(1, max(2, len(letters) - 1))] = rng.choice("blhkd() ->1.")
            return _replaced(text, token, "".join(letters))
        case "PLUS" | "MINUS" | "STAR" | "SLASH" | "COMPARE" | "AT" | "POWER":
            return _replaced(text, token, rng.choice(_OPERATORS))
    return _replaced(text, token, rng.choice((rng.choice(tokens).text, "")))


def _change_value(text: str, rng: random.Random) -> str:
    """Another expression for a name or a number."""
    found = [t for t in _tokens(text) if t.kind in ("NAME", "INTEGER", "FLOAT")]
    return _replaced(text, rng.choice(found), rng.choice(_VALUES)) if found else text


def _swap_names(text: str, rng: random.Random) -> str:
    names = [token for token in _tokens(text) if token.kind == "NAME"]
    if len(names) < 2:
        return text
    first, second = sorted(rng.sample(names, 2), key=lambda token: token.start)
    middle = text[first.end : second.start]
    return text[: first.start] + second.text + middle + first.text + text[second.end :]


def _delete_token(text: str, rng: random.Random) -> str:
    tokens = _tokens(text)
    return _replaced(text, rng.choice(tokens), "") if tokens else text


def _lines(text: str, rng: random.Random) -> str:
    """Delete, repeat or move a line."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    index = rng.randrange(len(lines))
    line = lines.pop(index)
    match rng.randrange(3):
        case 1:
            lines[index:index] = [line, line]
        case 2:
            lines.insert(rng.randrange(len(lines) + 1), line)
    return "".join(lines)


def _subscript(text: str, rng: random.Random) -> str:
    """Another item or dim in a pair of square brackets."""
    found = list(re.finditer(r"\[([^\[\]\n]*)\]", text))
    if not found:
        return text
    match = rng.choice(found)
    parts = match[1].split(",")
    parts[rng.randrange(len(parts))] = rng.choice((*_VALUES, ":", "...", "None", "H", "K"))
    return text[: match.start(1)] + ", ".join(parts) + text[match.end(1) :]


_FAULTS = (_change_token, _change_value, _swap_names, _delete_token, _lines, _subscript)
