"""What the syntax phase says of wrong texts, and what it keeps of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabc.diagnostics.model import Applicability, Diagnostic, Fix
from gabc.diagnostics.render import render_json, render_text
from gabc.syntax import tree
from gabc.syntax.lexer import lex
from gabc.syntax.parse import parse
from gabc.syntax.source import Source

_ROOT = Path(__file__).parent.parent
_FILES = sorted([*_ROOT.glob("stdlib_gaus/*.gab"), *_ROOT.glob("examples/*.gab")])


def _found(text: str) -> list[Diagnostic]:
    return parse(Source("a.gab", text))[1]


def _body(text: str) -> str:
    return f"unit A() {{\n    forward(X) {{\n        {text}\n        return X\n    }}\n}}\n"


def _unit(text: str) -> str:
    return f"unit A() {{\n    {text}\n    forward(X) {{ return X }}\n}}\n"


# (text, code, the text that is marked, part of the message)
_STATEMENTS = [
    ("x = X +", "GAB0001", "", "expected an expression after `+`"),
    ("x = 3 X", "GAB0001", "X", "an operator is missing between `3` and `X`"),
    ("x = f(a b)", "GAB0001", "b", "`,` or an operator is missing"),
    ("for e es { }", "GAB0001", "es", "`in` is missing"),
    ("x = a < b < c", "GAB0001", "<", "comparisons do not chain"),
    ("x = (a, b)", "GAB0011", "(a,", "there are no tuples"),
    ("f(X)", "GAB0001", "f(X)", "return it or give it a name"),
    ("f(X) = 3", "GAB0001", "f(", "can be assigned to"),
    ("x = f(X) { }", "GAB0001", "{", "only `scan(...)` and `attend(...)` take a block"),
    ("x = scan(q)", "GAB0001", "", "expected `chunk` or `{` after `)`"),
    ("x = attend(q) chunk 3 { }", "GAB0001", "chunk", "only `scan(...)` takes a `chunk`"),
    ("x = if a { 1 } else { 2 }", "GAB0001", "if", "`a if condition else b`"),
    ("x = a if b", "GAB0001", "", "expected `else` or `{` after `b`"),
    ("dim K = 3", "GAB0001", "dim", "among the members of a unit"),
    ("x = [1, 2", "GAB0002", "[", "`[` is never closed"),
    ("x = f(X))", "GAB0002", ")", "`)` closes nothing"),
    ("x = [1, 2)", "GAB0002", ")", "`[` is closed by `)`"),
    ("x = 'hi'", "GAB0003", "'hi'", "double quotes"),
    ("x = “hi”", "GAB0003", "“hi”", "double quotes"),
    ('x = "hi', "GAB0003", '"hi', "not closed on its line"),
    ('x = "a\\nb"', "GAB0003", '"a\\nb"', "no `\\` escapes"),
    ("x = é", "GAB0003", "é", "ASCII letters"),
    ("x = $", "GAB0003", "$", "not part of the language"),
    ("x = 1.", "GAB0003", "1.", "not a number"),
    ("x = .5", "GAB0003", ".5", "begins with a digit"),
    ("x = 1_000", "GAB0003", "1_000", "not a number"),
    ("x = 2K", "GAB0003", "2K", "not a number"),
    ("x = 1e999", "GAB0003", "1e999", "does not fit a float"),
    ("x = a && b", "GAB0003", "&&", "`and`"),
    ("x = a || b", "GAB0003", "||", "`or`"),
    ("x = !a", "GAB0003", "!", "`not`"),
    ("x = a; y = b", "GAB0003", ";", "no `;`"),
    ("x = a − b", "GAB0003", "−", "ASCII minus"),
    ("sate S: [B] = 0", "GAB0004", "sate", "did you mean `state`"),
    ("for e im es { }", "GAB0004", "im", "did you mean `in`"),
    ("x = a if b esle c", "GAB0004", "esle", "did you mean `else`"),
    ("return X\n        y = X", "GAB0006", "y = X\n        return X", "nothing after a `return`"),
    ("x = f(a=1, X)", "GAB0007", "X", "after a keyword argument"),
    ("x = f(a=1, 2, b=3)", "GAB0007", "2", "after a keyword argument"),
    ("x = f(a=1, g(X))", "GAB0007", "g", "after a keyword argument"),
    ("x = a\n        - b", "GAB0008", "-", "continues the statement before"),
    ("x = a\n        (b)", "GAB0008", "(", "continues the statement before"),
    ("x = a\n        [b]", "GAB0008", "[", "continues the statement before"),
    ("x = scan(q) { }", "GAB0009", "{ }", "a scan is empty"),
    ("scan = X", "GAB0010", "scan", "cannot be a name"),
    ("x = X.state", "GAB0010", "state", "cannot be a name"),
    ("for in in xs { }", "GAB0010", "in", "cannot be a name"),
    ("x += 2", "GAB0011", "+=", "never changed in place"),
    ("x = True", "GAB0011", "True", "`true`"),
    ("x = None", "GAB0011", "None", "`none`"),
    ("x = [None]", "GAB0011", "None", "`none`"),
    ("x = self.norm(X)", "GAB0011", "self.", "no `self`"),
    ("x = lambda y: y", "GAB0011", "lambda", "`fn name(x)"),
    ("x = [e for e in xs]", "GAB0011", "for", "comprehensions"),
    ('x = {"a": 1}', "GAB0011", "{", "dictionaries"),
    ('x = f"a"', "GAB0011", 'f"a"', "prefixes"),
    ("x = f(*xs)", "GAB0011", "*", "no `*` arguments"),
    ("x: Tensor = X", "GAB0011", ":", "no declared type"),
    ("while x { }", "GAB0011", "while", "no `while`"),
    ('print("a")', "GAB0011", "print", "nothing is printed"),
    ("let x = 3", "GAB0011", "let ", "`let` is not needed"),
    ("if x = 3 { }", "GAB0011", "=", "equality is `==`"),
    ("if x is none { }", "GAB0011", "is", "`==`"),
    ("if a { } elif b { }", "GAB0011", "elif", "`else if`"),
    ("if a:\n            x = 3", "GAB0011", ":", "written in braces"),
]
_MEMBERS = [
    ("norm = RMSNorm()\n    dim K = 2", "GAB0005", "dim K", "dims come before"),
    ("norm = RMSNorm()\n    reads v: [B]", "GAB0005", "reads v", "come before parameters"),
    ("reads v: [B]\n    dim K = 2", "GAB0005", "dim K", "before `reads` and `writes`"),
    ("writes v: [B]?", "GAB0001", "?", "a read that may be absent"),
    ("w: [D] = ones()", "GAB0001", ":", "`param name: [dims]`"),
    ("param w [D]", "GAB0001", "[", "expected `:`"),
    ("Linear(D, D)", "GAB0001", "Linear(D, D)", "needs a name"),
    ("return X", "GAB0001", "return", "stands inside `forward`"),
    ("parm w: [D]", "GAB0004", "parm", "did you mean `param`"),
    ("raeds w: [D]", "GAB0004", "raeds", "did you mean `reads`"),
    ("state = Linear(D, D)", "GAB0001", "state", "stands inside `forward`"),
    ("param scan: [D]", "GAB0010", "scan", "cannot be a name"),
]
_ITEMS = [
    ("untit A() { forward(X) { return X } }", "GAB0004", "untit", "did you mean `unit`"),
    ("unit A() { foward(X) { return X } }", "GAB0004", "foward", "did you mean `forward`"),
    ("unit A() { a = F()", "GAB0002", "{", "never closed"),
    ("unit A { forward(X) { return X } }", "GAB0001", "{", "expected `(`"),
    ("unit A(h=8) { forward(X) { return X } }", "GAB0001", "h", "`h` needs a type"),
    ("unit A(h: integer) { forward(X) { return X } }", "GAB0001", "integer", "not a type"),
    ("unit A() { a = F() }", "GAB0009", "{", "a unit has a `forward`"),
    ("unit A() { forward(X) { } }", "GAB0009", "{ }", "`forward` is empty"),
    ("unit A() { forward(X) { x = X } }", "GAB0009", "}", "without a `return`"),
    ("unit A() { forward(X) { if a { return X } } }", "GAB0009", "}", "without a `return`"),
    ("unit A() { forward(X: Tensor) { return X } }", "GAB0001", "Tensor", "a type is a shape"),
    ("unit A() { def forward(X) { return X } }", "GAB0011", "def forward", "without `def`"),
    ("unit A() { forward(self, X) { return X } }", "GAB0011", "self, ", "no `self`"),
    ("fn f(x: int) { return x }", "GAB0001", "int", "no type of an argument"),
    ("fn f(x) { retrun x }", "GAB0004", "retrun", "did you mean `return`"),
    ("fn f(x) { y = x }", "GAB0009", "}", "`fn f` can end without"),
    ("unit state() { forward(X) { return X } }", "GAB0010", "state", "cannot be a name"),
    ("import torch", "GAB0011", "import", "operations are built in"),
    ("gab A\ngab C", "GAB0104", "gab C", "one design"),
    ("unit A() { forward(X) { return X } forward(Y) { return Y } }", "GAB0104", "forward", "one"),
    ("forward(X) { return X }", "GAB0001", "forward", "stands inside a `unit`"),
    ("require causal", "GAB0001", "require", "after the `gab` line"),
    ('"""A\nB"""\nfn f(x) { return x }', "GAB0003", '"""A\nB"""', "no docstrings"),
    ("\ufefffn f(x) { return x }", "GAB0003", "\ufeff", "byte order mark"),
    ("fn f(x) { return x }\n}", "GAB0002", "}", "closes nothing"),
    ('test "a" { shape(x) == [1] }', "GAB0001", "shape(x) == [1]", "facts with `require`"),
]
_ALL = [
    *((_body(text), *rest) for text, *rest in _STATEMENTS),
    *((_unit(text), *rest) for text, *rest in _MEMBERS),
    *_ITEMS,
]


@pytest.mark.parametrize(("text", "code", "marked", "message"), _ALL)
def test_one_fault_has_one_finding(text: str, code: str, marked: str, message: str) -> None:
    found = _found(text)
    assert [d.code for d in found] == [code], [d.message for d in found]
    assert found[0].span.text == marked
    assert message in found[0].message
    assert render_text(found, color=False).startswith(f"error[{code}]")


def _apply(text: str, fix: Fix) -> str:
    for edit in sorted(fix.edits, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


_FIXES = [
    (text, number)
    for text, *_ in _ALL
    for number, fix in enumerate(f for d in _found(text) for f in d.fixes)
    if fix.applicability is Applicability.MACHINE
]


@pytest.mark.parametrize(("text", "number"), _FIXES)
def test_a_machine_fix_applied_leaves_nothing_to_say(text: str, number: int) -> None:
    fixes = [fix for d in _found(text) for fix in d.fixes]
    assert _found(_apply(text, fixes[number])) == []


def test_most_mechanical_faults_have_a_machine_fix() -> None:
    assert len(_FIXES) >= 30


def test_an_augmented_assignment_is_rewritten_only_where_it_means_the_same() -> None:
    def fix(statement: str) -> Applicability:
        return _found(_body(statement))[0].fixes[0].applicability

    assert fix("x += a - b") is Applicability.MACHINE
    assert fix("x *= a") is Applicability.MACHINE
    assert fix("x *= a + b") is Applicability.MAYBE
    assert fix("x -= a - b") is Applicability.MAYBE


# ---------------------------------------------------------------- recovery


def test_every_independent_error_is_reported_and_the_rest_is_kept() -> None:
    text = """\
