"""Values of a scan's body as sums of products with named axes: einsum's normal form.

A form is a sum of terms. A term is a product of numbers, of factors that do not depend on the state
and of at most one use of the state. Axes have letters; a letter that the form's own axes do not
have is summed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gabc.dims import Dim
from gabc.graph.nodes import Value
from gabc.graph.static import Apply, Literal, Static
from gabc.recurrences.facts import Remedy
from gabc.syntax.source import Span

MAX_TERMS = 32
"""Terms of a form, and factors of a term; products of sums multiply them."""


class NotAffine(Exception):
    """The value is no affine function of the state; says why and where, and what would help."""

    def __init__(self, reason: str, span: Span, remedy: Remedy = Remedy.LINEAR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.span = span
        self.remedy = remedy


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """A named axis. Letters are compared by identity."""

    dim: Dim


Axes: TypeAlias = "tuple[Letter | None, ...]"
"""The letter of each axis; `None` is a unit axis, which stretches."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A value with a letter for each of its axes."""

    value: Value
    axes: Axes

    @property
    def letters(self) -> frozenset[Letter]:
        return frozenset(letter for letter in self.axes if letter is not None)


@dataclass(frozen=True, slots=True)
class Term:
    """`use` is the state itself (before or after its update), if the term has it."""

    factors: tuple[Factor, ...] = ()
    numbers: tuple[Static, ...] = ()
    is_negative: bool = False
    use: Factor | None = None

    @property
    def letters(self) -> frozenset[Letter]:
        parts = self.factors if self.use is None else (*self.factors, self.use)
        return frozenset().union(*(part.letters for part in parts))

    def renamed(self, names: Mapping[Letter, Letter | None]) -> Term:
        """Other letters for the axes; a letter that becomes `None` is of a unit axis."""

        def moved(factor: Factor) -> Factor:
            axes = tuple(None if a is None else names.get(a, a) for a in factor.axes)
            return Factor(factor.value, axes)

        use = None if self.use is None else moved(self.use)
        return replace(self, factors=tuple(map(moved, self.factors)), use=use)

    def negated(self) -> Term:
        return replace(self, is_negative=not self.is_negative)

    def times(self, other: Term) -> Term:
        """The product; at most one of the two has the state."""
        assert self.use is None or other.use is None
        return Term(
            self.factors + other.factors,
            self.numbers + other.numbers,
            self.is_negative != other.is_negative,
            self.use or other.use,
        )


@dataclass(frozen=True, slots=True)
class Form:
    """A value: its axes and the terms whose sum it is."""

    axes: Axes
    terms: tuple[Term, ...]

    def placed(self, target: Axes) -> tuple[Term, ...]:
        """The terms with these letters for the axes, matched from the right, and new inner ones."""
        names: dict[Letter, Letter | None] = {}
        for own, wanted in zip(reversed(self.axes), reversed(target), strict=False):
            if own is not None:
                names[own] = wanted
        placed = []
        for term in self.terms:
            inner = {letter: Letter(letter.dim) for letter in term.letters if letter not in names}
            placed.append(term.renamed({**names, **inner}))
        return tuple(placed)

    def map(self, change: Callable[[Term], Term]) -> Form:
        return Form(self.axes, tuple(change(term) for term in self.terms))


def letters_for(dims: Sequence[Dim]) -> Axes:
    return tuple(None if dim.is_one else Letter(dim) for dim in dims)


def leaf(value: Value) -> Form:
    """A value that is not taken apart."""
    axes = letters_for(value.type.dims)
    return Form(axes, (Term((Factor(value, axes),)),))


def use_of(state: Value) -> Form:
    axes = letters_for(state.type.dims)
    return Form(axes, (Term(use=Factor(state, axes)),))


def number(static: Static) -> Form:
    """A static number."""
    if isinstance(static, Literal) and isinstance(static.value, (int, float)):
        if static.value == 0:
            return Form((), ())
        if static.value == 1:
            return Form((), (Term(),))
    if isinstance(static, Apply) and static.op == "neg":
        return number(static.args[0]).map(Term.negated)
    return Form((), (Term(numbers=(static,)),))


def add(forms: Iterable[Form], axes: Axes) -> Form:
    """The sum of forms that broadcast to these axes."""
    return Form(axes, tuple(term for form in forms for term in form.placed(axes)))


def multiply(left: Form, right: Form, axes: Axes, span: Span) -> Form:
    """The product of forms that broadcast to these axes. Raises `NotAffine`."""
    return Form(axes, products(left.placed(axes), right.placed(axes), span))


def products(left: Sequence[Term], right: Sequence[Term], span: Span) -> tuple[Term, ...]:
    """Every term on the left times every one on the right. Raises `NotAffine`."""
    found = []
    for a in left:
        for b in right:
            if a.use is not None and b.use is not None:
                raise NotAffine("the state is multiplied by itself", span)
            found.append(a.times(b))
    if len(found) > MAX_TERMS:
        raise NotAffine(f"the step has more than {MAX_TERMS} terms", span)
    return tuple(found)
