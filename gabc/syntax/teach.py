"""Explanations of what people and models write out of habit, each with what the language has.

Each function looks at one failure and answers only if it is the habit it knows.
"""

from __future__ import annotations

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.diagnostics.suggest import nearest
from gabc.syntax.failure import Failure
from gabc.syntax.misspelt import FOREIGN_WORDS
from gabc.syntax.source import Span
from gabc.syntax.tokens import END, NAMES, Token

_AT_TOP = {
    "FORWARD": "`forward` stands inside a `unit`",
    "RETURN": "`return` stands inside `forward` or `fn`",
    "DIM": "`dim` stands inside a `unit`",
    "PARAM": "`param` stands inside a `unit`",
    "REQUIRE": "contracts stand directly after the `gab` line",
}
_SCALARS = ("int", "float", "bool", "str", "unit", "dim", "list")


def _teach(message: str, span: Span, *fixes: Fix, label: str = "", help: str = "") -> Diagnostic:
    return Diagnostic("GAB0011", message, span, label=label, help=help, fixes=fixes)


def foreign_word(failure: Failure) -> Diagnostic | None:
    """Statements and words of Python that the language does without."""
    first = failure.tokens[0]
    if first.text in FOREIGN_WORDS and first.kind in ("NAME", "IMPORT") and failure.index <= 1:
        return _teach(FOREIGN_WORDS[first.text], failure.place(first))
    for token in (failure.previous, failure.token):
        if token is not None and token.kind == "NAME" and token.text == "lambda":
            message = "there is no `lambda`: define `fn name(x) { return ... }` beside the units"
            return _teach(message, failure.place(token))
    previous = failure.previous
    if previous is None or previous.kind != "NAME" or failure.token.kind != "STRING":
        return None
    if previous.end == failure.token.start and previous.text in ("f", "r", "b"):
        span = failure.place(previous).to(failure.span)
        return _teach(f'strings have no prefixes such as `{previous.text}"..."`', span)
    return None


def misplaced(failure: Failure) -> Diagnostic | None:
    """Things that stand elsewhere: statements among members, members at the top level."""
    token = failure.token
    if failure.index == 0 and failure.rule == "start":
        message = _AT_TOP.get(token.kind, "")
        if not message and token.kind in NAMES:
            message = "names are given inside a `unit`; here stand units, functions and imports"
    elif failure.index == 0 and failure.rule == "member":
        misplaced = token.kind in ("RETURN", "FOR", "STATE")
        message = f"`{token.text}` stands inside `forward`" if misplaced else ""
    elif failure.rule in ("statement", "test_item") and failure.index == 0:
        misplaced = token.kind in ("DIM", "READS", "WRITES", "PARAM", "BUFFER", "REQUIRE")
        where = "among the members of a unit, before `forward`"
        message = f"`{token.text}` stands {where}" if misplaced else ""
    elif token.kind == "IF" and "INTEGER" in failure.expected:
        message = "a choice between values is written `a if condition else b`"
    else:
        message = ""
    if not message:
        return None
    return Diagnostic("GAB0001", message, failure.span, label="not here")


def colon_block(failure: Failure) -> Diagnostic | None:
    """`if x:` with an indented block."""
    token, following = failure.token, failure.following
    if token.kind != "COLON" or not {"LBRACE", "COALESCE", "ARROW"} & set(failure.expected):
        return None
    first = failure.tokens[0].kind
    if first not in ("IF", "FOR", "FORWARD", "FN", "UNIT", "TEST", "ELSE"):
        return None
    if following is not None and not following.first and first not in ("FORWARD", "IF", "FOR"):
        return None
    message = "a block is written in braces `{ ... }`; `:` and indentation mean nothing"
    return _teach(message, failure.span, *_braces(failure), label="`{` expected")


def _braces(failure: Failure) -> tuple[Fix, ...]:
    """Braces around the lines below that are indented deeper than the colon's."""
    source = failure.source
    number = source.position(failure.token.start)[0]
    count = source.text.count("\n") + 1
    head = source.line(number)
    indent = len(head) - len(head.lstrip())
    last = number
    for line in range(number + 1, count + 1):
        text = source.line(line)
        if text.strip() and len(text) - len(text.lstrip()) <= indent:
            break
        last = line if text.strip() else last
    if last == number:
        return ()
    end = failure.span.end
    for _ in range(number, last + 1):
        newline = source.text.find("\n", end)
        line_end = len(source.text) if newline < 0 else newline
        end = line_end + 1
    place = Span(source, line_end, line_end)
    edits = (Edit(failure.span, " {"), Edit(place, f"\n{head[:indent]}}}"))
    return (Fix("write braces", edits, Applicability.MAYBE),)


