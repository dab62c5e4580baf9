"""Opaque applications: their values, what folds, and the bounds that hold for all sizes >= 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from gabc.dims.poly import Application, Atom, Dim


def value_of(fn: str, args: Sequence[Fraction]) -> Fraction:
    """The exact value of an application at rational arguments; see `Dim.apply` for the names."""
    return _VALUES[fn](args)


_VALUES: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
    "floordiv": lambda args: Fraction(args[0] // args[1]),
    "mod": lambda args: args[0] % args[1],
    "div": lambda args: args[0] / args[1],
    "min": min,
    "max": max,
    "ceil_to": lambda args: math.ceil(args[0] / args[1]) * args[1],
    "round": lambda args: Fraction(round(args[0])),
    "floor": lambda args: Fraction(math.floor(args[0])),
    "ceil": lambda args: Fraction(math.ceil(args[0])),
}

_ARITY = {"floordiv": 2, "mod": 2, "div": 2, "ceil_to": 2, "round": 1, "floor": 1, "ceil": 1}


def apply(fn: str, args: Sequence[Dim]) -> Dim:
    """`fn(*args)` folded and canonical. Raises as `Dim.apply` says."""
    if fn not in _VALUES:
        raise ValueError(f"unknown dim function {fn!r}; there are {', '.join(sorted(_VALUES))}")
    wanted = _ARITY.get(fn)
    if len(args) != wanted if wanted is not None else not args:
        raise ValueError(f"{fn} takes {wanted or 'at least 1'} argument(s), not {len(args)}")
    constants = [arg.as_fraction() for arg in args]
    known = [constant for constant in constants if constant is not None]
    if len(known) == len(args):
        return Dim.const(value_of(fn, known))
    match fn:
        case "floordiv":
            return _rounded("floor", args[0] / args[1])
        case "div":
            return args[0] / args[1]
        case "floor" | "ceil":
            return _rounded(fn, args[0])
        case "round":
            return args[0] if is_integral(args[0]) else _atom(fn, args)
        case "mod":
            return Dim.const(0) if is_integral(args[0] / args[1]) else _atom(fn, args)
        case "ceil_to":
            return _ceil_to(args[0], args[1])
        case _:
            return _extremum(fn, args)


def _atom(fn: str, args: Sequence[Dim]) -> Dim:
    return Dim.atom(Application(fn, tuple(args)))


def _rounded(fn: str, arg: Dim) -> Dim:
    """Integers leave `floor` and `ceil`: floor(L/C + 1) is floor(L/C) + 1."""
    whole, part = split_integral(arg)
    constant = dict(part.terms).get((), Fraction(0))
    shift = math.floor(constant)
    whole, part = whole + shift, part - shift
    if part.is_const:
        return whole + Dim.const(value_of(fn, [part.as_fraction() or Fraction(0)]))
    return whole + _atom(fn, [part])


def _ceil_to(size: Dim, multiple: Dim) -> Dim:
    if is_integral(size / multiple):
        return size
    return _rounded("ceil", size) if multiple.is_one else _atom("ceil_to", [size, multiple])


def _extremum(fn: str, args: Sequence[Dim]) -> Dim:
    flat: list[Dim] = []
    for arg in args:
        nested = _nested(fn, arg)
        flat.extend(nested if nested is not None else [arg])
    kept: list[Dim] = []
    for arg in sorted(set(flat), key=lambda dim: (dim.is_const, str(dim))):
        if not any(_dominates(fn, other, arg) for other in kept):
            kept = [other for other in kept if not _dominates(fn, arg, other)]
            kept.append(arg)
    return kept[0] if len(kept) == 1 else _atom(fn, kept)


def _nested(fn: str, arg: Dim) -> tuple[Dim, ...] | None:
    if not arg.is_monomial:
        return None
    factors, coefficient = arg.terms[0]
    if coefficient != 1 or len(factors) != 1:
        return None
    atom, exponent = factors[0]
    if exponent == 1 and isinstance(atom, Application) and atom.fn == fn:
        return atom.args
    return None


def _dominates(fn: str, winner: Dim, loser: Dim) -> bool:
    gap = loser - winner if fn == "min" else winner - loser
    bound = lower_bound(gap)
    return bound is not None and bound >= 0


# -- what holds for all sizes ---------------------------------------------------------------------


def is_integral(dim: Dim) -> bool:
    """An integer at all sizes by its form: no fraction, no negative power, integral atoms."""
    return all(
        coefficient.denominator == 1
        and all(exponent > 0 and is_integral_atom(atom) for atom, exponent in factors)
        for factors, coefficient in dim.terms
    )


def is_integral_atom(atom: Atom) -> bool:
    if isinstance(atom, str) or atom.fn in ("floor", "ceil", "round"):
        return True
    if atom.fn == "ceil_to":
        return is_integral(atom.args[1])
    return atom.fn != "div" and all(is_integral(arg) for arg in atom.args)


def split_integral(dim: Dim) -> tuple[Dim, Dim]:
    """The sum of the terms that are integers at all sizes, and the rest."""
    whole = Dim({})
    for factors, coefficient in dim.terms:
        term = Dim({factors: coefficient})
        if is_integral(term):
            whole = whole + term
    return whole, dim - whole


def is_positive(dim: Dim) -> bool:
    """Greater than zero at all sizes >= 1, by its form."""
    if dim.terms and all(
        coefficient > 0 and all(is_positive_atom(atom) for atom, _ in factors)
        for factors, coefficient in dim.terms
    ):
        return True
    bound = lower_bound(dim)
    return bound is not None and bound > 0


def is_positive_atom(atom: Atom) -> bool:
    if isinstance(atom, str):
        return True
    match atom.fn:
        case "ceil" | "ceil_to" | "div" | "min":
            return all(is_positive(arg) for arg in atom.args)
        case "max":
            return any(is_positive(arg) for arg in atom.args)
        case _:
            bound = _atom_bound(atom)
            return bound is not None and bound > 0


def lower_bound(dim: Dim) -> Fraction | None:
    """A number the dim never falls below at sizes >= 1, None if its form gives none.

    Only sums of non-negative products plus a constant are bounded.
    """
    total = Fraction(0)
    for factors, coefficient in dim.terms:
        if not factors:
            total += coefficient
            continue
        if coefficient < 0:
            return None
        bound = coefficient
        for atom, exponent in factors:
            low = _atom_bound(atom)
            if low is None or low < 0:
                return None
            if exponent < 0 and not is_positive_atom(atom):
                return None
            bound = bound * low**exponent if exponent > 0 else Fraction(0)
        total += bound
    return total


def _atom_bound(atom: Atom) -> Fraction | None:
    if isinstance(atom, str):
        return Fraction(1)
    bounds = [lower_bound(arg) for arg in atom.args]
    known = [bound for bound in bounds if bound is not None]
    match atom.fn:
        case "max":
            return max(known, default=None)
        case "min":
            return min(known) if len(known) == len(bounds) else None
        case "floor" | "round" | "ceil":
            return value_of(atom.fn, known) if known else None
        case "ceil_to":
            return bounds[0] if is_positive(atom.args[1]) else None
        case "mod":
            return Fraction(0) if is_positive(atom.args[1]) else None
        case _:
            return Fraction(0) if all(is_positive(arg) for arg in atom.args) else None
