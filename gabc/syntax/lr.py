"""Runs the parse table over tokens.

Lark's own loop is not used at run time: it needs Lark imported, and it cannot take a part that is
already parsed in place of its text, which is how recovery keeps what is right inside what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gabc.syntax.limits import MAX_TREE_DEPTH
from gabc.syntax.source import Source, Span
from gabc.syntax.table import PASS, SPLICE, Table
from gabc.syntax.tokens import END, Token

Action = Callable[..., object]

# Symbols read and not yet part of a node. A node holds fewer than 16 before the part that is deep,
# so more of them cannot become a tree of the depth allowed: `x if a else x if a else ...`.
_MAX_STACK = 16 * MAX_TREE_DEPTH


class Splice(list[object]):
    """The values of a rule that has no node of its own; the parent takes them as its children."""


class Unexpected(Exception):
    """A token that cannot follow; `expected` are the terminals that could, sorted."""

    def __init__(self, token: Token, expected: tuple[str, ...]) -> None:
        super().__init__(token.kind)
        self.token = token
        self.expected = expected


class TooDeep(Exception):
    """A tree deeper than `MAX_TREE_DEPTH`, seen at `token`."""

    def __init__(self, token: Token) -> None:
        super().__init__(token.kind)
        self.token = token


def run(
    table: Table,
    actions: Sequence[Action | None],
    source: Source,
    tokens: Sequence[Token],
    start: str,
) -> object:
    """Parses `tokens` as one `start`; `actions[r]` makes the value of rule r from its children.

    An action is called with the span and the values of the symbols that the rule keeps.

    Raises:
        Unexpected: at the first token that no `start` has there.
        TooDeep: at the token that completes a node nested too deep.
    """
    place = tokens[-1].end if tokens else 0
    return _Run(table, actions, source, start).parse((*tokens, Token(END, "", place, place)))


class _Run:
    """The stack of one parse: of each symbol its value, where it stands and how deep it nests."""

    def __init__(
        self, table: Table, actions: Sequence[Action | None], source: Source, start: str
    ) -> None:
        self._table = table
        self._actions = actions
        self._source = source
        first, self._last = table.starts[start]
        self._stack = [first]
        self._values: list[object] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._depths: list[int] = []

    def parse(self, tokens: Sequence[Token]) -> object:
        states = self._table.states
        for token in tokens:
            # What is parsed already stands for a block: it begins where a brace would.
            terminal = token.kind if token.value is None else "LBRACE"
            while True:
                if terminal == END and self._stack[-1] == self._last:
                    return self._values[-1]
                action = states[self._stack[-1]].get(terminal)
                if action is None:
                    raise self._unexpected(token)
                if action >= 0:
                    break
                self._reduce(-1 - action, token)
            if token.value is not None:
                action = states[self._stack[-1]].get(token.kind)
                if action is None:
                    raise self._unexpected(token)
            value = token if token.value is None else token.value
            self._push(action, value, token.start, token.end, 0)
            if len(self._stack) > _MAX_STACK:
                raise TooDeep(token)
        raise AssertionError("the end of the tokens is accepted or refused, never shifted")

    def _unexpected(self, token: Token) -> Unexpected:
        return Unexpected(token, _expected(self._table, self._stack, self._last))

    def _push(self, state: int, value: object, start: int, end: int, depth: int) -> None:
        self._stack.append(state)
        self._values.append(value)
        self._starts.append(start)
        self._ends.append(end)
        self._depths.append(depth)

    def _reduce(self, number: int, token: Token) -> None:
        """Replaces the symbols of a rule by the one it makes."""
        origin, _, size, kept, kind = self._table.rules[number]
        depth = 0
        children: list[object] = []
        if size:
            begin, end = self._starts[-size], self._ends[-1]
            if begin == self._ends[-size]:
                begin = _first_written(self._starts, self._ends, size)
            depth = max(self._depths[-size:])
            symbols = self._values[-size:]
            children = [symbols[i] for i in kept]
            del self._stack[-size:], self._values[-size:], self._depths[-size:]
            del self._starts[-size:], self._ends[-size:]
        else:
            # An empty part stands where what precedes it ends.
            begin = end = self._ends[-1] if self._ends else token.start
        if kind == PASS or (kind == SPLICE and len(children) == 1):
            value = children[0]
        elif kind == SPLICE:
            value = _splice(children)
        else:
            value = _call(self._actions[number], Span(self._source, begin, end), children)
            depth += 1
            if depth > MAX_TREE_DEPTH:
                raise TooDeep(token)
        state = self._table.states[self._stack[-1]][origin]
        self._push(state, value, begin, end, depth)


def _first_written(starts: list[int], ends: list[int], size: int) -> int:
    """Where the first part begins that is not empty, as in the slice `: , 1`."""
    for i in range(-size, 0):
        if starts[i] != ends[i]:
            return starts[i]
    return starts[-size]


def _call(action: Action | None, span: Span, children: list[object]) -> object:
    if action is None:
        raise AssertionError("a rule that makes a node has an action")
    if any(type(child) is Splice for child in children):
        children = _splice(children)
    return action(span, *children)


def _splice(children: list[object]) -> Splice:
    """Flattens; the list a left-recursive rule grows is grown in place, never copied."""
    if children and type(children[0]) is Splice:
        result, rest = children[0], children[1:]
    else:
        result, rest = Splice(), children
    for child in rest:
        if type(child) is Splice:
            result.extend(child)
        else:
            result.append(child)
    return result


def _expected(table: Table, stack: list[int], last: int) -> tuple[str, ...]:
    """Terminals that could be shifted now; a look-ahead that only reduces proves nothing."""
    terminals = {symbol for symbol in table.states[stack[-1]] if symbol.isupper()}
    terminals.add(END)
    return tuple(sorted(t for t in terminals if _accepts(table, stack, t, last)))


def _accepts(table: Table, stack: list[int], terminal: str, last: int) -> bool:
    stack = list(stack)
    while not (terminal == END and stack[-1] == last):
        action = table.states[stack[-1]].get(terminal)
        if action is None:
            return False
        if action >= 0:
            return True
        origin, _, size, _, _ = table.rules[-1 - action]
        if size:
            del stack[-size:]
        stack.append(table.states[stack[-1]][origin])
    return True