def equality(failure: Failure) -> Diagnostic | None:
    """`if x = 3 {`."""
    first = failure.tokens[0].kind
    if failure.token.kind != "EQUAL" or "COMPARE" not in failure.expected:
        return None
    if first not in ("IF", "REQUIRE") and failure.depth == 0:
        return None
    fix = Fix("write `==`", (Edit(failure.span, "=="),))
    return _teach("`=` gives a name; equality is `==`", failure.span, fix)


def positional_after_keyword(failure: Failure) -> Diagnostic | None:
    """`f(a=1, b)`."""
    if not failure.openers or failure.tokens[failure.openers[-1]].kind != "LPAR":
        return None
    opener = failure.openers[-1]
    keyword, start = _keyword_before(failure.tokens, opener, failure.index)
    if keyword is None or "COMMA" in failure.expected or failure.token.kind == "EQUAL":
        return None
    if "NAME" in failure.expected:
        start = failure.index
    elif "EQUAL" not in failure.expected or start >= failure.index:
        return None
    if start >= len(failure.tokens):
        return None
    token = failure.tokens[start]
    if token.kind in ("COMMA", "RPAR"):
        return None
    return Diagnostic(
        "GAB0007",
        "a positional argument stands after a keyword argument",
        failure.place(token),
        label="positional",
        help="move it before the keyword arguments, or give it its name",
        related=(Related(failure.place(keyword), "the first keyword argument"),),
    )


def _keyword_before(tokens: list[Token], opener: int, stop: int) -> tuple[Token | None, int]:
    """The first `name =` of a call and the index where its argument at `stop` begins."""
    first = None
    depth = 0
    start = opener + 1
    for index in range(opener + 1, min(stop, len(tokens))):
        kind = tokens[index].kind
        if kind in ("LPAR", "LSQB"):
            depth += 1
        elif kind in ("RPAR", "RSQB"):
            depth -= 1
        elif depth == 0 and kind == "COMMA":
            start = index + 1
        elif depth == 0 and kind == "EQUAL" and first is None:
            first = tokens[index - 1]
    return first, start


def none_axis(failure: Failure) -> Diagnostic | None:
    """`None` outside a subscript."""
    if failure.token.kind != "NONE_AXIS":
        return None
    fix = Fix("write `none`", (Edit(failure.span, "none"),))
    return _teach("`None` is written `none`", failure.span, fix)


def chained_comparison(failure: Failure) -> Diagnostic | None:
    """`a < b < c`."""
    if failure.token.kind != "COMPARE" or "AND" not in failure.expected:
        return None
    return Diagnostic(
        "GAB0001",
        "comparisons do not chain: write `a < b and b < c`",
        failure.span,
        label="a second comparison",
    )


def comprehension(failure: Failure) -> Diagnostic | None:
    """`[f(e) for e in xs]`."""
    if failure.token.kind != "FOR" or not failure.openers:
        return None
    message = "there are no comprehensions: `Expert() * 8` makes eight, `for e in xs { }` unrolls"
    return _teach(message, failure.span)


def braces_in_expression(failure: Failure) -> Diagnostic | None:
    """A dictionary or set."""
    if failure.token.text != "{" or "INTEGER" not in failure.expected:
        return None
    message = "there are no dictionaries or sets; braces are for blocks"
    return _teach(message, failure.span)


def block_after_call(failure: Failure) -> Diagnostic | None:
    """`f(x) { ... }`."""
    if failure.token.text != "{" or "LBRACE" in failure.expected or failure.previous is None:
        return None
    if failure.previous.kind != "RPAR":
        return None
    return Diagnostic(
        "GAB0001",
        "only `scan(...)` and `attend(...)` take a block",
        failure.span,
        label="no block here",
    )


def scalar_type(failure: Failure) -> Diagnostic | None:
    """A hyperparameter's type that does not exist."""
    if not {"INT_WORD", "STR_WORD", "UNIT"} <= set(failure.expected):
        return None
    if failure.token.kind == END or "NAME" in failure.expected:
        return None
    meant = nearest(failure.token.text, _SCALARS)
    fixes = (Fix(f"write `{meant}`", (Edit(failure.span, meant),)),) if meant else ()
    return Diagnostic(
        "GAB0001",
        f"{failure.shown} is not a type of hyperparameter",
        failure.span,
        expected="`int`, `float`, `bool`, `str`, `unit`, `dim` or `list[...]` of one",
        actual=failure.shown,
        fixes=fixes,
    )


