"""Pairs brackets, supplies those left out and drops those that close nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.syntax.limits import MAX_NESTING
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import CLOSERS, ENDERS, NAMES, OPENERS, Token

_TEXT = {"LPAR": "(", "LSQB": "[", "LBRACE": "{", "RPAR": ")", "RSQB": "]", "RBRACE": "}"}
_ITEMS = frozenset(("UNIT", "FN", "GAB", "FROM"))
# Words that begin a member or a statement and stand in no expression.
_STARTERS = frozenset(
    ("RETURN", "STATE", "FOR", "DIM", "PARAM", "BUFFER", "READS", "WRITES", "FORWARD", "REQUIRE")
)


@dataclass(slots=True)
class Balanced:
    """`tokens` with every bracket paired; `partner[i]` is the index of the other one, or -1."""

    tokens: list[Token] = field(default_factory=list)
    partner: list[int] = field(default_factory=list)
    found: list[Diagnostic] = field(default_factory=list)


def balance(source: Source, tokens: list[Token]) -> Balanced:
    """Pairs the brackets of a file in one pass.

    A bracket left open is closed before the next thing that cannot stand inside it: a unit, a
    `forward`, a statement, an outer closing bracket. Past `MAX_NESTING` nothing is read at all.
    """
    return _Balancer(source, tokens).run()


class _Balancer:
    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self._source = source
        self._input = tokens
        self._result = Balanced()
        self._open: list[int] = []
        # Pairs of braces whose lines are indented unlike: where a brace is missing, it is here.
        self._crooked: list[int] = []

    def run(self) -> Balanced:
        for index, token in enumerate(self._input):
            if token.first and self._open:
                self._close_before(index)
            if token.kind in OPENERS:
                if len(self._open) == MAX_NESTING:
                    return self._too_deep(token)
                self._open.append(len(self._result.tokens))
                self._emit(token)
            elif token.kind in CLOSERS:
                self._close(token)
            else:
                self._emit(token)
        if self._open:
            self._supply(0, self._result.tokens[-1].end)
        return self._result

    def _emit(self, token: Token) -> None:
        self._result.tokens.append(token)
        self._result.partner.append(-1)

    def _pair(self, closer: Token) -> None:
        opener = self._open.pop()
        self._result.partner[opener] = len(self._result.tokens)
        self._result.tokens.append(closer)
        self._result.partner.append(opener)

    def _inner(self) -> Token:
        return self._result.tokens[self._open[-1]]

    def _close_before(self, index: int) -> None:
        """Closes what cannot hold the token, the first of its line."""
        token = self._input[index]
        previous = self._input[index - 1]
        follows = self._input[index + 1].kind if index + 1 < len(self._input) else ""
        if previous.kind in ("COLON", "DOT", "COMMA") and token.kind not in ("FN", "GAB", "FROM"):
            return
        if token.kind in _ITEMS or (token.kind == "TEST" and follows == "STRING"):
            self._supply(0, previous.end)
        elif token.kind == "FORWARD" and follows == "LPAR" and len(self._open) > 1:
            self._supply(1, previous.end)
        elif self._inner().kind != "LBRACE" and (
            token.kind in _STARTERS or self._is_statement(index)
        ):
            self._supply(self._innermost_brace() + 1, previous.end)

    def _is_statement(self, index: int) -> bool:
        """Whether `name =` or `Z.name =` begins here and cannot be a keyword argument."""
        if self._inner().kind == "LPAR" and self._input[index - 1].kind not in ENDERS:
            return False
        kinds = [token.kind for token in self._input[index : index + 4]]
        if not kinds or kinds[0] not in NAMES:
            return False
        return kinds[1:2] == ["EQUAL"] or (kinds[1:2] == ["DOT"] and kinds[3:4] == ["EQUAL"])

    def _innermost_brace(self) -> int:
        """The depth of the innermost open brace, -1 where there is none."""
        for depth in range(len(self._open) - 1, -1, -1):
            if self._result.tokens[self._open[depth]].kind == "LBRACE":
                return depth
        return -1

    def _close(self, token: Token) -> None:
        opener = CLOSERS[token.kind]
        if self._open and self._inner().kind == opener:
            self._note_indent(token)
            self._pair(token)
            return
        inner = self._inner().kind if self._open else ""
        kinds = [self._result.tokens[i].kind for i in self._open]
        if opener in kinds and (inner != "LBRACE" or opener == "LBRACE" or self._same_line(token)):
            depth = len(kinds) - 1 - kinds[::-1].index(opener)
            self._supply(depth + 1, self._result.tokens[-1].end)
            self._pair(token)
        elif inner and inner != "LBRACE" and opener != "LBRACE":
            self._mismatch(token)
        else:
            self._stray(token)

    def _same_line(self, closer: Token) -> bool:
        """Whether the innermost bracket was opened on the line of `closer`, as in `f({ x )`."""
        start = self._inner().start
        return self._source.position(start)[0] == self._source.position(closer.start)[0]

    def _note_indent(self, closer: Token) -> None:
        if closer.kind == "RBRACE" and closer.first:
            opener = self._inner()
            if self._indent(opener) > self._indent(closer):
                self._crooked.append(self._open[-1])

    def _indent(self, token: Token) -> int:
        line = self._source.line(self._source.position(token.start)[0])
        return len(line) - len(line.lstrip())

    def _supply(self, depth: int, offset: int) -> None:
        """Closes everything open from `depth` on and reports the bracket to blame."""
        if depth >= len(self._open):
            return
        opened = self._open[depth:]
        blamed = opened[-1]
        if self._result.tokens[blamed].kind == "LBRACE":
            blamed = next((i for i in self._crooked if i > opened[0]), blamed)
        token = self._result.tokens[blamed]
        while len(self._open) > depth:
            closer = OPENERS[self._inner().kind]
            self._pair(Token(closer, "", offset, offset))
        self._crooked = [i for i in self._crooked if i < opened[0]]
        closer_text = _TEXT[OPENERS[token.kind]]
        place = Span(self._source, offset, offset)
        self._result.found.append(
            Diagnostic(
                "GAB0002",
                f"`{token.text}` is never closed",
                Span(self._source, token.start, token.end),
                label="opened here",
                related=(Related(place, f"`{closer_text}` is missing here at the latest"),),
            )
        )

    def _mismatch(self, token: Token) -> None:
        opener = self._inner()
        right = _TEXT[OPENERS[opener.kind]]
        span = Span(self._source, token.start, token.end)
        self._result.found.append(
            Diagnostic(
                "GAB0002",
                f"`{opener.text}` is closed by `{token.text}`",
                span,
                label=f"`{right}` expected",
                related=(Related(Span(self._source, opener.start, opener.end), "opened here"),),
                fixes=(Fix(f"write `{right}`", (Edit(span, right),)),),
            )
        )
        kind = OPENERS[opener.kind]
        self._pair(Token(kind, token.text, token.start, token.end, token.first))

    def _stray(self, token: Token) -> None:
        span = Span(self._source, token.start, token.end)
        self._result.found.append(
            Diagnostic(
                "GAB0002",
                f"`{token.text}` closes nothing",
                span,
                label=f"no `{_TEXT[CLOSERS[token.kind]]}` is open here",
                fixes=(Fix("remove it", (Edit(span, ""),), Applicability.MAYBE),),
            )
        )

    def _too_deep(self, token: Token) -> Balanced:
        return Balanced(
            found=[
                Diagnostic(
                    "GAB0701",
                    f"brackets nest at most {MAX_NESTING} deep",
                    Span(self._source, token.start, token.end),
                    label="one too many",
                    help="give the inner parts names of their own",
                    facts=(("limit", str(MAX_NESTING)),),
                )
            ]
        )
