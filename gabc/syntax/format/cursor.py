"""The tokens of a file in order, each with the comments that belong to it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from gabc.syntax import tree
from gabc.syntax.format.doc import BEFORE_COMMENT, Comment, Concat, Doc, Text, concat
from gabc.syntax.source import Source
from gabc.syntax.tokens import END, Token


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A comment on a line of its own, and whether a blank line stands before it."""

    comment: Comment
    blank_before: bool


class Cursor:
    """Hands out every token once, in the order of the text.

    A comment on a line of its own goes before the token that follows it, any other after the token
    before it (behind a comma, before a closing bracket), so that printing every token prints every
    comment. `index` counts the tokens taken.
    """

    def __init__(
        self, source: Source, tokens: Sequence[Token], comments: Sequence[tree.Comment]
    ) -> None:
        end = len(source.text)
        self._text = source.text
        self._tokens = [*tokens, Token(END, "", end, end)]
        self._starts = [token.start for token in self._tokens]
        self.index = 0
        self._before: dict[int, list[OwnLine]] = {}
        self._after: dict[int, Comment] = {}
        for comment in comments:
            self._place(comment)

    def _place(self, comment: tree.Comment) -> None:
        following = bisect_left(self._starts, comment.span.start)
        own_line = comment.own_line
        text = _normalised(comment.text)
        blank = own_line and self.has_blank_before(comment.span.start)
        if not own_line:
            # What ends the line in print is what the comment is after.
            after = following if self.text_at(following) in BEFORE_COMMENT else following - 1
            if self.text_at(following) not in (")", "]") and after not in self._after:
                self._after[after] = Comment(text, False)
                return
            own_line = self.text_at(following) not in (")", "]")
        if following in self._after:
            following += 1  # a comment before this one went behind the next token
        self._before.setdefault(following, []).append(OwnLine(Comment(text, own_line), blank))

    @property
    def token(self) -> Token:
        """The token that comes next."""
        return self._tokens[self.index]

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these."""
        return self.token.text in texts

    def take(self, text: str | None = None) -> Concat:
        """The next token with its comments; `text` is what it must be."""
        token = self.token
        assert text is None or token.text == text, (token, text)
        before = [placed.comment for placed in self.own_lines()]
        return concat([*before, Text(token.text), *self._pass()])

    def comments_of(self, text: str) -> Concat:
        """The comments of the next token, which is left out."""
        assert self.token.text == text, (self.token, text)
        before = [placed.comment for placed in self.own_lines()]
        return concat([*before, *self._pass()])

    def _pass(self) -> list[Doc]:
        after = self._after.pop(self.index, None)
        self.index += 1
        return [] if after is None else [after]

    def own_lines(self) -> list[OwnLine]:
        """The comments before the next token, which are then printed by the caller."""
        return self._before.pop(self.index, [])

    def end_comment(self, end: int) -> Comment | None:
        """The comment after the token that ends at `end`, which is then printed by the caller."""
        return self._after.pop(bisect_right(self._starts, end - 1) - 1, None)

    def end_before(self, start: int) -> int:
        """Where the last token before `start` ends."""
        return self._tokens[bisect_left(self._starts, start) - 1].end

    def is_free(self, start: int, end: int) -> bool:
        """Whether no comment stands at a bracket at `start` or at the one that ends at `end`."""
        opening = bisect_left(self._starts, start)
        closing = bisect_left(self._starts, end) - 1
        return not (
            opening in self._after or opening + 1 in self._before or closing in self._before
        )

    def closing_parenthesis(self) -> int:
        """Where the parenthesis that the next token opens is closed: the index after it."""
        depth = 0
        for index in range(self.index, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._tokens[index].text, 0)
            if depth == 0:
                return index
        raise AssertionError("a parenthesis is not closed")

    def text_at(self, index: int) -> str:
        """The text of any token by its index; empty behind the last."""
        return self._tokens[index].text if index < len(self._tokens) else ""

    def start_at(self, index: int) -> int:
        """Where a token begins."""
        return self._tokens[index].start

    def end_at(self, index: int) -> int:
        """Where a token ends."""
        return self._tokens[index].end

    def has_blank_before(self, offset: int) -> bool:
        """Whether a blank line stands between what is at `offset` and what is before it."""
        newlines = 0
        while offset > 0 and self._text[offset - 1].isspace():
            offset -= 1
            newlines += self._text[offset] == "\n"
        return newlines > 1


def _normalised(comment: str) -> str:
    """`#text` as `# text`."""
    text = comment.rstrip()
    return f"# {text[1:]}" if text[1:2].isalnum() else text
