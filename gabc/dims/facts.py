"""What follows from known facts about dims."""

from __future__ import annotations

from collections.abc import Iterator

from gabc.dims.division import exact_quotient
from gabc.dims.expand import cleared, expanded
from gabc.dims.fraction import requirement
from gabc.dims.opaque import is_integral, is_positive, split_integral
from gabc.dims.poly import Application, Atom, Dim
from gabc.dims.powers import PowerRows, as_equation
from gabc.dims.search import Predicate, Question, connected, find
from gabc.dims.solve import (
    ContradictionError,
    PowerRow,
    Remainder,
    Solution,
    check_size,
    mentions,
    positive_content,
    solve,
)
from gabc.dims.verdict import OPEN, PROVED, Status, Verdict

__all__ = ["Facts", "Verdict"]

# Each step eliminates an atom or renormalises an opaque one; real units need a handful.
_MOST_STEPS = 200
_MOST_ROUNDS = 8


class Facts:
    """Equations and divisibilities between dims, and the questions they answer.

    Equations are kept solved: every atom that one of them determines is eliminated from all others
    (for products this is reduced row-echelon form of the exponent vectors). "d divides n" is the
    equation n = d*q with a quotient q of its own, so divisibility composes by multiplication.
    Symbols stand for integers >= 1; names may not begin with "[", which marks quotients.
    """

    __slots__ = (
        "_cache",
        "_divisions",
        "_equations",
        "_powers",
        "_quotients",
        "_solved",
        "_unsolved",
        "_whole",
    )

    def __init__(self) -> None:
        self._equations: list[tuple[Dim, Dim]] = []
        self._divisions: list[tuple[Dim, Dim]] = []
        self._solved: dict[Atom, Dim] = {}
        self._quotients: dict[str, Dim] = {}
        self._powers = PowerRows()
        self._unsolved: list[Dim] = []
        # Quotients of known divisions, as given.
        self._whole: list[Dim] = []
        self._cache: dict[Dim, Dim] = {}

    def copy(self) -> Facts:
        """An independent copy; dims are shared."""
        other = Facts()
        other._equations = self._equations.copy()
        other._divisions = self._divisions.copy()
        other._adopt(self)
        return other

    def _adopt(self, other: Facts) -> None:
        self._solved = other._solved.copy()
        self._quotients = other._quotients.copy()
        self._powers = other._powers.copy()
        self._unsolved = other._unsolved.copy()
        self._whole = other._whole.copy()
        self._cache = other._cache.copy()

    # -- assumptions ----------------------------------------------------------------------------

    def assume_equal(self, a: Dim, b: Dim) -> None:
        """From now on a == b.

        Raises:
            ContradictionError: no sizes >= 1 satisfy it with the facts known; nothing is assumed.
        """
        trial = self.copy()
        try:
            trial._absorb(a - b)
        except ContradictionError as error:
            known = f"{self.normal(a)} = {self.normal(b)}"
            raise ContradictionError(
                f"{a} = {b} contradicts what is known (it would mean {known}): {error}"
            ) from None
        self._adopt(trial)
        self._equations.append((a, b))

    def assume_divides(self, d: Dim, n: Dim) -> None:
        """From now on n / d is an integer.

        Raises:
            ContradictionError: as `assume_equal`.
        """
        trial = self.copy()
        try:
            trial._absorb_division(d, n)
        except ContradictionError:
            raise ContradictionError(
                f"{d} divides {n} contradicts what is known: the quotient would be "
                f"{self.normal(n / d)}"
            ) from None
        self._adopt(trial)
        self._divisions.append((d, n))

    def _absorb(self, equation: Dim) -> None:
        pending = [equation]
        for _ in range(_MOST_STEPS):
            if not pending:
                break
            equation = self._reduce(pending.pop())
            if equation.is_zero:
                continue
            match solve(equation):
                case Solution() as solution:
                    pending.extend(self._eliminate(solution))
                case Remainder(denominator, numerator):
                    self._absorb_division(denominator, numerator)
                case PowerRow(exponents):
                    if not self._powers.add(exponents):
                        raise ContradictionError(f"no sizes satisfy {equation} = 0")
                case None:
                    self._unsolved.append(equation)
        self._unsolved.extend(pending)
        self._cache = {}

    def _eliminate(self, solution: Solution) -> list[Dim]:
        """Substitute the solution everywhere; returns the equations to look at again."""
        again: list[Dim] = []
        solved: dict[Atom, Dim] = {}

        def lookup(atom: Atom) -> Dim | None:
            return solution.value if atom == solution.atom else None

        for atom, value in self._solved.items():
            itself = Dim.atom(atom)
            if isinstance(atom, Application) and mentions(itself, solution.atom):
                again.append(itself - value)
                continue
            solved[atom] = value.replace(lookup)
            check_size(Solution(atom, solved[atom]))
        solved[solution.atom] = solution.value
        self._solved = solved
        if any(isinstance(atom, Application) for atom in solved):
            self._solved = {atom: self._reduce(value) for atom, value in solved.items()}
        rows = [as_equation(row) for row in self._powers]
        if any(mentions(row, solution.atom) for row in rows):
            self._powers.clear()
            again.extend(rows)
        again.extend(self._unsolved)
        self._unsolved = []
        return again

    def _absorb_division(self, d: Dim, n: Dim) -> None:
        ratio = self._reduce(n / d)
        if is_integral(ratio):
            return
        above, below = requirement(split_integral(ratio)[1])
        if is_positive(1 - above):
            above = -above
        self._whole.append((above / below).substitute(self._quotients))
        # A symbol is >= 1, so one stands for the quotient only as far as that is known.
        shift = 0 if is_positive(above) else 1
        if is_positive(below) and is_positive(above + shift):
            quotient = self._whole[-1] + shift
            name = f"[{quotient}]"
            self._quotients[name] = quotient
            self._absorb(above - below * (Dim.symbol(name) - shift))

    # -- normal forms ---------------------------------------------------------------------------

    def _reduce(self, dim: Dim) -> Dim:
        """The normal form; quotients of known divisions stand in it as symbols of their own."""
        reduced = dim.replace(self._solved.get)
        # An opaque atom may turn into a solved one once its arguments are reduced.
        while reduced is not dim and not all(isinstance(atom, str) for atom in reduced.atoms()):
            dim, reduced = reduced, reduced.replace(self._solved.get)
        return reduced

    def _normal(self, dim: Dim) -> Dim:
        known = self._cache.get(dim)
        if known is None:
            known = self._cache[dim] = self._reduce(dim)
        return known

    def normal(self, dim: Dim) -> Dim:
        """The dim with all that the equations determine eliminated.

        Equal dims have equal normal forms, but for powers (H**2 = K**3), equations that could not
        be solved, and what `equal` proves beyond rewriting.
        """
        return self._normal(dim).substitute(self._quotients)

    # -- questions ------------------------------------------------------------------------------

    def equal(self, a: Dim, b: Dim) -> Verdict:
        """Is a == b at all sizes >= 1 that satisfy the facts?

        A counterexample names the symbols of a and b and those that facts tie to them.
        """
        if self.proves_equal(a, b):
            return PROVED
        return self._refute([a, b], lambda values: a.evaluate(values) != b.evaluate(values))

    def divides(self, d: Dim, n: Dim) -> Verdict:
        """Is n / d an integer at all sizes >= 1 that satisfy the facts?

        Raises:
            ZeroDivisionError: d is known to be zero.
        """
        if self.proves_divides(d, n):
            return PROVED
        return self._refute(
            [d, n], lambda values: (n.evaluate(values) / d.evaluate(values)).denominator != 1
        )

    def proves_equal(self, a: Dim, b: Dim) -> bool:
        """Whether `equal` would answer `PROVED`, without looking for a counterexample."""
        if a is b or a == b:
            return True
        left, right = self._normal(a), self._normal(b)
        return left == right or self._is_zero(left - right)

    def proves_divides(self, d: Dim, n: Dim) -> bool:
        """Whether `divides` would answer `PROVED`. Raises as it does."""
        return d.is_one or d == n or self._is_whole(self._normal(n) / self._normal(d))

    def _is_zero(self, difference: Dim) -> bool:
        rest = self._reduce(cleared(difference))
        if rest.is_zero or (self._powers and self._powers.vanishes(rest)):
            return True
        return any(_is_multiple(rest, self._reduce(cleared(known))) for known in self._unsolved)

    def _is_whole(self, ratio: Dim) -> bool:
        if is_integral(ratio):
            return True
        part = split_integral(expanded(ratio))[1]
        if part.is_zero:
            return True
        return any(is_integral(part / known) for known in self._known_integers())

    def _known_integers(self) -> Iterator[Dim]:
        """Fractions by their form that are integers: known quotients, and values of symbols."""
        values = [value for atom, value in self._solved.items() if isinstance(atom, str)]
        for value in [*values, *self._whole]:
            part = split_integral(self._normal(value))[1]
            if not part.is_zero:
                above, below = requirement(part)
                yield above / below

    def _refute(self, dims: list[Dim], fails: Predicate) -> Verdict:
        facts = self._equations + self._divisions
        near = connected(dims, facts)
        count = len(self._equations)
        question = Question(
            dims,
            [fact for fact, kept in zip(facts[:count], near, strict=False) if kept],
            [fact for fact, kept in zip(facts[count:], near[count:], strict=True) if kept],
            fails,
        )
        for solved in (self._with_even_divisions(dims), self._solved):
            sizes = None if solved is None else find(question, solved)
            if sizes is not None:
                return Verdict(Status.REFUTED, sizes)
        return OPEN

    def _with_even_divisions(self, dims: list[Dim]) -> dict[Atom, Dim] | None:
        """Solutions under extra assumptions that make divisions come out even: where D*E/H must be
        an integer, H divides D. They only steer the search, which checks what it finds."""
        trial = self.copy()
        try:
            for dim in dims:
                trial._assume_even(dim)
            for _ in range(_MOST_ROUNDS):
                uneven = [
                    value
                    for atom, value in trial._solved.items()
                    if isinstance(atom, str) and not is_integral(value)
                ]
                if not uneven:
                    break
                trial._assume_even(uneven[0])
        except ContradictionError:
            return None
        return trial._solved

    def _assume_even(self, dim: Dim) -> None:
        for above, below in self._reduce(dim).denominators():
            whole = above
            if above.is_monomial and above.symbols():
                whole = next(Dim.atom(atom) for atom in above.atoms())
            self._absorb_division(below, whole)


def _is_multiple(dim: Dim, known: Dim) -> bool:
    """Is it a polynomial multiple of a dim known to be zero? Positive factors do not matter."""
    if known.is_zero:
        return False
    above, below = dim / positive_content(dim), known / positive_content(known)
    if any(exponent < 0 for side in (above, below) for f, _ in side.terms for _, exponent in f):
        return False
    return exact_quotient(above, below) is not None
