"""Faults as diagnostics: what reads what it must not, through which operations, and the repair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gabc.check.causality.chain import (
    axis_text,
    chain_text,
    culprit,
    described_constraint,
    keeps_place,
    looks_back,
    shown,
    step_text,
    steps,
)
from gabc.check.causality.verdict import Fault, Subject
from gabc.dependence.bounds import ONE
from gabc.dependence.domain import Extent, Kind, Leg, Reason
from gabc.diagnostics.model import Diagnostic, Related
from gabc.syntax.source import Span

MOST_RELATED = 6

_INSTEAD = {
    "mean": "`running_mean(x)` is the mean of the past, `window_mean(x, W)` that of the last W",
    "var": "a mean over the past is `running_mean(x)`: "
    "`running_mean(square(x)) - square(running_mean(x))`",
    "sum": "`cumsum(x)` sums the past; a `scan` carries any other summary of it",
    "softmax": "mask the keys after the query first: `softmax(causal(scores), axis=-1)`",
    "log_softmax": "mask the keys after the query, or normalise over features",
    "rms_norm": "normalise the features of each position: the last axis must not be time",
    "layer_norm": "normalise the features of each position: the last axis must not be time",
    "topk": "let each position choose among experts or features; positions cannot compete",
    "topk_mask": "let each position choose among experts or features; positions cannot compete",
    "argmax": "let each position choose among features; positions cannot compete",
    "einsum": "mask the operand that pairs two positions: `causal(scores)`",
    "matmul": "mask the operand that pairs two positions: `causal(scores)`",
}
_MASK_FIRST = ("max", "min", "prod", "logsumexp", "any", "all")


@dataclass(frozen=True, slots=True)
class Blame:
    """A fault and the operation that makes it: `leg` is the one right after, `span` its place."""

    fault: Fault
    leg: Leg
    span: Span

    @property
    def is_open(self) -> bool:
        """Whether it is neither proved nor refuted."""
        return self.fault.leg.is_lost


def explained(faults: Sequence[Fault]) -> list[Diagnostic]:
    """One diagnostic for each operation at fault; what follows from another one is left out."""
    return [diagnostic_of(blame) for blame in blames(faults)]


def blames(faults: Sequence[Fault]) -> list[Blame]:
    """What `explained` explains, in the same order."""
    found: list[Blame] = []
    blamed: set[tuple[str, int, int]] = set()
    roots = {id(reason) for fault in faults if fault.write for reason in _reasons(fault)}
    for fault in sorted(faults, key=_urgency):
        if not fault.write and any(id(reason) in roots for reason in _reasons(fault)):
            continue
        sound = keeps_place if fault.subject is Subject.BATCH else looks_back
        leg = culprit(fault.leg, sound)
        span = fault.span if fault.write or leg.reason is None else leg.reason.span
        key = _key(span)
        if key not in blamed:
            blamed.add(key)
            found.append(Blame(fault, leg, span))
    return found


def _reasons(fault: Fault) -> list[Reason]:
    return [step.reason for step in steps(fault.leg) if step.reason is not None]


def _urgency(fault: Fault) -> tuple[bool, int, int]:
    """What is refuted before what is open; a write to Z is the root of what reads it."""
    order = (Subject.BATCH, Subject.CAUSALITY, Subject.LENGTH)
    return (
        fault.leg.is_lost,
        0 if fault.write else 1 + order.index(fault.subject),
        fault.layer,
    )


def _key(span: Span) -> tuple[str, int, int]:
    return span.source.path, span.start, span.end


def diagnostic_of(blame: Blame) -> Diagnostic:
    """What is said of a fault before any run: an error, or that it is open (GAB0407)."""
    fault, leg, span = blame.fault, blame.leg, blame.span
    code, message, help = words(blame)
    if blame.is_open:
        code, message = "GAB0407", f"{NOT_PROVED[fault.subject]}: {message}"
    facts = [("layer", str(fault.layer)), ("chain", chain_text(fault.leg))]
    if fault.subject is not Subject.BATCH and leg.hi.is_finite:
        facts.append(("ahead", str(leg.hi)))
    return Diagnostic(
        code, message, span, help=help, related=_related(fault, span), facts=tuple(facts)
    )


def _related(fault: Fault, at: Span) -> tuple[Related, ...]:
    """The operations on the way, from the result to the input."""
    found: list[Related] = []
    seen = {_key(at)}
    for step in steps(fault.leg):
        reason = step.reason
        if reason is None:
            continue
        places = [(reason.span, step_text(step))]
        if reason.constraint is not None and reason.constraint.span is not None:
            text = f"this mask keeps {described_constraint(reason)}"
            places.append((reason.constraint.span, text))
        for span, text in places:
            if _key(span) not in seen:
                seen.add(_key(span))
                found.append(Related(span, text))
    return tuple(found[:MOST_RELATED])


NOT_PROVED = {
    Subject.CAUSALITY: "not proved causal",
    Subject.LENGTH: "not proved independent of the length",
    Subject.BATCH: "not proved to keep the rows of the batch apart",
}


def words(blame: Blame) -> tuple[str, str, str]:
    """Code, message and help of a fault that is refuted."""
    fault, leg = blame.fault, blame.leg
    reason = leg.reason
    if fault.write:
        return (
            "GAB0404",
            f"`Z.{fault.write}` has no time axis and depends on the sequence, so every position of "
            "the next block would read all of this one",
            "give it a time axis, [B, L, ...], so that position t carries what t knows",
        )
    if fault.subject is Subject.BATCH:
        return "GAB0403", *_mixing(reason)
    if fault.subject is Subject.LENGTH:
        return "GAB0402", *_counting(reason, leg)
    return "GAB0401", *_reading(reason, leg)


def _mixing(reason: Reason | None) -> tuple[str, str]:
    help = "rows are separate sequences: a result may depend on its own row only"
    if reason is None:
        return "a row of the result depends on another row of the batch", help
    if reason.kind is Kind.COUNT and reason.operation == "attend":
        return "a score is computed from `b`, the number of the row", help
    if reason.kind is Kind.COUNT:
        return f"`{shown(reason)}` takes the number of rows as a number", help
    if reason.kind in (Kind.LOOKUP, Kind.DATA, Kind.MOVE):
        return f"`{shown(reason)}` reads another row of the batch", help
    if reason.operation in ("mean", "var"):
        help = (
            f"{help}; a norm over rows (BatchNorm) has no place in a language model: use "
            "`rms_norm` or `layer_norm`"
        )
    return f"`{reason.operation}` over {axis_text(reason.axis)} mixes the rows of the batch", help


def _counting(reason: Reason | None, leg: Leg) -> tuple[str, str]:
    help = "a value may depend on where it stands (`positions()`), not on how many positions follow"
    if reason is None:
        return "the result depends on how long the sequence is", help
    if reason.kind is Kind.COUNT:
        return f"`{shown(reason)}` takes the length of the sequence as a number", help
    if reason.kind is Kind.REDUCE and reason.axis is not None:
        if reason.axis.extent is Extent.TIME:
            return (
                f"`{reason.operation}` over {axis_text(reason.axis)} depends on how long the "
                "sequence is",
                help,
            )
        return (
            f"`{reason.operation}` over {axis_text(reason.axis)} counts positions up to "
            f"{leg.hi} ahead, which the last block may lack",
            help,
        )
    return f"`{reason.operation}` depends on whether positions ahead exist", help


def _reading(reason: Reason | None, leg: Leg) -> tuple[str, str]:
    if reason is None:
        return "the result depends on later positions", ""
    match reason.kind:
        case Kind.REDUCE if reason.axis is not None and reason.axis.extent is Extent.TIME:
            return _reducing(reason, leg.is_lost)
        case Kind.REDUCE:
            return (
                f"`{reason.operation}` over {axis_text(reason.axis)} of a block reads up to "
                f"{leg.hi} positions ahead: the first position of the block sees its last",
                "within a block use `causal`, `cumsum` or `shift`; what summarises a whole block "
                "may be read by later blocks only (`scan ... chunk` carries it)",
            )
        case Kind.MASK:
            return (
                f"`{reason.operation}` reads {_ahead(leg)}: its mask keeps "
                f"{described_constraint(reason)}",
                "a query may see keys at or before it: `causal(scores)`, or a mask that says so",
            )
        case Kind.LOOKUP:
            return (
                f"`{reason.span.text}` reads {_ahead(leg)}",
                "index by the position itself or by one before it: `i - k`, `i // n`, k >= 0",
            )
        case Kind.DATA:
            return (
                f"`{reason.span.text}` reads along {axis_text(reason.axis)} at places that data "
                "decide",
                "`attend` and `masked` choose among past positions by data",
            )
        case Kind.CHUNK:
            return (
                f"what this `scan` returns depends on positions up to {leg.hi} ahead: a state "
                "after its update, or a sum over the chunk, holds the whole chunk",
                "read the state before its update, and what the chunk itself adds through `causal`",
            )
        case _:
            return (
                f"`{shown(reason)}` reads {_ahead(leg)}",
                "an element of a block that is not its first lies ahead of those before it",
            )


def _reducing(reason: Reason, is_lost: bool) -> tuple[str, str]:
    where = axis_text(reason.axis)
    if is_lost:
        return (
            f"the proof does not see which positions the mask of `{reason.operation}` keeps",
            "compare positions themselves, `positions()[None, :] <= positions()[:, None]`, or use "
            "`causal`",
        )
    every = "every block" if where.startswith("the axis of blocks") else "every position"
    operation = reason.operation
    if reason.spoilt is not None:
        return (
            f"`{operation}` over {where} reads {every}: {reason.spoilt.because}",
            reason.spoilt.help,
        )
    help = _INSTEAD.get(operation, "")
    if operation in ("index", "split", "rearrange", "set_index"):
        return (
            f"`{shown(reason)}` takes a part of {where} that depends on where the sequence ends",
            "a position may be told by its distance from the start, never from the end",
        )
    if operation in _MASK_FIRST:
        help = f"mask what lies ahead first: `{operation}(causal(scores), axis=-1)`"
        if operation in ("max", "min"):
            help += f"; of all so far it is the state of a `scan`: `m = {operation}imum(m, x)`"
    return f"`{operation}` over {where} reads {every}, those to come as well", help


def _ahead(leg: Leg) -> str:
    if not leg.hi.is_finite or leg.hi.value <= 0:
        return "positions ahead"
    return "the position ahead" if leg.hi == ONE else f"up to {leg.hi} positions ahead"
