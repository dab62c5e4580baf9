"""Turns a parser's refusal into a sentence that says what to write instead."""

from __future__ import annotations

from collections.abc import Callable

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix
from gabc.diagnostics.suggest import nearest
from gabc.syntax import teach
from gabc.syntax.expected import describe, literal
from gabc.syntax.failure import Failure
from gabc.syntax.limits import MAX_TREE_DEPTH
from gabc.syntax.misspelt import misspelt
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import END, ENDERS, NAMES, Token, clip

_PUNCTUATION = frozenset(
    ("LPAR", "RPAR", "LSQB", "RSQB", "COLON", "EQUAL", "COMMA", "IN", "IMPORT")
)


def explain(failure: Failure) -> Diagnostic:
    """The finding for one part that does not parse: the first explanation that fits."""
    for explanation in _EXPLANATIONS:
        diagnostic = explanation(failure)
        if diagnostic is not None:
            return diagnostic
    return _unexpected(failure)


def explain_depth(span: Span) -> Diagnostic:
    """The finding for a part whose tree is too deep."""
    return Diagnostic(
        "GAB0701",
        f"expressions and blocks nest at most {MAX_TREE_DEPTH} deep",
        span,
        label="nests deeper",
        help="give the inner parts names of their own",
        facts=(("limit", str(MAX_TREE_DEPTH)),),
    )


def explain_expression(source: Source, tokens: list[Token], rule: str) -> Diagnostic:
    """The finding for an expression where a statement or a member should stand."""
    span = Span(source, tokens[0].start, tokens[-1].end)
    place = Span(source, span.start, span.start)
    if rule == "member":
        title, text = "name it", "name = "
        message = "a child or parameter needs a name: `name = ...`"
    elif rule == "test_item":
        title, text = "state it", "require "
        message = "an expression does nothing here; a test states facts with `require`"
    else:
        title, text = "return it", "return "
        message = "an expression does nothing here; return it or give it a name"
    kind = Applicability.PLACEHOLDER if rule == "member" else Applicability.MAYBE
    return Diagnostic(
        "GAB0001",
        message,
        span,
        label="its value is lost",
        fixes=(Fix(title, (Edit(place, text),), kind),),
    )


def _unexpected(failure: Failure) -> Diagnostic:
    expected = describe(failure.expected)
    actual = ""
    if failure.token.kind == END:
        after = f" after `{_last_text(failure.previous)}`" if failure.previous else ""
        message = f"expected {expected}{after}"
    elif END in failure.expected and failure.previous:
        expected = ""
        message = f"unexpected {failure.shown} after `{_last_text(failure.previous)}`"
    else:
        actual = failure.shown
        message = f"expected {expected}, found {actual}"
    return Diagnostic(
        "GAB0001",
        message,
        failure.span,
        expected=expected,
        actual=actual,
        fixes=_insertion(failure),
    )


def _last_text(token: Token) -> str:
    return clip(token.text) if token.value is None else "}"


def _insertion(failure: Failure) -> tuple[Fix, ...]:
    """The one punctuation mark or word that is missing, where only one could stand."""
    if len(failure.expected) != 1 or failure.expected[0] not in _PUNCTUATION:
        return ()
    text = literal(failure.expected[0])
    end = failure.previous.end if failure.previous else failure.token.start
    if text == "(" and failure.token.text == "{":
        text = "()"
    elif text.isalpha() or text == "=":
        text = f" {text}"
    edit = Edit(Span(failure.source, end, end), text)
    return (Fix(f"insert `{text.strip()}`", (edit,), Applicability.MAYBE),)


def _misspelt_word(failure: Failure) -> Diagnostic | None:
    """A keyword with a slip in the middle of a part: `x = a if b esle c`."""
    if failure.token.kind not in NAMES:
        return None
    keywords = [text for kind in failure.expected if (text := literal(kind)).isalpha()]
    meant = nearest(failure.token.text, [k for k in keywords if len(k) > 1])
    if meant is None or "NAME" in failure.expected:
        return None
    return misspelt(failure.span, meant)


def _reserved(failure: Failure) -> Diagnostic | None:
    """A keyword where a name should stand."""
    word = failure.token.text
    if "NAME" not in failure.expected or not word.isidentifier() or failure.token.kind in NAMES:
        return None
    fix = Fix(
        f"rename it to `{word}_`, everywhere",
        (Edit(failure.span, f"{word}_"),),
        Applicability.MAYBE,
    )
    return Diagnostic(
        "GAB0010",
        f"`{word}` is a word of the language and cannot be a name",
        failure.span,
        label="reserved",
        fixes=(fix,),
    )


def _missing_separator(failure: Failure) -> Diagnostic | None:
    """`f(a b)`, `for e es {`, `w = 3 x`."""
    previous = failure.previous
    if previous is None or previous.kind not in ENDERS or not failure.begins_value:
        return None
    fixes: tuple[Fix, ...] = ()
    separators = [kind for kind in ("IN", "COMMA") if kind in failure.expected]
    between = f"between `{clip(previous.text)}` and {failure.shown}"
    if separators:
        text = literal(separators[0])
        missing = f"`{text}` or an operator" if "PLUS" in failure.expected else f"`{text}`"
        place = Span(failure.source, previous.end, previous.end)
        edit = Edit(place, f" {text}" if text.isalpha() else text)
        fixes = (Fix(f"insert `{text}`", (edit,), Applicability.MAYBE),)
    elif END in failure.expected and failure.rule in ("statement", "test_item", "member"):
        missing = "an operator"
    else:
        return None
    message = f"{missing} is missing {between}"
    return Diagnostic("GAB0001", message, failure.span, expected=missing, fixes=fixes)


_EXPLANATIONS: tuple[Callable[[Failure], Diagnostic | None], ...] = (
    teach.foreign_word,
    teach.misplaced,
    teach.colon_block,
    teach.equality,
    teach.positional_after_keyword,
    teach.none_axis,
    teach.chained_comparison,
    teach.comprehension,
    teach.braces_in_expression,
    teach.block_after_call,
    teach.scalar_type,
    teach.untyped_hyper,
    teach.tensor_type,
    teach.optional_write,
    teach.starred,
    teach.tuple_literal,
    teach.bare_scalar,
    teach.chunk_of_attend,
    teach.annotated,
    teach.bad_target,
    _misspelt_word,
    _reserved,
    _missing_separator,
)
