"""The syntax phase: from text to tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from gabc.diagnostics.model import (
    MAX_ERRORS,
    Diagnostic,
    Diagnostics,
    TooManyErrors,
    too_many_errors,
)
from gabc.syntax import tree
from gabc.syntax.brackets import balance
from gabc.syntax.build import TreeBuilder
from gabc.syntax.explain import explain, explain_depth
from gabc.syntax.failure import Failure
from gabc.syntax.habits import rewrite
from gabc.syntax.lexer import lex
from gabc.syntax.limits import MAX_DEFINITIONS, MAX_FILE_BYTES
from gabc.syntax.line_starts import check_line_starts
from gabc.syntax.lr import TooDeep, Unexpected, run
from gabc.syntax.read import too_large
from gabc.syntax.recover import Recovery
from gabc.syntax.source import Source, Span
from gabc.syntax.split import Splitter
from gabc.syntax.table import load_table
from gabc.syntax.tokens import Token

_N = TypeVar("_N", bound=tree.Node)


def parse(source: Source) -> tuple[tree.File, list[Diagnostic]]:
    """The tree of a file and every syntax error in it, in the order of the text.

    Never raises for a fault of the text: what does not parse is left out of the tree and has one
    finding; items, members and statements around it are kept. An empty list means that the tree is
    the whole of the file. A text that exceeds a limit of the file as a whole, or has more than
    `MAX_ERRORS` errors, has an empty tree: nothing more of it is worth looking at.
    """
    if len(source.text) > MAX_FILE_BYTES:
        return _file(source, (), ()), [too_large(source)]
    lexed = lex(source)
    if lexed.ended or len(lexed.found) > MAX_ERRORS:
        return _file(source, (), lexed.comments), _ordered(lexed.found)
    tokens, habits = rewrite(source, lexed.tokens)
    balanced = balance(source, tokens)
    found = [*lexed.found, *habits, *balanced.found]
    found += check_line_starts(source, balanced.tokens)
    if len(found) > MAX_ERRORS:
        return _file(source, (), lexed.comments), _ordered(found)
    items, more = _items(source, balanced.tokens, balanced.partner, lexed.comments, found)
    result = _ordered([*found, *more, *_second_designs(items)])
    if len(items) > MAX_DEFINITIONS:
        return _file(source, (), lexed.comments), [_too_many_items(items)]
    return _file(source, items if len(result) <= MAX_ERRORS else (), lexed.comments), result


def _ordered(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each finding once, in the order of the text; past `MAX_ERRORS` one that says so."""
    result = Diagnostics()
    result.extend(sorted(found, key=_place))
    if len(result.found) <= MAX_ERRORS:
        return result.found
    if result.found[-1].code == "GAB0701":  # the limit that ended the reading
        return [*result.found[: MAX_ERRORS - 1], result.found[-1]]
    return [*result.found[:MAX_ERRORS], too_many_errors(result.found[MAX_ERRORS].span)]


def _items(
    source: Source,
    tokens: list[Token],
    partner: list[int],
    comments: Sequence[tree.Comment],
    found: Sequence[Diagnostic],
) -> tuple[tuple[object, ...], list[Diagnostic]]:
    """The items of a file: parsed as a whole where it is right, piece by piece where not."""
    table = load_table()
    builder = TreeBuilder(source, tokens, comments)
    try:
        items = run(table, builder.actions(table), source, tokens, "start")
    except (Unexpected, TooDeep) as error:
        builder = TreeBuilder(source, tokens, comments)
        recovery = Recovery(source, table, builder, Splitter(source, tokens, partner), found)
        try:
            items = recovery.file()
        except TooManyErrors:
            return (), [*found, *recovery.found]
        wrong = [*found, *recovery.found] or [_as_a_whole(source, tokens, error)]
        return items, [*wrong, *_roots(builder.found, wrong)]
    assert isinstance(items, tuple)
    return items, _roots(builder.found, found)


def _as_a_whole(source: Source, tokens: list[Token], error: Unexpected | TooDeep) -> Diagnostic:
    """The finding for a file whose parts all parse alone: it is their sum that goes too deep."""
    if isinstance(error, TooDeep):
        return explain_depth(Span(source, error.token.start, error.token.end))
    return explain(Failure(source, tokens, error, "start"))


def _roots(built: Iterable[Diagnostic], found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without returns that are missing, or not last, because something before them is wrong."""
    built = list(built)
    return [d for d in built if not any(_causes(other, d) for other in [*found, *built])]


def _causes(error: Diagnostic, other: Diagnostic) -> bool:
    if other.code not in ("GAB0006", "GAB0009"):
        return False
    if error.code == "GAB0002" and error.related:
        return error.span.start <= other.span.start <= error.related[0].span.end
    start = other.related[0].span.start if other.related else other.span.start
    if error.code == "GAB0006":
        # The last statement is one that a `return` before it makes unreachable.
        return other.code == "GAB0009" and error.span.start <= start < error.span.end
    return (
        error is not other
        and other.code == "GAB0009"
        and start <= error.span.start < other.span.end
    )


def _file(source: Source, items: Sequence[object], comments: Sequence[tree.Comment]) -> tree.File:
    designs = _of(items, tree.Design)
    return tree.File(
        source=source,
        design=designs[0] if designs else None,
        imports=_of(items, tree.Import),
        functions=_of(items, tree.Function),
        units=_of(items, tree.Unit),
        tests=_of(items, tree.Test),
        comments=tuple(comments),
    )


def _of(items: Sequence[object], kind: type[_N]) -> tuple[_N, ...]:
    return tuple(item for item in items if isinstance(item, kind))


def _second_designs(items: Sequence[object]) -> list[Diagnostic]:
    return [
        Diagnostic("GAB0104", "a file names one design", design.span, label="the second")
        for design in _of(items, tree.Design)[1:]
    ]


def _too_many_items(items: Sequence[object]) -> Diagnostic:
    first = items[MAX_DEFINITIONS]
    assert isinstance(first, tree.Node)
    return Diagnostic(
        "GAB0701",
        f"a file has at most {MAX_DEFINITIONS} units, functions, tests and imports",
        first.span,
        label="one too many",
        help="move some of them into a file of their own and import them",
        facts=(("limit", str(MAX_DEFINITIONS)),),
    )


def _place(diagnostic: Diagnostic) -> tuple[int, int, str]:
    return diagnostic.span.start, diagnostic.span.end, diagnostic.code