gab A with tie=True
untit A(heads: int = 8) {
    norm = RMSNorm()
    parm w: [D] = ones()
    a = = 3
    forward(X) {
        y = norm(X) +
        z = f(a=1, y)
        if y == 1 {
            y += 2
            q = [
            u = v
        }
        retrun y
    }
}
fn f(x) { return x }
unit C() {
    forward(X) { return X
}
unit D2() { forward(X) { return X } }
"""
    file, found = parse(Source("a.gab", text))
    codes = [d.code for d in found]
    assert codes == [
        *("GAB0011", "GAB0004", "GAB0004", "GAB0001", "GAB0001", "GAB0007", "GAB0011"),
        *("GAB0002", "GAB0004", "GAB0002"),
    ]
    assert [unit.name.id for unit in file.units] == ["A", "C", "D2"]
    assert [function.name.id for function in file.functions] == ["f"]
    assert file.design is not None
    unit = file.units[0]
    assert [type(member) for member in unit.members] == [tree.Child, tree.Param]
    assert [type(statement) for statement in unit.forward.body] == [tree.If, tree.Return]
    branch = unit.forward.body[0]
    assert isinstance(branch, tree.If)
    assert [type(statement) for statement in branch.then] == [tree.Assign] * 3


def test_a_missing_brace_is_looked_for_where_the_indentation_breaks() -> None:
    text = """\
unit A() {
    forward(X) {
        y = scan(X) {
            state S: [B, D] = 0.0
            return S
        y = y * 2
        return y
    }
}
"""
    (found,) = _found(text)
    assert found.code == "GAB0002"
    assert found.span.line == 3


def test_an_error_inside_a_scan_spares_what_surrounds_it() -> None:
    file, found = parse(Source("a.gab", _body("y = f(scan(X) { s = * 2\n return X }) + 1")))
    assert [d.code for d in found] == ["GAB0001"]
    statement = file.units[0].forward.body[0]
    assert isinstance(statement, tree.Assign)
    assert isinstance(statement.value, tree.Binary)


def test_a_missing_return_is_not_reported_where_the_return_is_wrong() -> None:
    assert [d.code for d in _found("fn f(x) { y = x\n return y + }")] == ["GAB0001"]


def test_a_broken_header_does_not_hide_errors_in_the_body() -> None:
    codes = [d.code for d in _found("unit A(h=3) { a = = 2\n forward(X) { x = +\n return X } }")]
    assert codes == ["GAB0001", "GAB0001", "GAB0001"]


# ---------------------------------------------------------------- fuzz

_WORDS = """
{ } ( ) [ ] , : = == + - ** @ ?? ? ... -> . if else for in return state scan attend chunk with
unit fn forward from import dim param reads require test loss True None lambda self def class ;
' " \\ 1 2. x # λ elif += \x00 is
"""


def _mutate(text: str, chance: random.Random) -> str:
    tokens = lex(Source("a", text)).tokens
    if not tokens:
        return text
    token, other = chance.choice(tokens), chance.choice(tokens)
    word = chance.choice([*_WORDS.split(), "\n", '"""'])
    return chance.choice(
        [
            text[: token.start] + text[token.end :],
            f"{text[: token.start]} {word} {text[token.start :]}",
            text[: token.start] + word + text[token.end :],
            text[: token.start] + text[other.start :],
            text[: token.start],
        ]
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([p.read_text(encoding="utf-8") for p in _FILES]), st.integers(0, 2**32))
def test_mutilated_designs_are_explained_not_fatal(text: str, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 6)):
        text = _mutate(text, chance)
    _, found = parse(Source("a.gab", text))
    for diagnostic in found:
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
        render_json(diagnostic)
    render_text(found, color=True)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_explained(text: str) -> None:
    file, found = parse(Source("a.gab", text))
    stripped = "\n".join(line.split("#")[0] for line in text.split("\n")).strip(" \t\r\n")
    assert bool(found) == bool(stripped) or file.design
    render_text(found, color=False)
