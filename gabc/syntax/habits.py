"""Habits of Python and PyTorch that can be read as what they mean."""

from __future__ import annotations

from dataclasses import replace

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix
from gabc.syntax.source import Source, Span
from gabc.syntax.tokens import CLOSERS, ENDERS, NAMES, OPENERS, Token

_WORDS = {
    "True": ("TRUE", "true"),
    "False": ("FALSE", "false"),
    "elif": ("ELSE", "else if"),
    "is": ("COMPARE", "=="),
}
_OPERATORS = {
    "+": "PLUS",
    "-": "MINUS",
    "*": "STAR",
    "/": "SLASH",
    "//": "FLOOR",
    "%": "PERCENT",
    "@": "AT",
    "**": "POWER",
}
_DECLARATORS = ("let", "var", "const", "val", "auto")
# Between these the right side of `x *= ...` would need parentheses.
_LOOSER = frozenset(("IF", "OR", "AND", "NOT", "COMPARE", "COALESCE", "PLUS", "MINUS"))


def rewrite(source: Source, tokens: list[Token]) -> tuple[list[Token], list[Diagnostic]]:
    """Replaces foreign words by what the language has for them, with one finding each."""
    rewriter = _Rewriter(source, tokens)
    index = 0
    while index < len(tokens):
        index = rewriter.step(index)
    return rewriter.output, rewriter.found


