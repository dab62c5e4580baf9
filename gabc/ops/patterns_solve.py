"""Sizes of the axes a pattern names, and the faults of a pattern as diagnostics."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gabc.diagnostics.model import Diagnostic, Edit, Fix
from gabc.dims import Dim
from gabc.graph.types import LEADING, TensorType
from gabc.ops.base import Call, Refused
from gabc.ops.patterns_parse import (
    ELLIPSIS,
    Axis,
    Letter,
    Pattern,
    PatternFault,
    Side,
    expand_ellipsis,
    letters,
    parse_pattern,
    spaced,
)
from gabc.syntax.source import Span


@dataclass(frozen=True, slots=True)
class Plan:
    """A pattern with one input, its ellipsis expanded, and the size of every letter."""

    left: Side
    right: Side
    sizes: Mapping[str, Dim]


def expand(pattern: Pattern, ranks: Sequence[int]) -> Pattern:
    """`...` written out for operands of these ranks."""
    counts = [
        rank - len(side) + 1 if any(axis.is_ellipsis for axis in side) else 0
        for side, rank in zip(pattern.inputs, ranks, strict=True)
    ]
    inputs = tuple(
        expand_ellipsis(side, count) for side, count in zip(pattern.inputs, counts, strict=True)
    )
    return Pattern(inputs, expand_ellipsis(pattern.output, max(counts)))


def solve(pattern: Pattern, dims: Sequence[Dim], given: Mapping[str, Dim]) -> Plan:
    """Find each group's one unknown size by exact division. Raises `PatternFault` if it has two."""
    expanded = expand(pattern, [len(dims)])
    left = expanded.inputs[0]
    sizes = dict(given)
    for axis, dim in zip(left, dims, strict=True):
        unknown = [letter for letter in axis.letters if letter.name not in given]
        if len(unknown) > 1:
            first, second = unknown[0].name, unknown[1].name
            raise PatternFault(
                f"the sizes of {_listed(letter.name for letter in unknown)} are not known: "
                f"only their product is, `{dim}`",
                axis.start,
                axis.end,
                f"give one of them: `{first}=...` or `{second}=...`",
            )
        if unknown:
            sizes[unknown[0].name] = dim / _product(given, axis, but=unknown[0])
    return Plan(left, expanded.output, sizes)


def require_sizes(call: Call, plan: Plan, dims: Sequence[Dim], given: Mapping[str, Dim]) -> None:
    """The obligations behind `solve`: given sizes multiply to the axis, or divide it (GAB0203)."""
    for axis, dim in zip(plan.left, dims, strict=True):
        span = pattern_span(call, axis.start, axis.end)
        if not axis.letters:
            if not dim.is_one:
                raise Refused(
                    Diagnostic(
                        "GAB0201",
                        f"`{call.primitive.name}` finds an axis of size `{dim}` where its pattern "
                        "has a unit axis",
                        span,
                        help="give the axis a name",
                    )
                )
            continue
        factors = [letter for letter in axis.letters if letter.name in given]
        known = _product(given, axis)
        sizes = "*".join(letter.name for letter in factors)
        if len(factors) == len(axis.letters):
            message = f"`{sizes}` is `{known}`, but the axis of the value is `{dim}`"
            call.prover.require_equal(known, dim, span, message)
        elif factors:
            message = f"the axis `{dim}` cannot be cut: `{sizes}` = `{known}` does not divide it"
            call.prover.require_divides(known, dim, span, message)


def refuse_cuts(call: Call, plan: Plan) -> None:
    """B and L may move in a pattern but neither merge nor split (GAB0205)."""
    for side, verb in ((plan.left, "split"), (plan.right, "merge")):
        for axis in side:
            if len(axis.letters) < 2:
                continue
            for letter in axis.letters:
                symbols = plan.sizes[letter.name].symbols()
                if "L" in symbols:
                    refuse(
                        call,
                        f"`{call.primitive.name}` cannot {verb} the time axis, here "
                        f"`{letter.name}` of size `{plan.sizes[letter.name]}`",
                        axis.start,
                        axis.end,
                        "cut time into blocks with `blocks(x, size)`, undo it with `unblocks(x)`",
                    )
                if "B" in symbols:
                    refuse(
                        call,
                        f"`{call.primitive.name}` cannot {verb} the batch axis, here "
                        f"`{letter.name}`",
                        axis.start,
                        axis.end,
                        "rows of the batch never mix: keep the batch axis whole; `blocks` and "
                        "`unblocks` cut and join the time axis",
                    )