def untyped_hyper(failure: Failure) -> Diagnostic | None:
    """`unit Name(heads=8)`."""
    name = failure.previous
    if failure.rule != "unit" or failure.expected != ("COLON",) or name is None:
        return None
    following = failure.following
    kinds = {"INTEGER": "int", "FLOAT": "float", "STRING": "str", "TRUE": "bool", "FALSE": "bool"}
    kind = kinds.get(following.kind if following and failure.token.kind == "EQUAL" else "", "")
    place = Span(failure.source, name.end, name.end)
    fix = Fix(
        f"write `{name.text}: {kind or 'int'}`",
        (Edit(place, f": {kind or 'int'}"),),
        Applicability.MACHINE if kind else Applicability.PLACEHOLDER,
    )
    return Diagnostic(
        "GAB0001",
        f"hyperparameter `{name.text}` needs a type",
        failure.place(name),
        expected=f"`{name.text}: {kind or 'int'}`",
        fixes=(fix,),
    )


def tensor_type(failure: Failure) -> Diagnostic | None:
    """`x: Tensor`."""
    expected = set(failure.expected)
    if not {"LSQB", "COMPLEX_WORD", "INT_WORD"} <= expected or "NAME" in expected:
        return None
    return Diagnostic(
        "GAB0001",
        "a type is a shape such as `[B, L, D]`, or `int[B, L]` for integers",
        failure.span,
        label="not a shape",
        expected="`[...]`",
        actual=failure.shown,
    )


def optional_write(failure: Failure) -> Diagnostic | None:
    """`writes v: [B, L, D]?`."""
    if failure.token.kind != "QUESTION":
        return None
    fix = Fix("remove `?`", (Edit(failure.span, ""),))
    message = "`?` marks a read that may be absent; it has no meaning here"
    return Diagnostic("GAB0001", message, failure.span, fixes=(fix,))


def starred(failure: Failure) -> Diagnostic | None:
    """`*args`, `**kwargs`."""
    if failure.token.kind not in ("STAR", "POWER") or "POWER" in failure.expected:
        return None
    if not failure.openers:
        return None
    message = "there are no `*` arguments; a call passes the whole of `Z` on by itself"
    return _teach(message, failure.span)


def annotated(failure: Failure) -> Diagnostic | None:
    """`x: Tensor = ...` in a body."""
    if failure.token.kind != "COLON" or failure.rule not in ("statement", "test_item", "member"):
        return None
    if failure.index != 1:
        return None
    if failure.rule == "member":
        place = Span(failure.source, failure.tokens[0].start, failure.tokens[0].start)
        fix = Fix("make it a `param`", (Edit(place, "param "),), Applicability.MAYBE)
        return Diagnostic(
            "GAB0001", "a parameter is written `param name: [dims]`", failure.span, fixes=(fix,)
        )
    message = "a value has no declared type; shapes are inferred and checked"
    return _teach(message, failure.span, label="only `state` is declared with a type")


def tuple_literal(failure: Failure) -> Diagnostic | None:
    """`(a, b)`."""
    if failure.token.kind != "COMMA" or not failure.openers:
        return None
    opener = failure.openers[-1]
    if failure.tokens[opener].kind != "LPAR" or "RPAR" not in failure.expected:
        return None
    message = (
        "there are no tuples: a list is `[a, b]`; `return a, b` and `a, b = ...` need no `( )`"
    )
    return _teach(message, failure.place(failure.tokens[opener]).to(failure.span))


def bare_scalar(failure: Failure) -> Diagnostic | None:
    """`fn f(k: int)`."""
    word = failure.previous
    if word is None or word.text not in _SCALARS or failure.expected != ("LSQB",):
        return None
    message = f"`{word.text}` alone is no type of an argument: static arguments need none"
    colon = failure.tokens[failure.index - 2]
    fixes: tuple[Fix, ...] = ()
    if colon.kind == "COLON":
        edit = Edit(failure.place(colon).to(failure.place(word)), "")
        fixes = (Fix("remove it", (edit,), Applicability.MAYBE),)
    help = f"a tensor of them is `{word.text}[B, L]`"
    return Diagnostic("GAB0001", message, failure.place(word), help=help, fixes=fixes)


def chunk_of_attend(failure: Failure) -> Diagnostic | None:
    """`attend(q, k, v) chunk 64 { }`."""
    if failure.token.kind != "CHUNK" or failure.previous is None:
        return None
    if failure.previous.kind != "RPAR" or failure.following is None:
        return None
    message = "only `scan(...)` takes a `chunk`"
    return Diagnostic("GAB0001", message, failure.span, label="not here")


def bad_target(failure: Failure) -> Diagnostic | None:
    """`f(x) = 3`."""
    if failure.rule not in ("statement", "test_item") or "EQUAL" not in failure.expected:
        return None
    if failure.token.kind == END or not {"DOT", "LSQB"} & set(failure.expected):
        return None
    if not any(token.kind == "EQUAL" for token in failure.tokens[failure.index :]):
        return None
    target = failure.place(failure.tokens[0]).to(failure.span)
    message = "only a name, `Z.key` or an element `S[...]` can be assigned to"
    return Diagnostic("GAB0001", message, target, label="not a target")
