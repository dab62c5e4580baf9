"""Keywords with a slip in them."""

from __future__ import annotations

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix
from gabc.diagnostics.suggest import nearest
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import NAMES, Token

# Statements of Python, and what the language has instead.
FOREIGN_WORDS = {
    "while": "there is no `while`: loops unroll over static bounds, `for i in range(n) { ... }`",
    "class": "a unit is written `unit Name(hyperparameters) { ... }`",
    "import": "operations are built in; units come by `from module import Name`",
    "print": "nothing is printed: a design is pure",
    "assert": "a condition on sizes is written `require a % b == 0` among the members of the unit",
    "pass": "an empty block is written `{ }`",
    "del": "values need no `del`",
    "try": "there are no exceptions",
    "raise": "there are no exceptions; a condition on sizes is a `require` member",
    "yield": "`forward` returns once; a recurrence is a `scan(...) { state ... }`",
    "global": "there are no global variables; values pass between units in `Z`",
    "nonlocal": "there are no closures; values pass between units in `Z`",
    "async": "there is nothing to wait for",
    "break": "a loop unrolls as a whole; there is no `break`",
    "continue": "a loop unrolls as a whole; choose by a static `if` instead of `continue`",
    "match": "choices are written `if ... { } else if ... { } else { }`",
    "switch": "choices are written `if ... { } else if ... { } else { }`",
}
_FIRST_WORDS = {
    "item": ("gab", "from", "unit", "fn", "test"),
    "member": ("dim", "reads", "writes", "param", "buffer", "require", "shared", "if"),
    "statement": ("return", "state", "loss", "for", "if"),
    "test_item": ("return", "for", "if", "require"),
}
# Words that may stand directly before a bracket, as in `foward(X) {` and `retrun (x)`.
_BEFORE_BRACKET = {
    "member": ("forward",),
    "statement": ("return",),
    "test_item": ("return", "require"),
    "item": (),
}
# What begins a value, after which a first word can only have been a keyword.
_VALUES = NAMES | {"INTEGER", "FLOAT", "STRING", "NOT", "SCAN", "ATTEND", "TRUE", "FALSE", "NONE"}


def correct_first_word(
    source: Source, tokens: list[Token], rule: str
) -> tuple[Token, Diagnostic] | None:
    """The keyword that a part's first word was meant to be, and the finding that says so."""
    if len(tokens) < 2 or tokens[0].kind != "NAME":
        return None
    word, after = tokens[0], tokens[1].kind
    if after in ("LPAR", "LBRACE"):
        candidates: tuple[str, ...] = _BEFORE_BRACKET[rule]
    elif after in _VALUES:
        candidates = _FIRST_WORDS[rule]
    else:
        return None
    meant = nearest(word.text, candidates)
    if meant is None:
        return None
    corrected = Token(meant.upper(), meant, word.start, word.end, word.first)
    span = Span(source, word.start, word.end)
    if word.text in FOREIGN_WORDS:
        fix = Fix(f"write `{meant}`", (Edit(span, meant),), Applicability.MAYBE)
        return corrected, Diagnostic("GAB0011", FOREIGN_WORDS[word.text], span, fixes=(fix,))
    return corrected, misspelt(span, meant)


def misspelt(span: Span, meant: str) -> Diagnostic:
    """The finding that a word is a keyword with a slip in it."""
    return Diagnostic(
        "GAB0004",
        f"`{span.text}` is not a keyword; did you mean `{meant}`?",
        span,
        label="misspelt",
        fixes=(Fix(f"write `{meant}`", (Edit(span, meant),)),),
    )
