"""The order of members: dims; reads and writes; parameters and children; forward."""

from __future__ import annotations

from gabc.diagnostics.model import Applicability, Diagnostic, Edit, Fix, Related
from gabc.syntax.source import Source, Span
from gabc.syntax.split import Bounds
from gabc.syntax.tokens import NAMES, Token

_RANKS = {"DIM": 0, "READS": 1, "WRITES": 1, "PARAM": 2, "BUFFER": 2, "IF": 2, "FORWARD": 3}
_GROUPS = ("dims", "`reads` and `writes`", "parameters and children", "`forward`")


def check_order(source: Source, tokens: list[Token], parts: list[Bounds]) -> list[Diagnostic]:
    """Finds members that stand after one of a later group; `require` may stand anywhere."""
    found = []
    # The first member of each group so far.
    firsts: dict[int, Bounds] = {}
    for part in parts:
        rank = _rank(tokens, part)
        if rank is None:
            continue
        later = next((firsts[other] for other in range(rank + 1, 4) if other in firsts), None)
        if later is not None:
            found.append(_out_of_order(source, tokens, part, later, rank))
        elif rank == 3 and rank in firsts:
            found.append(_second_forward(source, tokens, part, firsts[rank]))
        else:
            firsts.setdefault(rank, part)
    return found


def _rank(tokens: list[Token], part: Bounds) -> int | None:
    first = tokens[part[0]]
    if first.kind in NAMES:
        return 2
    return _RANKS.get(first.kind)


def _whole(source: Source, tokens: list[Token], part: Bounds) -> Span:
    return Span(source, tokens[part[0]].start, tokens[part[1] - 1].end)


def _head(source: Source, tokens: list[Token], part: Bounds) -> Span:
    """The words of a member that name it: `dim H`, `norm`, `forward`."""
    alone = tokens[part[0]].kind in (*NAMES, "FORWARD", "IF")
    last = part[0] if alone else min(part[0] + 1, part[1] - 1)
    return Span(source, tokens[part[0]].start, tokens[last].end)


def _out_of_order(
    source: Source, tokens: list[Token], part: Bounds, later: Bounds, rank: int
) -> Diagnostic:
    head = _head(source, tokens, part)
    before = _head(source, tokens, later)
    return Diagnostic(
        "GAB0005",
        f"`{head.text}` stands after `{before.text}`, but {_GROUPS[rank]} come before "
        f"{_GROUPS[max(_rank(tokens, later) or 0, rank + 1)]}",
        head,
        label="move it up",
        related=(Related(before, "before this"),),
        fixes=(_move(source, _whole(source, tokens, part), before.start),),
    )


def _move(source: Source, member: Span, target: int) -> Fix:
    """Takes the member out, with its line if it fills it, and puts it at the head of a line."""
    text = source.text
    start, end = member.start, member.end
    line_start = text.rfind("\n", 0, start) + 1
    if not text[line_start:start].strip():
        newline = text.find("\n", end)
        newline = len(text) if newline < 0 else newline
        if not text[end:newline].strip():
            start, end = line_start, min(newline + 1, len(text))
    target_line = text.rfind("\n", 0, target) + 1
    indent = text[target_line:target]
    separator = f"\n{indent}" if not indent.strip() else " "
    place = Span(source, target, target)
    return Fix(
        "move it up",
        (Edit(place, member.text + separator), Edit(Span(source, start, end), "")),
        Applicability.MACHINE,
    )


def _second_forward(source: Source, tokens: list[Token], part: Bounds, first: Bounds) -> Diagnostic:
    return Diagnostic(
        "GAB0104",
        "a unit has one `forward`",
        _head(source, tokens, (part[0], part[0] + 1)),
        label="the second",
        related=(Related(_head(source, tokens, (first[0], first[0] + 1)), "the first"),),
    )
