"""What is proved of a unit's dims while its body is elaborated, and what is left to be evaluated.

Three answers: proved; refuted, which refuses the operation; open. An open question about
configuration becomes an `Obligation`, evaluated once every number is known; one about `B` or `L` is
an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim, Facts
from gabc.elaborate.limits import MAX_SIZE, limit
from gabc.ops.base import Refused
from gabc.syntax.source import Span

RUNTIME_DIMS = frozenset({"B", "L"})
AMBIENT_SIZES = frozenset({"B", "L", "D", "n_layers"})
"""Sizes that are at least 1 by definition."""


class Relation(Enum):
    """How two dims stand to each other."""

    EQUAL = "equal"
    DIVIDES = "divides"
    """`left` divides `right`."""
    POSITIVE = "positive"
    """`1 <= left <= MAX_SIZE`."""
    AT_MOST = "at most"
    """`left <= right`."""
    BOUNDED = "bounded"
    """`left <= MAX_SIZE`."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a unit takes for a fact: `EQUAL`, or `left` `DIVIDES` `right`."""

    relation: Relation
    left: Dim
    right: Dim


@dataclass(frozen=True, slots=True)
class Obligation:
    """A relation between two dims; `POSITIVE` and `BOUNDED` say something of `left` only."""

    relation: Relation
    left: Dim
    right: Dim
    span: Span
    message: str

    def substitute(self, dims: Mapping[str, Dim]) -> Obligation:
        left, right = self.left.substitute(dims), self.right.substitute(dims)
        return Obligation(self.relation, left, right, self.span, self.message)

    @property
    def symbols(self) -> frozenset[str]:
        return self.left.symbols() | self.right.symbols()


_CODES = {
    Relation.EQUAL: "GAB0201",
    Relation.DIVIDES: "GAB0203",
    Relation.POSITIVE: "GAB0209",
    Relation.AT_MOST: "GAB0210",
    Relation.BOUNDED: "GAB0701",
}
_SMALL = 1024
"""A multiple of `D` or the like by no more than this needs no check of its size."""
_ONE = Dim.const(1)