def read_pattern(call: Call, types: Sequence[TensorType]) -> Pattern:
    """The call's pattern, fitting its operands in number and rank; refused otherwise."""
    text = call.text("pattern")
    try:
        pattern = parse_pattern(text)
    except PatternFault as fault:
        fix = _spaced_fix(call, types)
        hint = f"put a space between axes: `{spaced(text)}`" if fix else fault.help
        refuse(call, fault.message, fault.start, fault.end, hint, fix)
    if len(pattern.inputs) != len(types):
        refuse(
            call,
            f"the pattern describes {_count(len(pattern.inputs), 'tensor')}, and "
            f"`{call.primitive.name}` is given {len(types)}",
            0,
            len(text),
            "write one list of axes per tensor, separated by commas",
        )
    for type_ in types:
        if type_.dims[:1] == (LEADING,):
            refuse(
                call,
                f"a pattern names every axis, and {type_} has any number of them",
                0,
                len(text),
                "name every axis in the type of `forward`",
            )
    for side, type_ in zip(pattern.inputs, types, strict=True):
        dotted = any(axis.is_ellipsis for axis in side)
        if type_.rank != len(side) if not dotted else type_.rank < len(side) - 1:
            _refuse_rank(call, types, side, type_)
    has_dots = any(axis.is_ellipsis for side in pattern.inputs for axis in side)
    for axis in pattern.output:
        if axis.is_ellipsis and not has_dots:
            refuse(call, "`...` stands on the right only", axis.start, axis.end)
    return pattern


def _refuse_rank(
    call: Call, types: Sequence[TensorType], side: Side, type_: TensorType
) -> NoReturn:
    text = call.text("pattern")
    fix = _spaced_fix(call, types)
    start, end = (side[0].start, side[-1].end) if side else (0, len(text))
    raise Refused(
        Diagnostic(
            "GAB0205" if fix else "GAB0202",
            f"`{text[start:end]}` names {_count(len(side), 'axis', 'axes')}, and the value "
            f"{type_} has {type_.rank}",
            pattern_span(call, start, end),
            help=f"put a space between axes: `{spaced(text)}`"
            if fix
            else "name every axis of the value, or write `...` for those that stay",
            fixes=fix,
        )
    )


def _spaced_fix(call: Call, types: Sequence[TensorType]) -> tuple[Fix, ...]:
    """The fix for `bld,de->ble`, if reading each character as an axis fits the operands."""
    text = call.text("pattern")
    try:
        pattern = parse_pattern(spaced(text))
    except PatternFault:
        return ()
    ranks = [len(side) for side in pattern.inputs]
    if "(" in text or ranks != [type_.rank for type_ in types]:
        return ()
    edit = Edit(call.span_of("pattern"), f'"{spaced(text)}"')
    return (Fix("put spaces between the axes", (edit,)),)


def refuse_unknown(call: Call, letter: Letter, known: Iterable[str], help: str) -> NoReturn:
    """A letter of the output that no input has (GAB0205), with the nearest one that exists."""
    close = nearest(letter.name, known)
    refuse(
        call,
        f"`{letter.name}` stands on the right only",
        letter.start,
        letter.start + len(letter.name),
        f"did you mean `{close}`?" if close else help,
    )


def refuse_dropped(call: Call, letter: Letter, help: str) -> NoReturn:
    refuse(
        call,
        f"`{_shown(letter)}` stands on the left only",
        letter.start,
        letter.start + len(_shown(letter)),
        help,
    )


def refuse(
    call: Call, message: str, start: int, end: int, help: str = "", fixes: tuple[Fix, ...] = ()
) -> NoReturn:
    """GAB0205 at a place in the pattern, whose position the message names."""
    if end - start < len(call.text("pattern")):
        message = f"{message} (position {start + 1} of the pattern)"
    span = pattern_span(call, start, end)
    raise Refused(Diagnostic("GAB0205", message, span, help=help, fixes=fixes))


def pattern_span(call: Call, start: int, end: int) -> Span:
    """Where a part of the pattern stands; the whole argument if it is not a plain literal."""
    span = call.span_of("pattern")
    if span.text[1:-1] != call.text("pattern"):
        return span
    return Span(span.source, span.start + 1 + start, span.start + 1 + end)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The spelling nearest to `name`, if one is near."""
    close = difflib.get_close_matches(name, [k for k in known if ELLIPSIS not in k], n=1)
    return close[0] if close else None


def all_names(side: Side) -> list[str]:
    return [letter.name for letter in letters(side)]


def _product(given: Mapping[str, Dim], axis: Axis, but: Letter | None = None) -> Dim:
    """The product of the axis's given sizes."""
    product = Dim.const(1)
    for letter in axis.letters:
        if letter is not but and letter.name in given:
            product = product * given[letter.name]
    return product


def _shown(letter: Letter) -> str:
    return ELLIPSIS if letter.name.startswith(ELLIPSIS) else letter.name


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
