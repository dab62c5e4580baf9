"""Two real states coupled as real and imaginary part of one: `h = (a + i b) h + (u + i v)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gabc.graph.nodes import Argument, Carried, Value
from gabc.graph.static import Literal, Static
from gabc.graph.types import B, L
from gabc.ops.recurrence_scans import is_number
from gabc.recurrences.affine import Forms
from gabc.recurrences.body import Body
from gabc.recurrences.build import opened, total
from gabc.recurrences.lift import Lifter
from gabc.recurrences.terms import Axes, Form, Term


def rotation(body: Body, lifter: Lifter, real: Carried, imag: Carried) -> bool:
    """Bind both states, if that is their step: a diagonal complex recurrence (LRU, S4D).

    Raises `NotAffine` if the step is not linear, `CannotLift` if its parts need a state.
    """
    if real.current.type != imag.current.type:
        return False
    if not (is_number(real.initial, 0.0) and is_number(imag.initial, 0.0)):
        return False
    states = (real.current, imag.current)
    forms = Forms(body, states, states)
    axes = forms.of(real.current).axes
    first = _parts(forms.of(real.next), axes, states)
    second = _parts(forms.of(imag.next), axes, states)
    if first is None or second is None:
        return False
    (own, other, added), (crossed, own_too, added_too) = first, second
    negated = [term.negated() for term in other]
    if not (_same(body, own, own_too) and _same(body, negated, crossed)):
        return False
    dims = (B, L, *real.current.type.dims[1:])
    pairs = []
    for terms, others in ((own, crossed), (added, added_too)):
        is_wide = terms is own
        sums = [total(body, part, axes) for part in (terms, others)]
        parts = [_lifted(lifter, part, len(axes), is_wide) for part in sums]
        values = [part for part in parts if isinstance(part, Value)]
        if not values:
            return False
        widest = max(values, key=lambda value: value.type.rank)
        type_ = widest.type.with_kind("complex")
        pairs.append((lifter.add("complex", {"re": parts[0], "im": parts[1]}, type_), values[0]))
    (a, _), (b, like) = pairs
    args: dict[str, Argument] = {
        "a": a,
        "b": lifter.full(b, dims, beside=a),
        "initial": Literal(0.0),
    }
    type_ = real.current.type.with_kind("complex").with_dims(dims)
    h = lifter.add("linear_scan", args, type_, span=real.next.span)
    for carried, op in ((real, "real"), (imag, "imag")):
        float_type = type_.with_kind("float")
        name = carried.current.name
        after = lifter.add(op, {"x": h, "like": like}, float_type, name, carried.next.span)
        lifter.bind(carried.next, after)
        lifter.defer(carried.current, _before(lifter, after))
    return True


def _before(lifter: Lifter, after: Value) -> Callable[[], Value]:
    name = f"{after.name}_before"
    return lambda: lifter.add("shift", {"x": after, "k": 1, "axis": 1}, after.type, name)


def _lifted(lifter: Lifter, value: Value | Static, rank: int, is_wide: bool) -> Value | Static:
    return lifter.lift_to(value, rank, is_wide=is_wide) if isinstance(value, Value) else value


def _parts(
    form: Form, axes: Axes, states: tuple[Value, Value]
) -> tuple[list[Term], list[Term], list[Term]] | None:
    """The coefficients of both states and what is added; `None` if elements meet."""
    found: dict[Value | None, list[Term]] = {states[0]: [], states[1]: [], None: []}
    for term in form.placed(axes):
        if term.use is not None and term.use.axes != axes:
            return None
        state = None if term.use is None else term.use.value
        found[state].append(Term(term.factors, term.numbers, term.is_negative))
    return found[states[0]], found[states[1]], found[None]


def _same(body: Body, left: Sequence[Term], right: Sequence[Term]) -> bool:
    """Whether two sums are the same, operation for operation."""

    def key(term: Term) -> str:
        term = opened(body, term)
        factors = sorted(f"{body.key(f.value)}{[id(a) for a in f.axes]}" for f in term.factors)
        return f"{term.is_negative}{term.numbers}{factors}"

    return sorted(map(key, left)) == sorted(map(key, right))
