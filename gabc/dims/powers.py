"""Products of powers that equal 1, in reduced row-echelon form over the rationals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from gabc.dims.poly import Atom, Dim, atom_key
from gabc.dims.primes import prime_exponents

#: An atom, or a prime number.
Key = Atom | int
Exponents = dict[Key, Fraction]


def _key_order(key: Key) -> tuple[bool, int, str]:
    return (True, key, "") if isinstance(key, int) else (False, 0, atom_key(key))


def _plus(left: Exponents, right: Exponents, factor: Fraction) -> Exponents:
    """left + factor * right."""
    result = dict(left)
    for key, exponent in right.items():
        result[key] = result.get(key, Fraction(0)) + factor * exponent
    return {key: exponent for key, exponent in result.items() if exponent}


class PowerRows:
    """Facts such as H**2 = K**3, which no atom of exponent +-1 solves.

    Sizes are positive, so roots are unique and rational exponents may be compared.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Mapping[Key, Exponents] | None = None) -> None:
        self._rows: dict[Key, Exponents] = dict(rows or {})

    def copy(self) -> PowerRows:
        return PowerRows(self._rows)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __iter__(self) -> Iterator[Exponents]:
        """The rows, each with exponent 1 at its pivot."""
        return iter(self._rows.values())

    def clear(self) -> None:
        self._rows.clear()

    def reduce(self, exponents: Exponents) -> Exponents:
        """The same product without any pivot."""
        for pivot, row in self._rows.items():
            if pivot in exponents:
                exponents = _plus(exponents, row, -exponents[pivot])
        return exponents

    def add(self, exponents: Exponents) -> bool:
        """Add a product that equals 1. False if it says that a number other than 1 equals 1."""
        row = self.reduce(exponents)
        atoms = [key for key in row if not isinstance(key, int)]
        if not atoms:
            return not row
        pivot = min(atoms, key=_key_order)
        row = _plus({}, row, 1 / row[pivot])
        for other, known in self._rows.items():
            if pivot in known:
                self._rows[other] = _plus(known, row, -known[pivot])
        self._rows[pivot] = row
        return True

    def vanishes(self, dim: Dim) -> bool:
        """Is the dim zero once every monomial is reduced?

        Products of distinct fractional powers of primes are linearly independent over the
        rationals (Besicovitch 1940), so the terms that remain can be compared one by one.
        """
        totals: dict[tuple[tuple[Key, Fraction], ...], Fraction] = {}
        for factors, coefficient in dim.terms:
            exponents: Exponents = {atom: Fraction(exponent) for atom, exponent in factors}
            for prime, exponent in prime_exponents(abs(coefficient)).items():
                exponents[prime] = Fraction(exponent)
            value = Fraction(1 if coefficient > 0 else -1)
            radical: Exponents = {}
            for key, power in self.reduce(exponents).items():
                whole = power.__floor__() if isinstance(key, int) else 0
                if isinstance(key, int):
                    value *= Fraction(key) ** whole
                if power != whole:
                    radical[key] = power - whole
            name = tuple(sorted(radical.items(), key=lambda item: _key_order(item[0])))
            totals[name] = totals.get(name, Fraction(0)) + value
        return not any(totals.values())


def as_equation(row: Exponents) -> Dim:
    """The row as a dim that is zero: above - below, with integer exponents."""
    scale = 1
    for exponent in row.values():
        scale = scale * exponent.denominator
    above, below = Dim.const(1), Dim.const(1)
    for key, exponent in row.items():
        base = Dim.const(key) if isinstance(key, int) else Dim.atom(key)
        power = int(exponent * scale)
        if power > 0:
            above = above * base**power
        else:
            below = below * base**-power
    return above - below
