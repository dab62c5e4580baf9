"""One equation between dims, solved for one of its atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from gabc.dims.opaque import is_integral, is_positive_atom
from gabc.dims.poly import Application, Atom, Dim, Monomial, monomial
from gabc.dims.primes import prime_exponents

_AMBIENT = frozenset({"B", "D", "L"})


class ContradictionError(ValueError):
    """Facts that no sizes >= 1 satisfy."""


@dataclass(frozen=True, slots=True)
class Solution:
    """atom == value, and value does not depend on the atom."""

    atom: Atom
    value: Dim


@dataclass(frozen=True, slots=True)
class Remainder:
    """`mod(numerator, denominator) == 0`."""

    denominator: Dim
    numerator: Dim


@dataclass(frozen=True, slots=True)
class PowerRow:
    """A product of powers of atoms and primes that equals 1, in which no atom occurs with
    exponent +-1, such as H**2 = K**3."""

    exponents: dict[Atom | int, Fraction]


def solve(equation: Dim) -> Solution | Remainder | PowerRow | None:
    """What `equation == 0` says, in the form that eliminates most; None if it has no such form.

    Division is by positive factors only, since a size never is zero but `D % H` may be.

    Raises:
        ContradictionError: no sizes >= 1 satisfy the equation.
    """
    equation = equation / positive_content(equation)
    terms = equation.terms
    if len(terms) == 1:
        return _zero_product(terms[0][0])
    if len(terms) == 2 and all(is_positive_atom(atom) for atom in equation.atoms()):
        if terms[0][1] * terms[1][1] > 0:
            raise ContradictionError(f"{equation} = 0 cannot hold for sizes >= 1")
        row = _row(equation)
        root = _root(row)
        if root is None:
            return PowerRow({key: Fraction(exponent) for key, exponent in row.items()})
        equation = root
    candidates = _candidates(equation)
    if not candidates:
        return None
    chosen = min(candidates, key=_cost)
    check_size(chosen)
    return chosen


def check_size(solution: Solution) -> None:
    """Raises ContradictionError for a symbol that would be no integer >= 1."""
    value = solution.value.as_fraction()
    if not isinstance(solution.atom, str) or value is None:
        return
    if value.denominator != 1 or value < 1:
        what = f"{solution.atom} would be {value}"
        raise ContradictionError(f"{what}, but sizes are integers >= 1")


def positive_content(equation: Dim) -> Dim:
    """The largest monomial of positive atoms in all terms (exponents may be negative)."""
    terms = [dict(factors) for factors, _ in equation.terms]
    lowest: dict[Atom, int] = {}
    for atom in equation.atoms():
        if is_positive_atom(atom):
            lowest[atom] = min(exponents.get(atom, 0) for exponents in terms)
    return Dim({monomial(lowest): Fraction(1)})


def _zero_product(factors: Monomial) -> Solution | Remainder | None:
    if not factors:
        raise ContradictionError("two different numbers cannot be equal")
    if all(is_positive_atom(atom) for atom, _ in factors):
        raise ContradictionError(f"{Dim({factors: Fraction(1)})} cannot be 0: sizes are >= 1")
    zeros = [factor for factor in factors if not is_positive_atom(factor[0])]
    if len(zeros) > 1 or zeros[0][1] < 0:
        return None
    atom = zeros[0][0]
    if isinstance(atom, Application) and atom.fn == "mod":
        return Remainder(denominator=atom.args[1], numerator=atom.args[0])
    return Solution(atom, Dim.const(0))


def _row(equation: Dim) -> dict[Atom | int, int]:
    """c*m - d*n == 0 as the exponents of (c/d) * m/n == 1, primes of the numbers included."""
    (first, first_value), (second, second_value) = equation.terms
    row: dict[Atom | int, int] = dict(first)
    for atom, exponent in second:
        row[atom] = row.get(atom, 0) - exponent
    for prime, exponent in prime_exponents(abs(first_value / second_value)).items():
        row[prime] = exponent
    return {key: exponent for key, exponent in row.items() if exponent}


def _root(row: dict[Atom | int, int]) -> Dim | None:
    """The equation after the root that positive sizes allow: 4*H**2 = K**2 gives 2*H = K.

    None if no atom is left with exponent +-1.
    """
    degree = math.gcd(*row.values())
    atoms = {key: exp // degree for key, exp in row.items() if not isinstance(key, int)}
    if 1 not in map(abs, atoms.values()):
        return None
    number = math.prod(
        Fraction(key) ** (exp // degree) for key, exp in row.items() if isinstance(key, int)
    )
    above = {atom: exp for atom, exp in atoms.items() if exp > 0}
    below = {atom: -exp for atom, exp in atoms.items() if exp < 0}
    left = Dim({monomial(above): Fraction(number)})
    return left - Dim({monomial(below): Fraction(1)})


def _candidates(equation: Dim) -> list[Solution]:
    counts: dict[Atom, int] = {}
    for atom in equation.atoms():
        counts[atom] = counts.get(atom, 0) + 1
    found = []
    for factors, coefficient in equation.terms:
        for atom, exponent in factors:
            others = [factor for factor in factors if factor[0] != atom]
            if counts[atom] > 1 or exponent != 1:
                continue
            if not all(is_positive_atom(other) for other, _ in others):
                continue
            cofactor = Dim({tuple(others): coefficient})
            value = -(equation - cofactor * Dim.atom(atom)) / cofactor
            if not mentions(value, atom):
                found.append(Solution(atom, value))
    return found


def mentions(dim: Dim, atom: Atom) -> bool:
    """Does the atom occur in it, inside opaque applications too?"""
    if isinstance(atom, str):
        return atom in dim.symbols()
    return any(
        other == atom
        or (isinstance(other, Application) and any(mentions(arg, atom) for arg in other.args))
        for other in dim.atoms()
    )


def _cost(solution: Solution) -> tuple[bool, int, int, str]:
    """Prefer an integral value, then to eliminate a quotient, a plain, an ambient, an opaque atom;
    among plain ones the longest name, so that messages keep the short ones."""
    atom = solution.atom
    if isinstance(atom, Application):
        return not is_integral(solution.value), 3, 0, atom.key
    kind = 0 if atom.startswith("[") else 2 if atom in _AMBIENT else 1
    return not is_integral(solution.value), kind, -len(atom), atom
