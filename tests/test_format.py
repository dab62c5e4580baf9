"""The formatter: what it prints, and that it changes nothing but the layout."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from generator.program import generate
from language_fences import read_fences

from gabc.syntax.format.source import FormatError, format_source, skeleton
from gabc.syntax.lexer import lex
from gabc.syntax.parse import parse
from gabc.syntax.source import Source
from gabc.syntax.tokens import CLOSERS, ENDERS, OPENERS, Token

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("stdlib_gaus/*.gab"), *ROOT.glob("examples/*.gab")])
FENCES = [
    fence
    for path in sorted(Path(__file__).parent.glob("language/*.md"))
    for fence in read_fences(path)
]
TEXTS = {
    **{path.name: path.read_text(encoding="utf-8") for path in FILES},
    **{
        f"{fence.path.stem}:{fence.first}": fence.text
        for fence in FENCES
        if not parse(Source("fence.gab", fence.text))[1]
    },
}


def _tree(text: str) -> object:
    file, found = parse(Source("<text>", text))
    assert not found, text
    return skeleton(file)


def _docs(text: str) -> list[str]:
    file, _ = parse(Source("<text>", text))
    return [unit.doc for unit in file.units] + [function.doc for function in file.functions]


@pytest.mark.parametrize("name", TEXTS)
def test_only_the_layout_changes(name: str) -> None:
    text = TEXTS[name]
    formatted = format_source(text)
    assert _tree(formatted) == _tree(text)
    assert format_source(formatted) == formatted
    assert all(line == line.rstrip() for line in formatted.split("\n"))
    assert "\n\n\n" not in formatted
    assert formatted.endswith("\n")
    assert not formatted.endswith("\n\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_library_is_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_source(text) == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_library_keeps_its_docs_and_its_width(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    formatted = format_source(text)
    assert _docs(formatted) == _docs(text)
    code = [line for line in formatted.split("\n") if not line.lstrip().startswith("#")]
    assert max(map(len, code)) <= 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_layout_of_the_library_becomes_one(path: Path) -> None:
    _assert_one_layout(path.read_text(encoding="utf-8"), random.Random(path.name))


@pytest.mark.slow
def test_every_layout_of_the_specification_becomes_one() -> None:
    for name, text in TEXTS.items():
        _assert_one_layout(text, random.Random(name))


def _assert_one_layout(text: str, rng: random.Random) -> None:
    """Spaces and newlines drawn anew wherever they may stand: the result is the same text."""
    formatted = format_source(text)
    for density in (0.0, 0.1, 0.5):
        reflowed = _reflow(formatted, rng, density)
        assert _tree(reflowed) == _tree(formatted)
        assert format_source(reflowed) == formatted


def _reflow(text: str, rng: random.Random, density: float) -> str:
    """The tokens with other spaces; blank lines, and lines that hold or end in a comment, stay."""
    lexed = lex(Source("<text>", text))
    pieces: list[tuple[int, int, Token | None]] = [
        *((token.start, token.end, token) for token in lexed.tokens),
        *((comment.span.start, comment.span.end, None) for comment in lexed.comments),
    ]
    pieces.sort(key=lambda piece: piece[:2])
    parts: list[str] = []
    end, previous, brackets = 0, None, list[str]()
    was_comment = False
    for start, stop, token in pieces:
        gap = text[end:start]
        newlines = gap.count("\n")
        if newlines > 1 or was_comment or (token is None and newlines):
            blank = "\n" * max(1, newlines)
            parts.append(blank + " " * rng.randrange(4))
        elif token is None or previous is None:
            parts.append(" " * rng.randrange(3))
        else:
            inside = bool(brackets) and brackets[-1] != "LBRACE"
            free = inside or previous.kind not in ENDERS or not _continues(token)
            parts.append("\n" if free and rng.random() < density else " " * rng.randrange(1, 4))
        parts.append(text[start:stop])
        was_comment, end = token is None, stop
        if token is not None:
            previous = token
            if token.kind in OPENERS:
                brackets.append(token.kind)
            elif token.kind in CLOSERS:
                brackets.pop()
    return "".join(parts)


def _continues(token: Token) -> bool:
    return token.text in ("(", "[", "and", "or", "??") or not (
        token.text[0].isalnum() or token.text[0] in '_"{}])'
    )


def _value(text: str) -> str:
    """What a value is printed as."""
    before = "fn f(x) {\n    y = "
    formatted = format_source(f"fn f(x) {{ y = {text} return y }}")
    assert formatted.startswith(before), formatted
    return formatted.removeprefix(before).removesuffix("\n    return y\n}\n")


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        # Nothing is said by parentheses around a whole value, a name, a literal, a call ...
        ("(a)", "a"),
        ("((a + b))", "a + b"),
        ("f((a + b), k=(a))", "f(a + b, k=a)"),
        ("[(a), (b if c else d)]", "[a, b if c else d]"),
        ("a[(i), (j):(k)]", "a[i, j:k]"),
        ("(a) + (f(x)) * (2)", "a + f(x) * 2"),
        ("(a if b else c)", "a if b else c"),
        ("(a)[0]", "a[0]"),
        # ... but those that a reader may want, or the meaning needs, stay.
        ("(a * b) + c", "(a * b) + c"),
        ("((a * b)) + c", "(a * b) + c"),
        ("(a + b) * c", "(a + b) * c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a ** b) ** c", "(a ** b) ** c"),
        ("-(a ** b)", "-(a ** b)"),
        ("not (a == b)", "not (a == b)"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        ("(a + b)[0]", "(a + b)[0]"),
        # Spaces.
        ("a+b*-c**-d", "a + b * -c ** -d"),
        ("x [ : , None , 1 : : 2 , ... ]", "x[:, None, 1::2, ...]"),
        ("f( x , k = 1 , )", "f(x, k=1)"),
        ("a  if  b  else  c", "a if b else c"),
        ("attn ( X )  with  v  as  w", "attn(X) with v as w"),
        ("not  a  or  b  ??  c", "not a or b ?? c"),
        ("1e-5", "1e-5"),
        ('rearrange(x , "b  l -> l b")', 'rearrange(x, "b  l -> l b")'),
    ],
)
def test_values(written: str, printed: str) -> None:
    assert _value(written) == printed


def test_a_brace_after_attend_keeps_its_parentheses() -> None:
    """Without them the brace would be the block of `attend`."""
    text = "fn f(q) {\n    if (attend(q, q, q)) {\n        y = q\n    }\n    return q\n}\n"
    assert format_source(text) == text


def test_long_lines_break_at_the_outermost_brackets() -> None:
    long = ", ".join(f"argument_number_{n}" for n in range(6))
    assert (
        _value(f"f({long})")
        == "f(\n" + "".join(f"        argument_number_{n},\n" for n in range(6)) + "    )"
    )


def test_long_sums_end_their_lines_with_the_operator() -> None:
    long = "+".join(f"term_number_{n}*x" for n in range(7))
    assert _value(long) == " +\n        ".join(f"term_number_{n} * x" for n in range(7))


def test_a_block_stays_with_its_call() -> None:
    printed = _value("wo(scan(q){state S:[B]=0.0 S=S+q return S})")
    assert printed == (
        "wo(scan(q) {\n        state S: [B] = 0.0\n        S = S + q\n        return S\n    })"
    )


COMMENTS = """\
# File.


