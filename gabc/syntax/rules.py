"""What the grammar cannot say about bodies: nothing follows a return, and a return ends them."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.syntax import tree
from gabc.syntax.source import Span

_Statements = Sequence[tree.Stmt | tree.Require]


def check_dead(statements: _Statements) -> list[Diagnostic]:
    """Finds statements that no path reaches, because one before them has returned."""
    for index, statement in enumerate(statements[:-1]):
        if _returns(statement):
            rest = statements[index + 1].span.to(statements[-1].span)
            return [_dead(statement, rest)]
    return []


def check_return(statements: _Statements, body: Span, what: str) -> list[Diagnostic]:
    """Finds a body that can end without having returned; `body` spans its braces."""
    if statements and _returns(statements[-1]):
        return []
    if not statements:
        return [
            Diagnostic(
                "GAB0009",
                f"{what} is empty",
                body,
                label="returns nothing",
                help="compute a value and `return` it",
            )
        ]
    last = statements[-1]
    closing = Span(body.source, body.end - 1, body.end)
    return [
        Diagnostic(
            "GAB0009",
            f"{what} can end without a `return`",
            closing,
            label="no value here",
            related=(Related(last.span, _why(last)),),
            fixes=_return_last(last, closing),
        )
    ]


def _returns(statement: tree.Stmt | tree.Require) -> bool:
    """Whether every path through the statement returns."""
    if isinstance(statement, tree.Return):
        return True
    if isinstance(statement, tree.If):
        return all(
            bool(branch) and any(_returns(inner) for inner in branch)
            for branch in (statement.then, statement.otherwise)
        )
    return False


def _why(last: tree.Stmt | tree.Require) -> str:
    if isinstance(last, tree.If):
        return "not every branch of this returns"
    return "the last statement"


def _return_last(last: tree.Stmt | tree.Require, closing: Span) -> tuple[Fix, ...]:
    """`return x` after a last `x = ...`."""
    if not isinstance(last, tree.Assign) or len(last.targets) != 1:
        return ()
    target = last.targets[0]
    if not isinstance(target, tree.Name):
        return ()
    source = closing.source
    line_start = source.text.rfind("\n", 0, last.span.start) + 1
    indent = source.text[line_start : last.span.start]
    separator = f"\n{indent}" if not indent.strip() else " "
    place = Span(source, last.span.end, last.span.end)
    edit = Edit(place, f"{separator}return {target.id}")
    return (Fix(f"return `{target.id}`", (edit,), Applicability.MAYBE),)


def _dead(statement: tree.Stmt | tree.Require, rest: Span) -> Diagnostic:
    return Diagnostic(
        "GAB0006",
        "nothing after a `return` is ever computed",
        rest,
        label="never reached",
        related=(Related(statement.span, "returns here, always"),),
        fixes=(Fix("remove what follows", (Edit(rest, ""),), Applicability.MAYBE),),
    )