class DimProver:
    """The facts of one unit and the obligations met so far (implements `ops.base.Prover`)."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.assumed: list[Assumption] = []
        """What the facts were told, in order."""
        self.obligations: list[Obligation] = []
        self._met: set[tuple[Relation, Dim, Dim]] = set()
        """What was asked before: a second failure of the same would be no news."""

    def copy(self) -> DimProver:
        """A prover that knows the same and goes its own way."""
        other = DimProver()
        other.facts = self.facts.copy()
        other.assumed = list(self.assumed)
        other.obligations = list(self.obligations)
        other._met = set(self._met)
        return other

    def assume(self, fact: Assumption) -> None:
        """Take something for a fact. Raises `ContradictionError`."""
        if fact.relation is Relation.EQUAL:
            self.facts.assume_equal(fact.left, fact.right)
        else:
            self.facts.assume_divides(fact.left, fact.right)
        self.assumed.append(fact)

    def are_equal(self, left: Dim, right: Dim) -> bool:
        return self.facts.proves_equal(left, right)

    def require_equal(self, left: Dim, right: Dim, span: Span, message: str) -> None:
        if left == right:
            return
        bound = _bound(left, right)
        if bound is not None or _is_foreign(left, right):
            if self.facts.proves_equal(left, right):
                return
            if bound is not None:
                self._postpone(Relation.AT_MOST, right, bound, span, message)
            else:
                self._postpone(Relation.EQUAL, left, right, span, message)
            return
        verdict = self.facts.equal(left, right)
        if verdict.proved:
            return
        if verdict.counterexample is not None:
            raise Refused(
                Diagnostic(
                    "GAB0201",
                    message,
                    span,
                    expected=str(left),
                    actual=str(right),
                    help=_equality_help(left, right, verdict.counterexample),
                    facts=_facts(verdict.counterexample),
                )
            )
        self._postpone(Relation.EQUAL, left, right, span, message)

    def require_divides(self, divisor: Dim, dim: Dim, span: Span, message: str) -> None:
        # A divisibility that fails at some size is not yet a fault: `D / heads` is checked at every
        # scale asked for. Only what can be decided without numbers is decided here.
        if self.facts.proves_divides(divisor, dim):
            return
        numbers = divisor.as_int(), dim.as_int()
        if numbers[0] and numbers[1] is not None and numbers[1] % numbers[0]:
            raise Refused(
                Diagnostic(
                    "GAB0203", message, span, expected=f"a multiple of {divisor}", actual=str(dim)
                )
            )
        self._postpone(Relation.DIVIDES, divisor, dim, span, message)

    def require_integer(self, dim: Dim, span: Span, message: str) -> None:
        """Every division inside `dim` must be exact."""
        for numerator, denominator in dim.denominators():
            self.require_divides(denominator, numerator, span, message)

    def require_positive(self, dim: Dim, span: Span, message: str) -> None:
        """Sizes are at least 1."""
        number = dim.as_int()
        if number is not None:
            if number < 1:
                raise Refused(Diagnostic("GAB0209", message, span, actual=str(dim)))
            return
        known = self._follows_from_positive(dim)
        relation = Relation.BOUNDED if known else Relation.POSITIVE
        if dim.is_monomial and dim.symbols() <= AMBIENT_SIZES and known:
            ((factors, coefficient),) = dim.terms
            if len(factors) == 1 and factors[0][1] == 1 and coefficient <= _SMALL:
                return
        self._postpone(relation, dim, _ONE, span, message)

    def require_at_most(self, small: Dim, large: Dim, span: Span, message: str) -> None:
        """Only numbers decide it here; everything else is evaluated."""
        numbers = small.as_int(), large.as_int()
        if numbers[0] is None or numbers[1] is None:
            self._postpone(Relation.AT_MOST, small, large, span, message)
        elif numbers[0] > numbers[1]:
            raise Refused(Diagnostic("GAB0210", message, span))

    def declare_positive(self, name: str) -> None:
        """A name whose value was required to be at least 1 where it was defined."""
        self._met.add((Relation.POSITIVE, Dim.symbol(name), _ONE))

    def _follows_from_positive(self, dim: Dim) -> bool:
        """Whether it is a product of sizes that are at least 1, or were required to be."""
        if not dim.is_monomial:
            return False
        ((factors, coefficient),) = dim.terms
        if coefficient < 1:
            return False
        return all(
            exponent > 0
            and isinstance(atom, str)
            and (atom in AMBIENT_SIZES or (Relation.POSITIVE, Dim.symbol(atom), _ONE) in self._met)
            for atom, exponent in factors
        )

    def _postpone(
        self, relation: Relation, left: Dim, right: Dim, span: Span, message: str
    ) -> None:
        if (relation, left, right) in self._met:
            return
        self._met.add((relation, left, right))
        obligation = Obligation(relation, left, right, span, message)
        sized = relation in (Relation.POSITIVE, Relation.BOUNDED)
        if not sized and obligation.symbols & RUNTIME_DIMS:
            raise Refused(
                Diagnostic(
                    _CODES[relation],
                    message,
                    span,
                    expected=str(left),
                    actual=str(right),
                    help="this must hold for every batch size and every length",
                )
            )
        self.obligations.append(obligation)


def holds(facts: Facts, fact: Assumption) -> bool:
    """Whether other facts prove it."""
    if fact.relation is Relation.EQUAL:
        return facts.proves_equal(fact.left, fact.right)
    return facts.proves_divides(fact.left, fact.right)


def _is_foreign(left: Dim, right: Dim) -> bool:
    """Whether a size of a unit in a slot takes part (`norm.width`): only its value is known."""
    return any("." in name.strip(".") for name in left.symbols() | right.symbols())


def _bound(equal: Dim, small: Dim) -> Dim | None:
    """`large`, if `equal` is `min(small, large)`: so `gabc.ops.bounds` states `small <= large`."""
    if not equal.is_monomial:
        return None
    ((factors, coefficient),) = equal.terms
    if coefficient != 1 or len(factors) != 1 or factors[0][1] != 1:
        return None
    atom = factors[0][0]
    if isinstance(atom, str) or atom.fn != "min" or len(atom.args) != 2 or small not in atom.args:
        return None
    return atom.args[0] if atom.args[1] == small else atom.args[1]


def _equality_help(left: Dim, right: Dim, counterexample: Mapping[str, int]) -> str:
    if (left.symbols() | right.symbols()) & RUNTIME_DIMS or (left - right).is_monomial:
        return ""
    return f"if they are meant to agree, add `require {left} == {right}`" if counterexample else ""


def _facts(counterexample: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(size)) for name, size in counterexample.items())


def discharge(
    obligations: Iterable[Obligation], sizes: Mapping[str, int], scale: str
) -> tuple[list[Obligation], list[Diagnostic]]:
    """Evaluate what can be evaluated: those left open (a dim of the call), and those that fail."""
    left_open: list[Obligation] = []
    failed: list[Diagnostic] = []
    for obligation in obligations:
        if obligation.symbols <= sizes.keys():
            diagnostic = _evaluate(obligation, sizes, scale)
            if diagnostic is not None:
                failed.append(diagnostic)
        else:
            left_open.append(obligation)
    return left_open, failed


def undecided(obligation: Obligation) -> Diagnostic:
    """The refusal of an obligation that no number decides: a dim in it stands for `B` or `L`."""
    codes = {
        Relation.EQUAL: "GAB0201",
        Relation.DIVIDES: "GAB0203",
        Relation.POSITIVE: "GAB0209",
    }
    return Diagnostic(
        codes.get(obligation.relation, "GAB0210"),
        obligation.message,
        obligation.span,
        help="the size stands for the batch or the length: it is not known when compiling",
    )


def _evaluate(obligation: Obligation, sizes: Mapping[str, int], scale: str) -> Diagnostic | None:
    try:
        left, right = obligation.left.evaluate(sizes), obligation.right.evaluate(sizes)
    except ZeroDivisionError:
        return _zero_division(obligation, sizes, scale)
    shown = _number(obligation.left, left), _number(obligation.right, right)
    match obligation.relation:
        case Relation.EQUAL:
            holds = left == right
            expected, actual, help = shown[0], shown[1], ""
        case Relation.DIVIDES if left == 0:
            return _zero_division(obligation, sizes, scale)
        case Relation.DIVIDES:
            holds = (right / left).denominator == 1
            expected, actual = f"a multiple of {shown[0]}", shown[1]
            help = "choose sizes that divide at every scale, or round: `ceil_to(x, m)`, `//`"
        case Relation.POSITIVE | Relation.BOUNDED if left > MAX_SIZE:
            return limit(
                obligation.span, f"the size `{shown[0]}` is beyond the limit of {MAX_SIZE:,}"
            )
        case Relation.POSITIVE | Relation.BOUNDED:
            holds = left >= 1 or obligation.relation is Relation.BOUNDED
            expected, actual, help = "at least 1", shown[0], ""
        case Relation.AT_MOST:
            holds = left <= right
            expected, actual, help = f"at most {shown[1]}", shown[0], ""
    if holds:
        return None
    return Diagnostic(
        _CODES[obligation.relation],
        obligation.message,
        obligation.span,
        expected=expected,
        actual=actual,
        help=help,
        facts=_sizes_used(obligation, sizes, scale),
    )


def _zero_division(obligation: Obligation, sizes: Mapping[str, int], scale: str) -> Diagnostic:
    return Diagnostic(
        "GAB0109",
        f"`{obligation.span.text}` divides by zero",
        obligation.span,
        facts=_sizes_used(obligation, sizes, scale),
    )


def _sizes_used(
    obligation: Obligation, sizes: Mapping[str, int], scale: str
) -> tuple[tuple[str, str], ...]:
    used = sorted(obligation.symbols)
    return (("scale", scale), *((name, str(sizes[name])) for name in used))


def _number(dim: Dim, value: object) -> str:
    return str(dim) if str(dim) == str(value) else f"{dim} = {value}"
