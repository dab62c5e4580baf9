"""`gabc show --recurrences`: what the step of each scan is, and why a loop is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gabc.recurrences.facts import RecurrenceFacts, StateFacts
    from gabc.syntax.source import Span

NOTHING = "no recurrences: the design has no `scan`"

_FORMS = {
    "elementwise": "h = a * h + b",
    "max-plus": "m = max(m + f, i)",
    "decayed outer product": "S = a * S + k v^T",
    "delta rule": "S = a * S + r (l^T S) + k v^T",
    "delta product": "S = a * S + r (l^T S) + k v^T, then S = S + r (l^T S) + k v^T",
}


def recurrence_lines(found: Sequence[RecurrenceFacts], length: int) -> Iterator[str]:
    """Lines of text: a head for each scan, below it its states or why it is a loop."""
    if not found:
        yield NOTHING
    for facts in found:
        yield f"{facts.unit}  scan at {_place(facts.span)}"
        if facts.is_parallel:
            yield from (f"  {_state(state)}" for state in facts.states)
            continue
        names = ", ".join(state.name for state in facts.states)
        yield f"  {names}: {facts.kind.value}, {_cost(facts, length)}"
        if facts.reason:
            place = "" if facts.reason_span is None else f" ({_place(facts.reason_span)})"
            yield f"    why: {facts.reason}{place}"
            yield f"    parallel if you {facts.remedy}"


def recurrence_document(found: Sequence[RecurrenceFacts]) -> list[dict[str, object]]:
    """The same as data."""
    return [
        {
            "unit": facts.unit,
            "place": _place(facts.span),
            "parallel": facts.is_parallel,
            "states": [
                {
                    "name": state.name,
                    "class": state.kind.value,
                    "decay": state.decay or None,
                    "updates": state.updates,
                }
                for state in facts.states
            ],
            "operations_per_step": facts.launches,
            "reason": facts.reason or None,
            "remedy": facts.remedy or None,
        }
        for facts in found
    ]


def _state(state: StateFacts) -> str:
    kind = state.kind.value
    decay = {"": "", "none": ", no decay"}.get(state.decay, f", one decay per {state.decay}")
    updates = "" if state.updates == 1 else f", {state.updates} updates one after another"
    return f"{state.name}: {kind}{updates}{decay}  [{_FORMS[kind]}]"


def _cost(facts: RecurrenceFacts, length: int) -> str:
    if facts.kind.value == "chunked":
        return "one step per chunk, as written"
    return (
        f"{facts.launches} operations a step, {facts.launches * length:,} in turn at L = {length}"
    )


def _place(span: Span) -> str:
    return f"{Path(span.source.path).name}:{span.line}"
