"""Dims: Laurent polynomials with rational coefficients over symbols and opaque applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TypeAlias


class Application:
    """An atom the polynomial arithmetic does not look into: `floor(D/3)`, `min(H, 4)`.

    Build one with `Dim.apply`, which folds and canonicalises; this class only holds the result.
    """

    __slots__ = ("_hash", "_key", "args", "fn")

    def __init__(self, fn: str, args: tuple[Dim, ...]) -> None:
        self.fn = fn
        self.args = args
        self._hash = hash((fn, args))
        self._key: str | None = None

    @property
    def key(self) -> str:
        """Sorts after every symbol ("~" follows the letters), and does not depend on hashing."""
        if self._key is None:
            self._key = f"~{self.fn}({', '.join(map(str, self.args))})"
        return self._key

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Application):
            return NotImplemented
        return self._hash == other._hash and self.fn == other.fn and self.args == other.args

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return self.key[1:]


Atom: TypeAlias = str | Application
#: Atoms with their non-zero exponents, sorted by `atom_key`; the empty tuple is 1.
Monomial: TypeAlias = tuple[tuple[Atom, int], ...]

_ONE = Fraction(1)


def atom_key(atom: Atom) -> str:
    """The order of atoms, the same under every hash seed."""
    return atom if isinstance(atom, str) else atom.key


def _factor_key(factor: tuple[Atom, int]) -> str:
    return atom_key(factor[0])


def _term_key(term: tuple[Monomial, Fraction]) -> tuple[bool, int, list[tuple[str, int]]]:
    factors = term[0]
    degree = sum(exponent for _, exponent in factors)
    return (not factors, -degree, [(atom_key(atom), -exponent) for atom, exponent in factors])


def monomial(exponents: Mapping[Atom, int]) -> Monomial:
    """The canonical monomial of an exponent vector; zero exponents are dropped."""
    factors = [factor for factor in exponents.items() if factor[1]]
    if len(factors) > 1:
        factors.sort(key=_factor_key)
    return tuple(factors)


def _multiply(left: Monomial, right: Monomial) -> Monomial:
    if not left:
        return right
    if not right:
        return left
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, 0) + exponent
    return monomial(exponents)


class Dim:
    """An immutable symbolic size.

    Equality and hash are structural on the normal form, so two dims are equal exactly when they are
    the same Laurent polynomial over the same atoms. Symbols stand for integers >= 1.
    """

    __slots__ = ("_hash", "_sorted", "_symbols", "_terms", "_text")

    def __init__(self, terms: Mapping[Monomial, Fraction]) -> None:
        """From canonical monomials (see `monomial`); zero coefficients are dropped."""
        self._terms = {
            factors: coefficient for factors, coefficient in terms.items() if coefficient
        }
        self._hash: int | None = None
        self._sorted: tuple[tuple[Monomial, Fraction], ...] | None = None
        self._symbols: frozenset[str] | None = None
        self._text: str | None = None

    # -- construction ---------------------------------------------------------------------------

    @staticmethod
    def const(value: int | Fraction) -> Dim:
        return Dim({(): Fraction(value)})

    @staticmethod
    def symbol(name: str) -> Dim:
        return Dim({((name, 1),): _ONE})

    @staticmethod
    def atom(atom: Atom) -> Dim:
        return Dim({((atom, 1),): _ONE})

    @staticmethod
    def apply(fn: str, *args: Dim) -> Dim:
        """`floordiv`, `mod`, `min`, `max`, `ceil_to`, `round`, `floor`, `ceil` or `div` of dims.

        Folds constants and what holds for all sizes (`floor` of an integer, `min(L, L + 1)`).
        `floordiv(a, b)` is `floor(a / b)`; `round` takes halves to even, as Python does.

        Raises:
            ValueError: an unknown function or a wrong number of arguments.
            ZeroDivisionError: division, remainder or rounding by a constant zero.
        """
        from gabc.dims.opaque import apply

        return apply(fn, args)

    # -- inspection -----------------------------------------------------------------------------

    @property
    def terms(self) -> tuple[tuple[Monomial, Fraction], ...]:
        """(monomial, coefficient) pairs by falling degree, then name; the constant comes last."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self._terms.items(), key=_term_key))
        return self._sorted

    @property
    def is_zero(self) -> bool:
        return not self._terms

    @property
    def is_const(self) -> bool:
        return not self._terms or (len(self._terms) == 1 and () in self._terms)

    @property
    def is_one(self) -> bool:
        """The constant 1, a unit axis. A symbol whose value happens to be 1 is none."""
        return len(self._terms) == 1 and self._terms.get(()) == 1

    @property
    def is_monomial(self) -> bool:
        return len(self._terms) == 1

    def as_fraction(self) -> Fraction | None:
        """The value of a constant dim."""
        return self._terms.get((), Fraction(0)) if self.is_const else None

    def as_int(self) -> int | None:
        """The value of a dim that is a constant integer."""
        value = self.as_fraction()
        return int(value) if value is not None and value.denominator == 1 else None

    def symbols(self) -> frozenset[str]:
        """The names it depends on, those inside opaque applications included."""
        if self._symbols is None:
            names: set[str] = set()
            for atom in self.atoms():
                if isinstance(atom, str):
                    names.add(atom)
                else:
                    names.update(*(arg.symbols() for arg in atom.args))
            self._symbols = frozenset(names)
        return self._symbols

    def atoms(self) -> Iterator[Atom]:
        """The atoms of its monomials (not those inside opaque ones), in order, with repeats."""
        for factors, _ in self.terms:
            for atom, _exponent in factors:
                yield atom

    # -- arithmetic -----------------------------------------------------------------------------

    def __add__(self, other: Dim | int | Fraction) -> Dim:
        return self._combined(_as_dim(other), 1)

    def __sub__(self, other: Dim | int | Fraction) -> Dim:
        return self._combined(_as_dim(other), -1)

    def __radd__(self, other: int | Fraction) -> Dim:
        return self + other

    def __rsub__(self, other: int | Fraction) -> Dim:
        return _as_dim(other) - self

    def _combined(self, other: Dim, sign: int) -> Dim:
        terms = dict(self._terms)
        for factors, coefficient in other._terms.items():
            signed = coefficient if sign > 0 else -coefficient
            terms[factors] = terms[factors] + signed if factors in terms else signed
        return Dim(terms)

    def __neg__(self) -> Dim:
        return Dim({factors: -coefficient for factors, coefficient in self._terms.items()})

    def __mul__(self, other: Dim | int | Fraction) -> Dim:
        terms: dict[Monomial, Fraction] = {}
        right = _as_dim(other)._terms
        for left_factors, left_coefficient in self._terms.items():
            for right_factors, right_coefficient in right.items():
                factors = _multiply(left_factors, right_factors)
                product = left_coefficient * right_coefficient
                terms[factors] = terms[factors] + product if factors in terms else product
        return Dim(terms)

    def __rmul__(self, other: int | Fraction) -> Dim:
        return self * other

    def __truediv__(self, other: Dim | int | Fraction) -> Dim:
        """Exact division: a Laurent polynomial where possible, otherwise an opaque `div`.

        Raises:
            ZeroDivisionError: the divisor is the constant zero.
        """
        divisor = _as_dim(other)
        if divisor.is_zero:
            raise ZeroDivisionError(f"dim {self} divided by zero")
        if divisor.is_monomial:
            return self * divisor._reciprocal()
        from gabc.dims.division import divide

        return divide(self, divisor)

    def __rtruediv__(self, other: int | Fraction) -> Dim:
        return _as_dim(other) / self

    def _reciprocal(self) -> Dim:
        ((factors, coefficient),) = self._terms.items()
        inverse = tuple((atom, -exponent) for atom, exponent in factors)
        return Dim({inverse: 1 / coefficient})

    def __pow__(self, exponent: int) -> Dim:
        if exponent < 0:
            return (Dim.const(1) / self) ** -exponent
        power = Dim.const(1)
        for _ in range(exponent):
            power = power * self
        return power

    # -- substitution ---------------------------------------------------------------------------

    def substitute(self, values: Mapping[str, Dim]) -> Dim:
        """Replace symbols everywhere, inside opaque applications too, all at once."""
        if self.symbols().isdisjoint(values):
            return self
        return self.replace(lambda atom: values.get(atom) if isinstance(atom, str) else None)

    def replace(self, lookup: Callable[[Atom], Dim | None]) -> Dim:
        """Replace all atoms for which `lookup` answers, at once, inside opaque ones too.

        What it puts in is not looked at again. Returns self where nothing changes.
        """
        changed: dict[Atom, Dim] = {}
        for factors in self._terms:
            for atom, _ in factors:
                new = None if atom in changed else _replaced_atom(atom, lookup)
                if new is not None:
                    changed[atom] = new
        if not changed:
            return self
        result = Dim({})
        for factors, coefficient in self._terms.items():
            kept = tuple(factor for factor in factors if factor[0] not in changed)
            term = Dim({kept: coefficient})
            for atom, exponent in factors:
                if atom in changed:
                    term = term * changed[atom] ** exponent
            result = result + term
        return result

    def evaluate(self, values: Mapping[str, int | Fraction]) -> Fraction:
        """The exact value at integer sizes.

        Raises:
            KeyError: a symbol has no value.
            ZeroDivisionError: a divisor is zero at these sizes.
        """
        total = Fraction(0)
        for factors, coefficient in self._terms.items():
            above, below = coefficient.numerator, coefficient.denominator
            for atom, exponent in factors:
                value = values[atom] if isinstance(atom, str) else _atom_value(atom, values)
                power = value**exponent if exponent > 0 else Fraction(value) ** exponent
                above, below = above * power.numerator, below * power.denominator
            total += Fraction(above, below)
        return total

    # -- text -----------------------------------------------------------------------------------

    def __str__(self) -> str:
        if self._text is None:
            from gabc.dims.render import text

            self._text = text(self)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self})"

    def python(self) -> str:
        """A Python integer expression in the same names.

        Its value is exact wherever the dim is an integer, that is, wherever the obligations of
        `denominators` hold; arguments of `floor`, `ceil`, `round` and `ceil_to` may be fractions.
        """
        from gabc.dims.render import python

        return python(self)

    def denominators(self) -> list[tuple[Dim, Dim]]:
        """(numerator, denominator) pairs that must divide for the dim to be an integer."""
        from gabc.dims.fraction import obligations

        return obligations(self)

    # -- identity -------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Dim):
            return NotImplemented
        return self._terms == other._terms

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._terms.items()))
        return self._hash


def _as_dim(value: Dim | int | Fraction) -> Dim:
    return value if isinstance(value, Dim) else Dim.const(value)


def _replaced_atom(atom: Atom, lookup: Callable[[Atom], Dim | None]) -> Dim | None:
    direct = lookup(atom)
    if direct is not None or isinstance(atom, str):
        return direct
    args = [arg.replace(lookup) for arg in atom.args]
    if all(new is old for new, old in zip(args, atom.args, strict=True)):
        return None
    return Dim.apply(atom.fn, *args)


def _atom_value(atom: Application, values: Mapping[str, int | Fraction]) -> Fraction:
    from gabc.dims.opaque import value_of

    return value_of(atom.fn, [arg.evaluate(values) for arg in atom.args])


def product(dims: Iterable[Dim]) -> Dim:
    """The product of the dims, 1 for none."""
    result = Dim.const(1)
    for dim in dims:
        result = result * dim
    return result
