"""Terms written out as operations of one step."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from gabc.dims import Dim
from gabc.graph.nodes import Argument, Value
from gabc.graph.static import Apply, Literal, Static
from gabc.graph.types import ONE, TensorType
from gabc.ops.kinds import widest
from gabc.recurrences.affine import expanded
from gabc.recurrences.body import Body, broadcast
from gabc.recurrences.terms import MAX_TERMS, Axes, Factor, Letter, Term

ZERO = Dim.const(0)


def product(body: Body, term: Term, target: Axes, name: str = "") -> Value | Static:
    """The factors and numbers of a term with these axes, its state left out.

    An axis that no factor has is a unit axis, or absent if it is among the first. What has no
    factors is a number.
    """
    number = _number(term)
    if not term.factors:
        return Literal(1.0) if number is None else number
    term = _opened(body, term, target)
    number = _number(term)
    value = _factors(body, list(term.factors), target)
    if number == Literal(-1.0):
        return body.add("neg", {"a": value}, value.type, name)
    if number is None:
        return value
    return body.add("mul", {"a": number, "b": value}, value.type, name)


def _opened(body: Body, term: Term, target: Axes) -> Term:
    """The term with those factors taken apart whose axes do not fit: unit axes that an author put
    in for a product, and products where a sum over some of their axes follows."""
    for factor in term.factors:
        is_summed = not factor.letters <= {*target}
        node = body.definition(factor.value)
        if node is None or node.op not in ("index", "mul", "neg"):
            continue
        if not is_summed and ZERO not in _items(factor, target):
            continue
        parts = expanded(body, term, factor)
        if parts is not None and len(parts) == 1 and len(term.factors) < MAX_TERMS:
            return _opened(body, parts[0], target)
    return term


def opened(body: Body, term: Term) -> Term:
    """The term with all products among its factors taken apart."""
    for factor in term.factors:
        node = body.definition(factor.value)
        if node is not None and node.op in ("index", "mul", "neg"):
            parts = expanded(body, term, factor)
            if parts is not None and len(parts) == 1 and len(term.factors) < MAX_TERMS:
                return opened(body, parts[0])
    return term


def _number(term: Term) -> Static | None:
    """The product of the numbers with the sign; `None` for 1."""
    if not term.numbers:
        return Literal(-1.0) if term.is_negative else None
    number = term.numbers[0]
    for other in term.numbers[1:]:
        number = Apply("*", (number, other))
    return Apply("neg", (number,)) if term.is_negative else number


def total(body: Body, terms: Sequence[Term], target: Axes) -> Value | Static:
    """The sum of terms with these axes; a number if there are no factors, 0 if no terms."""
    ordered = sorted(terms, key=lambda term: term.is_negative)  # 1 - a rather than -a + 1
    result: Value | Static | None = None
    for term in ordered:
        if result is None:
            result = product(body, term, target)
            continue
        part = product(body, term.negated() if term.is_negative else term, target)
        op = "-" if term.is_negative else "+"
        result = _combined(body, op, result, part)
    return Literal(0.0) if result is None else result


def _combined(body: Body, op: str, left: Value | Static, right: Value | Static) -> Value | Static:
    if not isinstance(left, Value) and not isinstance(right, Value):
        return Apply(op, (left, right))
    values = [part.type for part in (left, right) if isinstance(part, Value)]
    kind = widest(*(type_.kind for type_ in values))
    type_ = broadcast(kind, values)
    return body.add("add" if op == "+" else "sub", {"a": left, "b": right}, type_)


def _factors(body: Body, factors: list[Factor], target: Axes) -> Value:
    letters = {letter for letter in target if letter is not None}
    if any(factor.letters - letters for factor in factors):
        return _contracted(body, factors, target)
    values = [aligned(body, factor, target) for factor in factors]
    result = values[0]
    for value in values[1:]:
        kind = widest(result.type.kind, value.type.kind)
        type_ = broadcast(kind, [result.type, value.type])
        result = body.add("mul", {"a": result, "b": value}, type_)
    return result


def aligned(body: Body, factor: Factor, target: Axes) -> Value:
    """The factor with its axes where the target has them, unit axes where it has none.

    Leading axes that it does not have are left out. Its letters are the target's.
    """
    value, axes = factor.value, factor.axes
    order = [letter for letter in target if letter in factor.letters]
    own = [letter for letter in axes if letter is not None]
    if own != order:
        names = dict(zip(own, ascii_lowercase, strict=False))
        left = " ".join("1" if letter is None else names[letter] for letter in axes)
        right = " ".join(names[letter] for letter in order if letter is not None)
        dims = tuple(letter.dim for letter in order if letter is not None)
        args: dict[str, Argument] = {"x": value, "pattern": f"{left} -> {right}"}
        value = body.add("rearrange", args, value.type.with_dims(dims), value.name)
        axes = tuple(order)
    return _indexed(body, value, _items(Factor(value, axes), target))


def _items(factor: Factor, target: Axes) -> list[Dim | str | None]:
    """The subscript that gives a factor, its axes in order, the target's rank."""
    first = next((i for i, letter in enumerate(target) if letter in factor.letters), len(target))
    wanted = list(target[first:])
    items: list[Dim | str | None] = []
    places = list(factor.axes)
    while places or wanted:
        fits = places and wanted and _stands_for(places[0], wanted[0], factor)
        if fits:
            places.pop(0)
            wanted.pop(0)
            items.append(":")
        elif places and places[0] is None:
            places.pop(0)
            items.append(ZERO)
        else:
            wanted.pop(0)
            items.append(None)
    return items


