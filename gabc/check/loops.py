"""Warnings of recurrences that have no parallel form: what they cost, and why they have none."""

from __future__ import annotations

from gabc.diagnostics.model import Diagnostic, Related
from gabc.graph.instance import Stack
from gabc.recurrences.classify import classify
from gabc.recurrences.facts import RecurrenceClass, RecurrenceFacts
from gabc.syntax.source import Span

LENGTH = 2048
"""Positions of the sequence for which the cost is told."""


def find_loops(stack: Stack) -> list[Diagnostic]:
    """A warning for each sequential scan of the design. A chunked one is the author's choice."""
    found: dict[Span, Diagnostic] = {}
    for facts in classify(stack):
        if facts.kind is RecurrenceClass.SEQUENTIAL:
            found.setdefault(facts.span, _warning(facts))
    return list(found.values())


def _warning(facts: RecurrenceFacts) -> Diagnostic:
    steps = facts.launches * LENGTH
    place = facts.reason_span
    related = () if place is None or place == facts.span else (Related(place, facts.reason),)
    return Diagnostic(
        "GAB0720",
        f"this recurrence runs one position after another, {steps:,} operations in turn at "
        f"L = {LENGTH}: {facts.reason}",
        _head(facts.span),
        help=f"{facts.remedy}; or `chunk` the scan, if a state once in C positions will do",
        related=related,
        facts=(("operations in a step", str(facts.launches)),),
    )


def _head(span: Span) -> Span:
    """The scan without its body: `scan(q, k, v)`."""
    end = span.text.find("{")
    return (
        span
        if end < 0
        else Span(span.source, span.start, span.start + len(span.text[:end].rstrip()))
    )
