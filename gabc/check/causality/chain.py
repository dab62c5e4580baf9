"""The way of a dependence, from a result back to the input, and the operation at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gabc.dependence.bounds import ONE, ZERO, Bound
from gabc.dependence.domain import Axis, Constraint, Extent, Kind, Leg, Reason
from gabc.dependence.forms import coefficient_of, without

MOST_STEPS = 64

_BEGINNINGS = (Kind.INPUT, Kind.PAD, Kind.COUNT)
"""Kinds of legs that do not come from the stream."""


def steps(leg: Leg) -> Iterator[Leg]:
    """The leg, what it was before its last operation, and so on."""
    current: Leg | None = leg
    for _ in range(MOST_STEPS):
        if current is None:
            return
        yield current
        current = None if current.reason is None else current.reason.before


def culprit(leg: Leg, is_sound: Callable[[Leg], bool]) -> Leg:
    """The leg right after the operation that made it unsound, looking back from the result."""
    chosen: Leg | None = None
    for step in steps(leg):
        reason = step.reason
        if reason is None or reason.before is None:
            # A number made of the length is at fault itself.
            chosen = step if chosen is None and reason is not None else chosen
            break
        if chosen is None and reason.kind in _CHOOSING:
            chosen = step
        if is_sound(step):
            continue
        is_jump = reason.before.hi.is_finite and not step.hi.is_finite
        is_chunk = reason.kind is Kind.CHUNK and step.hi.is_finite
        if is_sound(reason.before) or is_jump or is_chunk:
            return step
    return leg if chosen is None else chosen


_CHOOSING = (Kind.MASK, Kind.LOOKUP, Kind.REDUCE, Kind.DATA)
"""What decides which positions are read, where no interval tells."""


def looks_back(leg: Leg) -> bool:
    """Whether the interval does not reach ahead of the form."""
    return leg.hi.value <= 0


def keeps_place(leg: Leg) -> bool:
    return len(leg.linear) == 1 and leg.lo == ZERO and leg.hi == ZERO


@dataclass(frozen=True, slots=True)
class Named:
    """Letters for the axes of one operation: `s` the one that goes, then `t`, `u` and so on."""

    letters: dict[int, str]

    def letter(self, name: int) -> str:
        if name not in self.letters:
            rest = [c for c in "tuvwcde" if c not in self.letters.values()]
            self.letters[name] = rest[0] if rest else f"a{abs(name)}"
        return self.letters[name]


def described_constraint(reason: Reason) -> str:
    """`s <= t + 1`: what the mask says of the axis that is summed over."""
    constraint = reason.constraint
    assert constraint is not None
    named = Named({reason.name: "s"})
    upper = _upper(constraint, reason.name)
    slope = coefficient_of(constraint.linear, reason.name)
    sign = -ONE if slope.value > 0 else ONE
    rest = [(named.letter(a), sign * c) for a, c in without(constraint.linear, reason.name)]
    size = slope if slope.value > 0 else -slope
    left = "s" if size == ONE else f"{size} s"
    return f"{left} <= {_sum(rest, upper)}"


def _upper(constraint: Constraint, name: int) -> Bound:
    return constraint.hi if coefficient_of(constraint.linear, name).value > 0 else -constraint.lo


def _sum(terms: list[tuple[str, Bound]], constant: Bound) -> str:
    text = ""
    for letter, coefficient in terms:
        size = abs(coefficient.value)
        shown = letter if size == 1 else f"{_unsigned(coefficient)} {letter}"
        sign = "-" if coefficient.value < 0 else "+" if text else ""
        text += f" {sign} {shown}" if text else f"{sign}{shown}"
    return text + offset(constant) if text else str(constant)


def _unsigned(bound: Bound) -> str:
    return str(-bound if bound.value < 0 else bound)


def offset(bound: Bound) -> str:
    """` + 1`, ` - W`, or nothing."""
    if bound.value == 0:
        return ""
    shown = _unsigned(bound)
    if " " in shown:
        shown = f"({shown})"
    return f" - {shown}" if bound.value < 0 else f" + {shown}"


def axis_text(axis: Axis | None) -> str:
    """How a message calls an axis."""
    if axis is None:
        return "an axis"
    if axis.extent is Extent.BATCH:
        return "the batch axis"
    if axis.extent is Extent.TIME:
        is_blocks = axis.spacing is not None and axis.spacing != ONE
        return f"the axis of blocks `{axis.dim}`" if is_blocks else "the time axis"
    return f"the axis `{axis.dim}`"


def step_text(leg: Leg) -> str:
    """One step of the chain."""
    reason = leg.reason
    if reason is None:
        return "the stream"
    match reason.kind:
        case Kind.MASK:
            return f"`{reason.operation}` where {described_constraint(reason)}"
        case Kind.REDUCE:
            return f"`{reason.operation}` over {axis_text(reason.axis)}"
        case Kind.DATA:
            return f"`{reason.operation}` at places that data decide"
        case Kind.CHUNK:
            return "what the scan returns from a chunk"
        case Kind.COUNT:
            return f"the length as a number in `{shown(reason)}`"
        case Kind.INPUT:
            return f"how long {axis_text(reason.axis)} is"
        case Kind.PAD:
            return f"`{reason.operation}` fills up the last block"
        case _:
            return f"`{shown(reason)}`"


def shown(reason: Reason) -> str:
    """What the author wrote, if it is short."""
    text = reason.span.text
    return text if len(text) <= 32 and "\n" not in text else reason.operation


def chain_text(leg: Leg) -> str:
    """`y[t] <- `sum` over the time axis <- X[s]`, equal neighbours once."""
    parts = ["y[t]"]
    for step in steps(leg):
        if step.reason is not None:
            text = step_text(step)
            if parts[-1] != text:
                parts.append(text)
    if not any(s.reason is not None and s.reason.kind in _BEGINNINGS for s in steps(leg)):
        parts.append(f"X[{_read(leg)}]")
    return " <- ".join(parts)


def _read(leg: Leg) -> str:
    if not leg.hi.is_finite:
        return "every position"
    return f"t{offset(leg.hi)}" if len(leg.linear) == 1 else "ahead"