class _Rewriter:
    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.output: list[Token] = []
        self.found: list[Diagnostic] = []
        self._source = source
        self._tokens = tokens
        self._brackets: list[str] = []

    def step(self, index: int) -> int:
        """Reads the token at `index`; returns the index of the next to read."""
        token = self._tokens[index]
        if token.kind in OPENERS:
            self._brackets.append(token.kind)
        elif token.kind in CLOSERS and self._brackets:
            self._brackets.pop()
        elif token.kind == "NAME":
            return self._name(index)
        elif token.kind == "NONE_AXIS":
            self._none(token)
            return index + 1
        elif token.kind == "DIM" and self._is_keyword(index):
            # `mean(x, dim=-1)`: a name in this place, so that the call can say what it is here.
            self.output.append(replace(token, kind="NAME"))
            return index + 1
        elif token.kind == "AUGMENTED":
            self._augmented(index)
            return index + 1
        self.output.append(token)
        return index + 1

    def _kind(self, index: int) -> str:
        return self._tokens[index].kind if 0 <= index < len(self._tokens) else ""

    def _is_keyword(self, index: int) -> bool:
        """Whether a word stands as `word=` among the arguments of a call."""
        in_call = bool(self._brackets) and self._brackets[-1] == "LPAR"
        before, after = self._kind(index - 1), self._kind(index + 1)
        return in_call and before in ("LPAR", "COMMA") and after == "EQUAL"

    def _report(
        self, start: int, end: int, message: str, title: str, text: str, sure: bool = True
    ) -> None:
        span = Span(self._source, start, end)
        applicability = Applicability.MACHINE if sure else Applicability.MAYBE
        fix = Fix(title, (Edit(span, text),), applicability)
        self.found.append(Diagnostic("GAB0011", message, span, fixes=(fix,)))

    def _name(self, index: int) -> int:
        token = self._tokens[index]
        before, after = self._kind(index - 1), self._kind(index + 1)
        if token.text == "self" and after == "DOT":
            end = self._tokens[index + 1].end
            message = "there is no `self`: children and parameters are called by their names"
            self._report(token.start, end, message, "remove `self.`", "")
            return self._skip(index, 2)
        if token.text == "self" and before == "LPAR" and after in ("COMMA", "RPAR"):
            drop = 2 if after == "COMMA" else 1
            end = token.end if drop == 1 or index + 2 >= len(self._tokens) else 0
            end = end or self._tokens[index + 2].start
            message = "there is no `self`: `forward` takes its tensors only"
            self._report(token.start, end, message, "remove `self`", "")
            return self._skip(index, drop)
        if token.text == "def" and (after in NAMES or after == "FORWARD"):
            return self._def(index)
        if token.text in _DECLARATORS and token.first and after in NAMES:
            message = f"`{token.text}` is not needed: an assignment defines its name"
            end = self._tokens[index + 1].start
            self._report(token.start, end, message, f"remove `{token.text}`", "")
            return self._skip(index, 1)
        if token.text in ("True", "False"):
            self._word(token)
        elif token.text == "elif" and before in ("RBRACE", ""):
            self._word(token)
            self.output.append(Token("IF", "if", token.end, token.end))
        elif token.text == "is" and before in ENDERS and not token.first:
            return self._is(index)
        else:
            self.output.append(token)
        return index + 1

    def _skip(self, index: int, count: int) -> int:
        """Leaves tokens out; the next keeps the place at the head of its line."""
        after = index + count
        if self._tokens[index].first and after < len(self._tokens):
            self._tokens[after] = replace(self._tokens[after], first=True)
        return after

    def _word(self, token: Token) -> None:
        kind, text = _WORDS[token.text]
        message = f"`{token.text}` is written `{text}`"
        self._report(token.start, token.end, message, f"write `{text}`", text)
        self.output.append(replace(token, kind=kind, text=text))

    def _is(self, index: int) -> int:
        token = self._tokens[index]
        if self._kind(index + 1) != "NOT":
            self._word(token)
            return index + 1
        end = self._tokens[index + 1].end
        self._report(token.start, end, "`is not` is written `!=`", "write `!=`", "!=")
        self.output.append(Token("COMPARE", "!=", token.start, end))
        return index + 2

    def _def(self, index: int) -> int:
        token, name = self._tokens[index], self._tokens[index + 1]
        if name.kind == "FORWARD" or name.text in ("forward", "__call__"):
            message = "a unit's function is written `forward(X) { ... }`, without `def`"
            self._report(token.start, name.end, message, "write `forward`", "forward")
            self.output.append(Token("FORWARD", "forward", token.start, name.end, token.first))
            return index + 2
        message = "a function is written `fn name(x) { ... }`"
        self._report(token.start, token.end, message, "write `fn`", "fn", sure=False)
        self.output.append(replace(token, kind="FN", text="fn"))
        return index + 1

    def _none(self, token: Token) -> None:
        """`None` inserts an axis in a subscript and is `none` elsewhere."""
        if self._brackets and self._brackets[-1] == "LSQB":
            self.output.append(token)
            return
        self._report(token.start, token.end, "`None` is written `none`", "write `none`", "none")
        self.output.append(replace(token, kind="NONE", text="none"))

    def _augmented(self, index: int) -> None:
        """`x += y` is read as `x = x + y` for a plain target, which the edit spells out.

        For any other target it is read as an assignment.
        """
        token = self._tokens[index]
        operator = token.text[:-1]
        self.output.append(replace(token, kind="EQUAL", text="="))
        span = Span(self._source, token.start, token.end)
        fixes: tuple[Fix, ...] = ()
        target = self._tokens[index - 1] if index else token
        if target.kind in NAMES and self._kind(index - 2) != "DOT":
            applicability = Applicability.MACHINE
            if self._needs_parentheses(index, operator):
                applicability = Applicability.MAYBE
            text = f"= {target.text} {operator}"
            fixes = (Fix(f"write `{text} ...`", (Edit(span, text),), applicability),)
            kind = _OPERATORS[operator]
            self.output.append(replace(target, first=False))
            self.output.append(replace(token, kind=kind, text=operator, first=False))
        message = f"`{token.text}` does not exist: values are never changed in place"
        label = "" if fixes else f"write out `x = x {operator} ...`"
        self.found.append(Diagnostic("GAB0011", message, span, label=label, fixes=fixes))

    def _needs_parentheses(self, index: int, operator: str) -> bool:
        """Whether `x op y` with the text after the operator would bind otherwise."""
        for token in self._tokens[index + 1 :]:
            if token.first:
                return False
            if token.kind in _LOOSER and not (operator == "+" and token.kind in ("PLUS", "MINUS")):
                return True
            if operator not in "+-" and token.kind not in (*NAMES, "INTEGER", "FLOAT", "DOT"):
                return True
        return False