# Of the design.
gab   A with tie=true # trailing
# Of a contract.
require  time<=O( L )   # linear
require params within 20 %
from std.norm import RMSNorm
#About A.
unit A( # hypers
  # Of h.
  h: int = 2, # two

  # Of k.
  k: int = 3
  # After the last.
) { # open
  # First.

  # Of norm.
  norm=RMSNorm() # the norm
  a_longer_name =   RMSNorm()
  # Last member.
  forward(X) {

    if h == 1 { y = norm(X)
    # End of then.
    }
    # Before else.
    else { y = a_longer_name(X) } # After else.
    z = y + # plus
      X
    return f(y, # of y
      # Of z.
      z)
    # End.
  }
  # End of the unit.
}
# End of the file.
"""

COMMENTS_PRINTED = """\
# File.

# Of the design.
gab A with tie=true  # trailing
# Of a contract.
require time <= O(L)  # linear
require params within 20%

from std.norm import RMSNorm

# About A.
unit A(  # hypers
    # Of h.
    h: int = 2,  # two
    # Of k.
    k: int = 3,
    # After the last.
) {  # open
    # First.

    # Of norm.
    norm = RMSNorm()  # the norm
    a_longer_name = RMSNorm()

    # Last member.
    forward(X) {
        if h == 1 {
            y = norm(X)
            # End of then.
        }
        # Before else.
        else {
            y = a_longer_name(X)
        }  # After else.
        z = y +  # plus
            X
        return f(
            y,  # of y
            # Of z.
            z,
        )
        # End.
    }
    # End of the unit.
}
# End of the file.
"""


def test_comments() -> None:
    assert format_source(COMMENTS) == COMMENTS_PRINTED
    assert format_source(COMMENTS_PRINTED) == COMMENTS_PRINTED


@pytest.mark.parametrize("density", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_comments_anywhere_in_the_library(path: Path, density: float) -> None:
    _assert_comments_stay(path.read_text(encoding="utf-8"), random.Random(path.name), density)


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.02, 0.2, 1.0])
def test_comments_anywhere_in_the_specification(density: float) -> None:
    for name, text in TEXTS.items():
        _assert_comments_stay(text, random.Random(name), density)


def _assert_comments_stay(text: str, rng: random.Random, density: float) -> None:
    """Comments strewn wherever a line may end: each is still there, and nothing else changes."""
    strewn = _strew(text, rng, density)
    formatted = format_source(strewn)
    assert _tree(formatted) == _tree(strewn)
    assert format_source(formatted) == formatted


def _strew(text: str, rng: random.Random, density: float) -> str:
    """The text with comments after some of its tokens, behind them or on lines of their own."""
    tokens = lex(Source("<text>", text)).tokens
    parts: list[str] = []
    brackets: list[str] = []
    end = 0
    for number, token in enumerate(tokens):
        parts += (text[end : token.start], token.text)
        end = token.end
        if token.kind in OPENERS:
            brackets.append(token.kind)
        elif token.kind in CLOSERS:
            brackets.pop()
        following = tokens[number + 1] if number + 1 < len(tokens) else None
        inside = bool(brackets) and brackets[-1] != "LBRACE"
        may_end = (
            following is None or inside or token.kind not in ENDERS or not _continues(following)
        )
        if may_end and rng.random() < density:
            before = rng.choice((" ", "\n", "\n\n"))
            parts.append(f"{before}# {number}" + rng.choice(("\n", "\n\n", "\n# and\n")))
    return "".join([*parts, text[end:]])


def test_alignment() -> None:
    text = """\
