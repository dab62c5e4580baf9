"""Cuts a text into tokens, comments, and findings about what is neither.

Every piece of wrong text either becomes the token that was meant, so that parsing goes on as if it
had been written right, or is left out; one finding says so, with the edit where it is certain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from gabc.diagnostics.model import MAX_ERRORS, Applicability, Diagnostic, Edit, Fix
from gabc.syntax import tree
from gabc.syntax.limits import MAX_LITERAL, MAX_NAME, MAX_TOKENS
from gabc.syntax.source import Source, Span
from gabc.syntax.table import Table, load_table
from gabc.syntax.tokens import Token, clip


@dataclass(frozen=True, slots=True)
class _Meant:
    """What wrong text stands for: the token kind (None: nothing), its text, and why it is wrong."""

    kind: str | None
    text: str
    reason: str
    applicability: Applicability = Applicability.MACHINE


_MAYBE = Applicability.MAYBE
_SYMBOLS = {
    "&&": _Meant("AND", "and", "`&&` is written `and`"),
    "||": _Meant("OR", "or", "`||` is written `or`"),
    "!": _Meant("NOT", "not ", "`!` is written `not`"),
    "&": _Meant("AND", "and", "`&` is written `and`, which binds looser", _MAYBE),
    "|": _Meant("OR", "or", "`|` is written `or`, which binds looser", _MAYBE),
    "~": _Meant("NOT", "not ", "`~` is written `not`, which binds looser", _MAYBE),
    "^": _Meant("POWER", "**", "`^` is not an operator; a power is written `**`", _MAYBE),
    ";": _Meant(None, "", "statements need no `;` between them"),
    "\\": _Meant(None, "", "a line needs no `\\` to go on: newlines mean nothing"),
    "\ufeff": _Meant(None, "", "the file begins with a byte order mark"),
    "\u00a0": _Meant(None, " ", "a no-break space is not a space"),
    "−": _Meant("MINUS", "-", "`−` is not the ASCII minus `-`"),
    "–": _Meant("MINUS", "-", "`–` is not the ASCII minus `-`"),
    "×": _Meant("STAR", "*", "`×` is written `*`"),
    "·": _Meant("STAR", "*", "`·` is written `*`"),
    "→": _Meant("ARROW", "->", "`→` is written `->`"),
    "≤": _Meant("COMPARE", "<=", "`≤` is written `<=`"),
    "≥": _Meant("COMPARE", ">=", "`≥` is written `>=`"),
    "≠": _Meant("COMPARE", "!=", "`≠` is written `!=`"),
    "…": _Meant("ELLIPSIS", "...", "`…` is written `...`"),
}
_QUOTES = "“”„‘’"

# Wrong texts that a right token would otherwise split, tried first ...
_WRONG_FIRST = (
    ("DOCSTRING", r'"""(?:[^"]|"(?!""))*(?:"""|\Z)|' + r"'''(?:[^']|'(?!''))*(?:'''|\Z)"),
    ("AUGMENTED", r"(?:\*\*|//|[-+*/%@])=(?!=)"),
    ("POINT", r"\.[0-9]\w*"),
)
# ... and wrong texts that no right token begins, tried last.
_WRONG_LAST = (
    ("OPEN_STRING", r'"[^"\n]*"?'),
    ("QUOTED", r"'[^'\n]*'?"),
    ("CURLY", f"[{_QUOTES}][^{_QUOTES}\\n\"']*[{_QUOTES}\"']?"),
    ("SYMBOL", r"&&|\|\||[" + "".join(map(re.escape, (s for s in _SYMBOLS if len(s) == 1))) + "]"),
    ("OTHER", r"[^\x00-\x7f]+|[\x00-\x1f\x7f]+|[\s\S]"),
)
_WRONG = {name for name, _ in (*_WRONG_FIRST, *_WRONG_LAST)}
_NUMBER_TAIL = re.compile(r"\.?\w+|\.(?!\.)")


@dataclass(slots=True)
class Lexed:
    """`ended` says that a limit was met: the text was not read to its end."""

    tokens: list[Token] = field(default_factory=list)
    comments: list[tree.Comment] = field(default_factory=list)
    found: list[Diagnostic] = field(default_factory=list)
    ended: bool = False


@cache
def _scanner() -> re.Pattern[str]:
    table = load_table()
    symbols = sorted((t for t in table.literals if not t.isidentifier()), key=len, reverse=True)
    groups = (
        *_WRONG_FIRST,
        *sorted(table.regexes, key=lambda pair: pair[0] not in ("SPACE", "NAME")),
        ("LITERAL", "|".join(map(re.escape, symbols))),
        *_WRONG_LAST,
    )
    return re.compile("|".join(f"(?P<{name}>{regex})" for name, regex in groups))


def lex(source: Source) -> Lexed:
    """Tokens and comments of a text; never fails, `found` holds what is wrong."""
    lexed = Lexed()
    table = load_table()
    text = source.text
    first = True
    skip_to = 0
    for match in _scanner().finditer(text):
        start, end = match.span()
        if start < skip_to:
            continue
        kind = match.lastgroup or ""
        if kind == "SPACE":
            first = first or "\n" in match[0]
            continue
        if kind == "COMMENT":
            lexed.comments.append(tree.Comment(Span(source, start, end), match[0], first))
            continue
        if kind in _WRONG:
            _wrong(lexed, source, kind, start, end, first)
        elif kind in ("INTEGER", "FLOAT") and (tail := _NUMBER_TAIL.match(text, end)):
            skip_to = tail.end()
            _bad_number(lexed, source, start, skip_to, first)
        else:
            word = match[0]
            lexed.tokens.append(Token(_kind(table, kind, word), word, start, end, first))
        first = False
        beyond = _beyond(lexed, source, kind, start, end)
        if beyond is not None:
            lexed.found.append(beyond)
            lexed.ended = True
        if lexed.ended or len(lexed.found) > MAX_ERRORS:
            break
    return lexed


def _kind(table: Table, group: str, word: str) -> str:
    if group == "LITERAL":
        return table.literals[word]
    return table.literals.get(word, group) if group == "NAME" else group


def _beyond(lexed: Lexed, source: Source, kind: str, start: int, end: int) -> Diagnostic | None:
    """The finding about the token just read where it exceeds a limit."""
    length = end - start
    if len(lexed.tokens) > MAX_TOKENS:
        limit, message = MAX_TOKENS, f"a file has at most {MAX_TOKENS} words and symbols"
    elif kind == "NAME" and length > MAX_NAME:
        limit, message = (
            MAX_NAME,
            f"a name has at most {MAX_NAME} characters, and this one {length}",
        )
    elif kind in ("STRING", "FLOAT") and length > MAX_LITERAL:
        what = "string" if kind == "STRING" else "number"
        limit = MAX_LITERAL
        message = f"a {what} has at most {MAX_LITERAL} characters, and this one {length}"
    else:
        return None
    return Diagnostic(
        "GAB0701",
        message,
        Span(source, start, end),
        label="nothing is read from here on",
        facts=(("limit", str(limit)),),
    )


def _wrong(lexed: Lexed, source: Source, kind: str, start: int, end: int, first: bool) -> None:
    """Reports one piece of wrong text and appends the token that was meant, if any."""
    span = Span(source, start, end)
    text = span.text
    line, column = source.position(start)
    meant = _meaning(kind, text, source.line(line)[: column - 1])
    if kind == "AUGMENTED":
        # Whether `x *= a + b` may become `x = x * a + b` depends on what follows: see `habits`.
        lexed.tokens.append(Token("AUGMENTED", text, start, end, first))
        return
    if isinstance(meant, str):
        lexed.found.append(Diagnostic("GAB0003", meant, span, label="not part of the language"))
        return
    fix = Fix(_title(kind, meant), (Edit(span, meant.text),), meant.applicability)
    lexed.found.append(Diagnostic("GAB0003", meant.reason, span, fixes=(fix,)))
    if meant.kind is not None:
        lexed.tokens.append(Token(meant.kind, meant.text, start, end, first))


def _title(kind: str, meant: _Meant) -> str:
    if kind == "DOCSTRING":
        return "write a comment"
    return f"write `{meant.text.strip()}`" if meant.text.strip() else "remove it"


def _meaning(kind: str, text: str, before: str) -> _Meant | str:
    """What was meant, or a message where that cannot be told; `before` stands on the line."""
    if kind == "SYMBOL":
        return _SYMBOLS[text]
    if kind == "POINT":
        return _Meant("FLOAT", f"0{text}", f"a number begins with a digit: `0{text}`")
    if kind == "DOCSTRING":
        lines = text.strip("\"'").strip().splitlines()
        indent = before if not before.strip() else ""
        comment = f"\n{indent}".join(f"# {line.strip()}".rstrip() for line in lines)
        return _Meant(None, comment, "there are no docstrings; a comment begins with `#`", _MAYBE)
    if kind == "OPEN_STRING":
        if "\\" in text:
            return _Meant("STRING", text.replace("\\", ""), "a string has no `\\` escapes", _MAYBE)
        return _Meant("STRING", f'{text.rstrip()}"', "the string is not closed on its line", _MAYBE)
    if kind in ("QUOTED", "CURLY"):
        inner = text.strip("'\"" + _QUOTES)
        return _Meant("STRING", f'"{inner}"', 'a string is written in double quotes `"`')
    shown = clip(text) if text.isprintable() else f"U+{ord(text[0]):04X}"
    if text.isidentifier():
        return f"`{shown}`: names are ASCII letters, digits and `_`"
    return f"`{shown}` is not part of the language"


def _bad_number(lexed: Lexed, source: Source, start: int, end: int, first: bool) -> None:
    """`1.`, `1_000`, `0x10`, `2K`: digits run into what is no number."""
    span = Span(source, start, end)
    text = span.text
    fixed = ""
    if text.endswith(".") and text[:-1].isdigit():
        fixed = f"{text}0"
    elif text.replace("_", "").isdigit():
        fixed = text.replace("_", "")
    fixes = (Fix(f"write `{fixed}`", (Edit(span, fixed),)),) if fixed else ()
    lexed.found.append(Diagnostic("GAB0003", f"`{clip(text)}` is not a number", span, fixes=fixes))
    kind = "INTEGER" if fixed.isdigit() else "FLOAT"
    lexed.tokens.append(Token(kind, fixed or "0.0", start, end, first))
