"""Why a design is proved, value by value: what `gabc show --causality` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gabc.check.causality.chain import offset, step_text
from gabc.check.causality.verdict import Proofs, UnitProof
from gabc.dependence.bounds import Bound
from gabc.dependence.domain import Constraint, Dependence, Extent, Leg, Region, Source
from gabc.dependence.forms import STEP, Form
from gabc.graph.nodes import Node, Value
from gabc.syntax.source import Span

_TIMES, _BATCH, _BLOCKS, _OTHERS = "tsuvw", "b", "nmpq", "cdefghijk"


@dataclass(frozen=True, slots=True)
class Step:
    """One value of a unit.

    `axes` are letters for its axes; `reads` the positions it may depend on, in those letters, one
    entry for each leg; `constant_outside` the zones outside which it is a constant, with that
    constant; `because` the operation that made its farthest leg what it is.
    """

    value: str
    type: str
    axes: tuple[str, ...]
    reads: tuple[str, ...]
    constant_outside: tuple[tuple[str, str], ...]
    because: str
    span: Span


@dataclass(frozen=True, slots=True)
class UnitDerivation:
    """The values of one unit, in the order in which they are computed."""

    path: str
    unit: str
    layer: int
    reach: tuple[str, str] | None
    steps: tuple[Step, ...]


def derivations(proofs: Proofs) -> tuple[UnitDerivation, ...]:
    """One entry for each unit and each distinct knowledge of its arguments."""
    return tuple(_derivation(unit) for unit in proofs.units)


def rendered(proofs: Proofs) -> str:
    """All derivations as an indented text."""
    lines: list[str] = []
    for unit in derivations(proofs):
        reach = "" if unit.reach is None else f": reads [{unit.reach[0]}, {unit.reach[1]}]"
        lines.append(f"{unit.path or unit.unit} (layer {unit.layer}){reach}")
        for step in unit.steps:
            axes = f"[{', '.join(step.axes)}]" if step.axes else ""
            reads = ", ".join(step.reads) or "nothing"
            lines.append(f"    {step.value}{axes} reads {reads}  ({step.because})")
            for zone, constant in step.constant_outside:
                lines.append(f"        {constant} unless {zone}")
    return "\n".join(lines)


def _derivation(unit: UnitProof) -> UnitDerivation:
    graph = unit.instance.graph
    assert graph is not None
    steps = [_step(value, unit.values[value], "an argument") for value in graph.inputs]
    steps.extend(_steps(graph.nodes, unit))
    reach = None if unit.reach is None else (str(unit.reach[0]), str(unit.reach[1]))
    return UnitDerivation(unit.path, unit.unit, unit.layer, reach, tuple(steps))


def _steps(nodes: Sequence[Node], unit: UnitProof) -> Iterator[Step]:
    for node in nodes:
        if node.region is not None:
            yield from _steps(node.region.nodes, unit)
        if node.op != "param":
            for value in node.outputs:
                yield _step(value, unit.values[value], f"`{node.op}`")


def _step(value: Value, known: Dependence, operation: str) -> Step:
    letters = _letters(known)
    axes = tuple(letters[place - known.rank] for place in range(known.rank))
    legs = sorted(known.time, key=lambda leg: -float(leg.hi.value))
    because = operation
    if legs and legs[0].reason is not None:
        because = step_text(legs[0])
    return Step(
        value.name or _shortened(value.span.text),
        str(value.type),
        axes,
        tuple(_reads(leg, letters) for leg in legs),
        tuple(
            (" or ".join(_region(r, letters) for r in fill.zone) or "never", f"{fill.constant:g}")
            for fill in known.fills
        ),
        because,
        value.span,
    )


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:39] + "…"


def _letters(known: Dependence) -> dict[int, str]:
    """Time axes are t, s, ...; blocks n, m, ...; the batch b."""
    pools = {kind: iter(kind) for kind in (_TIMES, _BLOCKS, _OTHERS)}
    letters = {STEP: "t"}
    for place, axis in enumerate(known.axes):
        pool = _OTHERS
        if axis.extent is Extent.BATCH:
            letters[place - known.rank] = _BATCH
            continue
        if axis.extent is Extent.TIME:
            is_plain = axis.spacing is not None and axis.spacing.value == 1
            pool = _TIMES if is_plain else _BLOCKS
        letters[place - known.rank] = next(pools[pool], f"x{place}")
    return letters


def _reads(leg: Leg, letters: dict[int, str]) -> str:
    """`t - 3 .. t`, `every position`, `whether t + 1 exists`."""
    form = _form(leg.linear, letters)
    if not leg.hi.is_finite:
        text = "every position" if not leg.lo.is_finite or leg.lo.value == 0 else "positions ahead"
    elif leg.lo == leg.hi:
        text = _shifted(form, leg.hi)
    else:
        start = "0" if not leg.lo.is_finite else _shifted(form, leg.lo)
        text = f"{start} .. {_shifted(form, leg.hi)}"
    return whether(text) if leg.source is Source.LENGTH else text


def whether(text: str) -> str:
    """That positions exist: `t`, `every position`, `t .. t + 3`, `positions ahead`."""
    is_one = ".." not in text and text != "positions ahead"
    return f"whether {text} exist{'s' if is_one else ''}"


def _shifted(form: str, bound: Bound) -> str:
    return f"{form}{offset(bound)}" if form else str(bound)


def _form(linear: Form, letters: dict[int, str]) -> str:
    text = ""
    for axis, coefficient in sorted(linear, key=lambda part: part[1].value < 0):
        value = coefficient.value
        size = "" if abs(value) == 1 else f"{str(coefficient).lstrip('-')} "
        sign = (" - " if text else "-") if value < 0 else (" + " if text else "")
        text += f"{sign}{size}{letters.get(axis, '?')}"
    return text


def _region(region: Region, letters: dict[int, str]) -> str:
    return " and ".join(_constraint(c, letters) for c in region) or "always"


def _constraint(constraint: Constraint, letters: dict[int, str]) -> str:
    form = _form(constraint.linear, letters)
    low = f"{constraint.lo} <= " if constraint.lo.is_finite else ""
    high = f" <= {constraint.hi}" if constraint.hi.is_finite else ""
    return f"{low}{form}{high}"
