"""Lines that silently go on from the line before."""

from __future__ import annotations

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import CLOSERS, ENDERS, OPENERS, Token

_CONTINUES = frozenset(
    (
        *("PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "AT", "POWER", "COMPARE"),
        *("COALESCE", "AND", "OR", "LPAR", "LSQB"),
    )
)


def check_line_starts(source: Source, tokens: list[Token]) -> list[Diagnostic]:
    """Finds lines that begin with an operator, `(` or `[` where the line before could have ended.

    Newlines mean nothing, so such a line is read as part of the statement before it, whatever its
    author meant. Inside round and square brackets nothing can end, and a line may begin anyhow.
    """
    found = []
    brackets: list[str] = []
    previous: Token | None = None
    for token in tokens:
        if (
            token.first
            and token.kind in _CONTINUES
            and previous is not None
            and previous.kind in ENDERS
            and (not brackets or brackets[-1] == "LBRACE")
        ):
            found.append(_diagnostic(source, previous, token))
        if token.kind in OPENERS:
            brackets.append(token.kind)
        elif token.kind in CLOSERS and brackets:
            brackets.pop()
        previous = token
    return found


def _diagnostic(source: Source, previous: Token, token: Token) -> Diagnostic:
    between = Span(source, previous.end, token.start)
    fixes: tuple[Fix, ...] = ()
    if not between.text.strip():
        fixes = (Fix("join it to the line before", (Edit(between, " "),), Applicability.MAYBE),)
    return Diagnostic(
        "GAB0008",
        f"a line that begins with `{token.text}` continues the statement before it",
        Span(source, token.start, token.end),
        label="newlines mean nothing here",
        help="end the line before with the operator, or begin this one with a target `name = `",
        fixes=fixes,
    )