unit A() {
    dim K = D
    wq = Linear(D, K)
    out = Linear(K, D)
    a_far_longer_name = RMSNorm()
    other             = RMSNorm()
    param a: [K] = zeros()
    param bias: [K, K] = zeros()

    forward(X) {
        x   = X
        yyy = x
        return yyy
    }
}
"""
    printed = """\
unit A() {
    dim K = D
    wq  = Linear(D, K)
    out = Linear(K, D)
    a_far_longer_name = RMSNorm()
    other = RMSNorm()
    param a: [K]       = zeros()
    param bias: [K, K] = zeros()

    forward(X) {
        x = X
        yyy = x
        return yyy
    }
}
"""
    assert format_source(text) == printed


def test_wrong_syntax_is_refused() -> None:
    with pytest.raises(FormatError) as refused:
        format_source("unit A() { forward(X) { return X + } }", "a.gab")
    assert [d.phase for d in refused.value.diagnostics] == ["syntax"]


def test_empty_files() -> None:
    assert format_source("") == ""
    assert format_source("\n\n") == ""
    assert format_source("# only a comment") == "# only a comment\n"


def test_windows_newlines() -> None:
    text = "# A.\r\nfn f(x) {\r\n    return x  # x\r\n}\r\n"
    assert format_source(text) == "# A.\nfn f(x) {\n    return x  # x\n}\n"


def _function(value: str) -> str:
    return f"fn f(x) {{ return {value} }}"


DEEP = {
    "sum": _function(" + ".join(["x"] * 248)),
    "power": _function(" ** ".join(["x"] * 248)),
    "default": _function(" ?? ".join(["x"] * 248)),
    "conditional": _function("x if true else " * 248 + "x"),
    "subscript": _function("x" + "[0]" * 248),
    "attribute": _function("x" + ".a" * 248),
    "call": _function("x" + "(1)" * 248),
    "not": _function("not " * 248 + "x"),
    "minus": _function("-" * 248 + "x"),
    "nested calls": _function("f(" * 60 + "x" + ")" * 60),
    "nested lists": _function("[" * 60 + "x" + "]" * 60),
    "else if": "fn f(x) { if x { y = x } " + "else if x { y = x } " * 248 + " return x }",
    "loops": "fn f(x) { " + "for i in x { " * 60 + "y = x " + "} " * 60 + "return x }",
}


@pytest.mark.parametrize("name", DEEP)
def test_trees_as_deep_as_the_parser_lets_through(name: str) -> None:
    formatted = format_source(DEEP[name])
    assert _tree(formatted) == _tree(DEEP[name])
    assert format_source(formatted) == formatted
    assert len(formatted) < 20_000


def test_many_parentheses() -> None:
    assert _value("(" * 60 + "a + b" + ")" * 60) == "a + b"
    assert _value("(" * 60 + "a + b" + ")" * 60 + " * 2") == "(a + b) * 2"
    assert _value("a ** (b ** c)") == "a ** (b ** c)"
    assert _value("a if b else (c if d else e)") == "a if b else (c if d else e)"


@pytest.mark.parametrize("seed", range(4))
def test_generated_programs(seed: int) -> None:
    text = generate(seed).text
    formatted = format_source(text)
    assert _tree(formatted) == _tree(text)
    assert format_source(formatted) == formatted
    assert max(map(len, formatted.split("\n"))) <= 100
