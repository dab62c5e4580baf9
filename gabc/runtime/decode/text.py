"""Tokens as text while they come: a character is shown when all its bytes are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_LONGEST = 4
"""The most bytes of a character in UTF-8, each of which may be a token."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """`push` a token and get the text that is certain now; `end` gives what is left.

    `decode` is the tokenizer's: bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        self._waiting.append(token)
        text = self._decode(self._waiting)
        if text.endswith(_BROKEN) and len(self._waiting) < _LONGEST:
            return ""
        self._waiting = []
        return text

    def end(self) -> str:
        text = self._decode(self._waiting)
        self._waiting = []
        return text
