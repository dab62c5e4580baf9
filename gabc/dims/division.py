"""Exact division of polynomials."""

from __future__ import annotations

import math
from fractions import Fraction

from gabc.dims.poly import Application, Atom, Dim, Monomial, atom_key, monomial


def divide(numerator: Dim, denominator: Dim) -> Dim:
    """numerator / denominator: the quotient if it is a Laurent polynomial, else an opaque `div`.

    The `div` atom holds primitive polynomials: `2*D/(4*H + 4*K)` equals `D/(2*H + 2*K)`.
    """
    if numerator.is_zero:
        return numerator
    top, bottom = content(numerator), content(denominator)
    scale = top / bottom
    above, below = numerator / top, denominator / bottom
    if below.is_const:
        return scale * above / below
    quotient = exact_quotient(above, below)
    if quotient is not None:
        return scale * quotient
    inverse = None if above.is_const else exact_quotient(below, above)
    if inverse is not None:
        above, below = Dim.const(1), inverse
    return scale * Dim.atom(Application("div", (above, below)))


def content(dim: Dim) -> Dim:
    """The monomial c*m for which dim/(c*m) has coprime integer coefficients, the first of them
    positive, no negative exponent and no atom common to all terms. The dim must not be zero."""
    terms = dim.terms
    above = math.gcd(*(coefficient.numerator for _, coefficient in terms))
    below = math.lcm(*(coefficient.denominator for _, coefficient in terms))
    sign = 1 if terms[0][1] > 0 else -1
    lowest = dict(terms[0][0])
    for factors, _ in terms[1:]:
        exponents = dict(factors)
        for atom in {**lowest, **exponents}:
            lowest[atom] = min(lowest.get(atom, 0), exponents.get(atom, 0))
    return Dim({monomial(lowest): Fraction(sign * above, below)})


def exact_quotient(numerator: Dim, denominator: Dim) -> Dim | None:
    """The polynomial q with q * denominator == numerator, or None.

    Both must be polynomials (no negative exponents); long division in graded lexicographic order,
    which leaves no remainder exactly when the division is exact.
    """
    atoms = sorted({*numerator.atoms(), *denominator.atoms()}, key=atom_key)
    lead, lead_coefficient = _leading(denominator, atoms)
    quotient, rest = Dim({}), numerator
    while not rest.is_zero:
        factors, coefficient = _leading(rest, atoms)
        exponents = dict(factors)
        for atom, exponent in lead:
            exponents[atom] = exponents.get(atom, 0) - exponent
        if any(exponent < 0 for exponent in exponents.values()):
            return None
        step = Dim({monomial(exponents): coefficient / lead_coefficient})
        quotient, rest = quotient + step, rest - step * denominator
    return quotient


def _leading(dim: Dim, atoms: list[Atom]) -> tuple[Monomial, Fraction]:
    def order(term: tuple[Monomial, Fraction]) -> tuple[int, list[int]]:
        exponents = dict(term[0])
        return sum(exponents.values()), [exponents.get(atom, 0) for atom in atoms]

    return max(dim.terms, key=order)
