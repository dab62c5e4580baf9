"""States whose elements do not meet, as whole trajectories: `h = a h + b`, `m = max(m + f, i)`."""

from __future__ import annotations

from gabc.dims import Dim
from gabc.graph.nodes import Argument, Carried, Value
from gabc.graph.static import Literal, Static
from gabc.graph.types import ONE, B, L, TensorType
from gabc.ops.recurrence_scans import is_number
from gabc.recurrences.affine import Forms
from gabc.recurrences.body import Body
from gabc.recurrences.build import total
from gabc.recurrences.lift import Lifter
from gabc.recurrences.update import Update, is_one, update_of


def linear(body: Body, lifter: Lifter, carried: Carried, update: Update) -> None:
    """Bind the state before and after each step, for an update that mixes nothing."""
    # The coefficient first: what it shares with what is added is computed once, and wide.
    is_scaled = bool(update.kept) and not is_one(update.kept)
    factor = total(body, update.kept, update.axes) if is_scaled else None
    a = None if factor is None else _timed(lifter, factor, carried, is_wide=True)
    b = _timed(lifter, total(body, update.added, update.axes), carried)
    initial = carried.initial
    if not update.kept:
        h = lifter.full(b, _dims(carried))
    elif a is None:
        b = lifter.full(b, _dims(carried))
        h = lifter.add("cumsum", {"x": b, "axis": 1}, b.type)
        if not is_number(initial, 0.0):
            first = initial if not isinstance(initial, Value) else lifter.lift(initial)
            h = lifter.add("add", {"a": h, "b": first}, b.type)
    else:
        args: dict[str, Argument] = {"a": a, "b": lifter.full(b, _dims(carried), beside=a)}
        type_ = carried.current.type.with_dims(_dims(carried))
        span = carried.next.span
        h = lifter.add("linear_scan", {**args, "initial": initial}, type_, _name(carried), span)
    _bind(lifter, carried, h, initial)


def max_plus(body: Body, lifter: Lifter, carried: Carried) -> bool:
    """The same for a maximum of the state, shifted, and of what does not depend on it.

    False if the step is none. Raises `NotAffine`.
    """
    parts = _maxima(body, carried.next)
    own = [part for part in parts if _depends(body, part, carried)]
    others = [part for part in parts if not _depends(body, part, carried)]
    if len(own) != 1 or not others:
        return False
    shifted = own[0]
    assert isinstance(shifted, Value)
    forms = Forms(body, (carried.current,), (carried.current,))
    update = update_of(forms.of(carried.current).axes, forms.of(shifted), shifted.span)
    if update.mixed or not is_one(update.kept):
        return False
    i = others[0]
    for other in others[1:]:
        i = body.add("maximum", {"a": i, "b": other}, carried.current.type)
    initial = carried.initial
    dims = _dims(carried)
    f = _timed(lifter, total(body, update.added, update.axes), carried, is_wide=True)
    i_all = _timed(lifter, i, carried, is_wide=True)
    args: dict[str, Argument] = {
        "f": f,
        "i": lifter.full(i_all, dims, beside=f),
    }
    type_ = carried.current.type.with_dims(dims)
    span = carried.next.span
    m = lifter.add("max_plus_scan", {**args, "initial": initial}, type_, _name(carried), span)
    _bind(lifter, carried, m, initial)
    return True


def _bind(lifter: Lifter, carried: Carried, after: Value, initial: Value | Static) -> None:
    lifter.bind(carried.next, after)
    name = f"{_name(carried)}_before"

    def before() -> Value:
        if is_number(initial, 0.0):
            return lifter.add("shift", {"x": after, "k": 1, "axis": 1}, after.type, name)
        return lifter.add("previous", {"x": after, "initial": initial}, after.type, name)

    lifter.defer(carried.current, before)


def _maxima(body: Body, value: Argument) -> list[Value | Static]:
    """The operands of a maximum of maxima."""
    node = body.definition(value) if isinstance(value, Value) else None
    if node is None or node.op != "maximum":
        assert isinstance(value, (Value, Static))
        return [value]
    return [*_maxima(body, node.args["a"]), *_maxima(body, node.args["b"])]


def _depends(body: Body, part: Value | Static, carried: Carried) -> bool:
    return isinstance(part, Value) and carried.current in body.depends(part)


def _name(carried: Carried) -> str:
    return carried.next.name or carried.current.name


def _dims(carried: Carried) -> tuple[Dim, ...]:
    return (B, L, *carried.current.type.dims[1:])


def _timed(
    lifter: Lifter, value: Value | Static, carried: Carried, *, is_wide: bool = False
) -> Value:
    """At all positions; a number as a tensor of one element."""
    if isinstance(value, Value):
        return lifter.lift_to(value, carried.current.type.rank, is_wide=is_wide)
    one = TensorType("float", (ONE,))
    ones = lifter.add("ones", {"dims": (ONE,)}, one)
    if value == Literal(1.0):
        return ones
    return lifter.add("mul", {"a": value, "b": ones}, one, f"{_name(carried)}_number")
