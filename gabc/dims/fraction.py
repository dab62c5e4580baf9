"""Dims as one fraction of integers: what must divide, and what Python's `//` is applied to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gabc.dims.opaque import apply, is_integral, is_integral_atom, split_integral
from gabc.dims.poly import Application, Atom, Dim, monomial, product


def as_fraction(dim: Dim) -> tuple[Dim, Dim]:
    """(n, d), both integers at all sizes by their form, with dim == n / d."""
    parts = [_term_fraction(Dim({factors: value})) for factors, value in dim.terms]
    if not parts:
        return Dim({}), Dim.const(1)
    common = _common([below for _, below in parts])
    total = Dim({})
    for above, below in parts:
        total = total + above * (common / below)
    return total, common


def obligations(dim: Dim) -> list[tuple[Dim, Dim]]:
    """(numerator, denominator) pairs whose divisibility makes the dim an integer.

    One pair for the dim itself, if it has a fractional part, and those of the arguments of `min`,
    `max`, `mod` and the step of `ceil_to`, which are sizes themselves. What stands under a `floor`,
    `ceil`, `round`, or is rounded by `ceil_to`, may be any fraction.
    """
    found: list[tuple[Dim, Dim]] = []
    for atom in dim.atoms():
        if isinstance(atom, Application):
            for arg in _sizes(atom):
                found.extend(obligations(arg))
    _, part = split_integral(dim)
    sizes: dict[str, Dim] = {}

    def opaque(atom: Atom) -> Dim | None:
        # `min(D/H, 4)` is an integer once `D/H` is: here it may count as a symbol.
        if isinstance(atom, str) or atom.fn == "div" or is_integral_atom(atom):
            return None
        sizes[f"[{atom!r}]"] = Dim.atom(atom)
        return Dim.symbol(f"[{atom!r}]")

    part = part.replace(opaque)
    if not is_integral(part):
        above, below = requirement(part)
        found.append((above.substitute(sizes), below.substitute(sizes)))
    return list(dict.fromkeys(found))


def requirement(dim: Dim) -> tuple[Dim, Dim]:
    """(n, d), integral by their form, such that dim is an integer exactly when d divides n.

    Coprime numbers are dropped: 3*D/2 asks that 2 divide D.
    """
    above, below = as_fraction(dim)
    number = below.as_int()
    if number is None or above.is_zero:
        return above, below
    common = math.gcd(*(coefficient.numerator for _, coefficient in above.terms))
    return above / common, Dim.const(number // math.gcd(number, common))


def _sizes(atom: Application) -> Sequence[Dim]:
    if atom.fn in ("min", "max", "mod"):
        return atom.args
    return atom.args[1:] if atom.fn == "ceil_to" else ()


def _common(denominators: list[Dim]) -> Dim:
    distinct = list(dict.fromkeys(denominators))
    if not all(below.is_monomial for below in distinct):
        return product(distinct)
    highest: dict[Atom, int] = {}
    number = 1
    for below in distinct:
        factors, coefficient = below.terms[0]
        number = math.lcm(number, coefficient.numerator)
        for atom, exponent in factors:
            highest[atom] = max(highest.get(atom, 0), exponent)
    return Dim({monomial(highest): Dim.const(number).terms[0][1]})


def _term_fraction(term: Dim) -> tuple[Dim, Dim]:
    factors, coefficient = term.terms[0]
    above, below = Dim.const(coefficient.numerator), Dim.const(coefficient.denominator)
    for atom, exponent in factors:
        top, bottom = _atom_fraction(atom)
        if exponent < 0:
            top, bottom, exponent = bottom, top, -exponent
        above, below = above * top**exponent, below * bottom**exponent
    return above, below


def _atom_fraction(atom: Atom) -> tuple[Dim, Dim]:
    if isinstance(atom, str) or is_integral_atom(atom):
        return Dim.atom(atom), Dim.const(1)
    if atom.fn == "div":
        (top, below_top), (bottom, below_bottom) = map(as_fraction, atom.args)
        return top * below_bottom, below_top * bottom
    if atom.fn == "ceil_to":
        # ceil_to(x, m) = ceil(x / m) * m, and m alone is the fraction.
        top, bottom = as_fraction(atom.args[1])
        return apply("ceil", [atom.args[0] / atom.args[1]]) * top, bottom
    return _scaled(atom)


def _scaled(atom: Application) -> tuple[Dim, Dim]:
    """min, max and mod commute with a positive factor: min(D/H, 4) = min(D, 4*H) / H."""
    parts = [as_fraction(arg) for arg in atom.args]
    common = _common([below for _, below in parts])
    if any(coefficient < 0 for _, coefficient in common.terms):
        common = common * common
    return apply(atom.fn, [above * (common / below) for above, below in parts]), common