def _stands_for(own: Letter | None, wanted: Letter | None, factor: Factor) -> bool:
    """The same axis, or a unit axis of the factor where the target has one that it lacks."""
    return own is wanted or (own is None and wanted not in factor.letters)


def _indexed(body: Body, value: Value, items: list[Dim | str | None]) -> Value:
    if all(item == ":" for item in items):
        return value
    dims, places = [], iter(value.type.dims)
    for item in items:
        dim = ONE if item is None else next(places)
        if not isinstance(item, Dim):
            dims.append(dim)
    args: dict[str, Argument] = {"x": value, "items": tuple(items)}
    return body.add("index", args, value.type.with_dims(tuple(dims)))


def _contracted(body: Body, factors: list[Factor], target: Axes) -> Value:
    """By `einsum`, what is summed over first."""
    own = {*target}
    factors = sorted(factors, key=lambda factor: factor.letters <= own)
    found = frozenset().union(*(factor.letters for factor in factors))
    names = _names([*target, *(letter for f in factors for letter in f.axes)])
    sides = [
        " ".join("1" if letter is None else names[letter] for letter in factor.axes)
        for factor in factors
    ]
    output = [letter for letter in target if letter in found and letter is not None]
    pattern = f"{', '.join(sides)} -> {' '.join(names[letter] for letter in output)}"
    values = tuple(_as_float(body, factor.value) for factor in factors)
    kind = widest(*(value.type.kind for value in values))
    type_ = TensorType(kind, tuple(letter.dim for letter in output))
    value = body.add("einsum", {"pattern": pattern, "xs": values}, type_)
    return aligned(body, Factor(value, tuple(output)), target)


def _as_float(body: Body, value: Value) -> Value:
    if value.type.kind in ("float", "complex"):
        return value
    return body.add("float", {"x": value}, value.type.with_kind("float"))


def _names(letters: Sequence[Letter | None]) -> dict[Letter, str]:
    """A letter for each axis: that of its size, if it is free."""
    names: dict[Letter, str] = {}
    for letter in letters:
        if letter is None or letter in names:
            continue
        wish = str(letter.dim).lower()
        taken = set(names.values())
        if len(wish) != 1 or not wish.isalpha() or wish in taken or wish == "l":
            wish = next(c for c in "abcdefghijkmnopqrstuvwxyz" if c not in taken)
        names[letter] = wish
    return names


def spread(body: Body, term: Term, target: Axes, name: str = "") -> Value | Static:
    """As `product`, but with every axis of the target at its full size, the batch's excepted."""
    present = tuple(letter for letter in target if letter in term.letters)
    value = product(body, term, present, name)
    if not isinstance(value, Value):
        return value
    batch = target[0]
    wanted = [letter for letter in target if letter is not None]
    if batch not in present:
        wanted = [letter for letter in wanted if letter is not batch]
    if [letter for letter in wanted if letter in present] == wanted:
        return value
    names = _names(wanted)
    left = " ".join(names[letter] for letter in present if letter is not None)
    right = " ".join(names[letter] for letter in wanted)
    sizes = {names[letter]: letter.dim for letter in wanted if letter not in present}
    dims = tuple(letter.dim for letter in wanted)
    args: dict[str, Argument] = {"x": value, "pattern": f"{left} -> {right}", **sizes}
    return body.add("repeat", args, value.type.with_dims(dims), value.name)
