"""The step of a state as an affine map: what it keeps, what it mixes, what it adds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from gabc.graph.nodes import Value
from gabc.recurrences.affine import Forms
from gabc.recurrences.body import Body
from gabc.recurrences.terms import Axes, Form, Letter, NotAffine, Term
from gabc.syntax.source import Span


@dataclass(frozen=True, slots=True)
class LowRank:
    """A term `r (l^T S)`: the state summed over its axis at `place`, whose letter is `inner`."""

    place: int
    inner: Letter
    term: Term


@dataclass(frozen=True, slots=True)
class Update:
    """`S = kept * S + mixed (S) + added`, all with the letters `axes` for the state's axes."""

    axes: Axes
    kept: tuple[Term, ...]
    mixed: tuple[LowRank, ...]
    added: tuple[Term, ...]


def update_of(axes: Axes, after: Form, span: Span) -> Update:
    """The step of a state with these axes.

    Raises `NotAffine` where the state's elements meet otherwise than along one axis.
    """
    kept, mixed, added = [], [], []
    for term in after.placed(axes):
        if term.use is None:
            added.append(term)
            continue
        differing = [i for i, own in enumerate(term.use.axes) if own is not axes[i]]
        rest = replace(term, use=None)
        if not differing:
            kept.append(rest)
            continue
        inner = term.use.axes[differing[0]]
        if len(differing) > 1 or inner is None or inner in axes:
            raise NotAffine("elements of the state change places, or meet along two axes", span)
        mixed.append(LowRank(differing[0], inner, rest))
    return Update(axes, tuple(kept), tuple(mixed), tuple(added))


def connected(term: Term, key: Letter, outer: Collection[Letter]) -> tuple[Term, Term]:
    """The factors that have `key`, with those tied to them by summed axes; and the rest.

    A letter that is not among `outer` is summed over. Numbers and sign go with the rest.
    """
    side = [factor for factor in term.factors if key in factor.letters]
    while True:
        inner = {letter for factor in side for letter in factor.letters} - {key, *outer}
        more = [f for f in term.factors if f not in side and f.letters & inner]
        if not more:
            break
        side += more
    ordered = tuple(factor for factor in term.factors if factor in side)
    rest = tuple(factor for factor in term.factors if factor not in side)
    return Term(ordered), replace(term, factors=rest)


def letters_of(terms: Iterable[Term]) -> set[Letter]:
    return {letter for term in terms for letter in term.letters}


def same_factors(left: Term, right: Term) -> bool:
    """Whether two terms are the same product, numbers aside."""

    def key(term: Term) -> list[tuple[int, tuple[int, ...]]]:
        return sorted((id(f.value), tuple(map(id, f.axes))) for f in term.factors)

    return key(left) == key(right)


@dataclass
class Reads:
    """The values of the body in which a state occurs summed over an axis: `o = q^T S`.

    What depends on the state depends on it through these alone.
    """

    body: Body
    forms: Forms
    found: dict[Value, Form] = field(default_factory=dict)
    _failed: dict[Value, NotAffine] = field(default_factory=dict)
    _seen: set[Value] = field(default_factory=set)

    def visit(self, value: Value) -> None:
        """Find the reads a value is made of. Raises `NotAffine` if it needs the state whole."""
        if value in self._failed:
            raise self._failed[value]
        if value in self._seen or self.body.depends(value).isdisjoint(self.forms.states):
            return
        self._seen.add(value)
        try:
            self._visit(value)
        except NotAffine as failure:
            self._failed[value] = failure
            raise

    def _visit(self, value: Value) -> None:
        node = self.body.definition(value)
        if value in self.forms.ends or node is None:
            name = self.forms.states[0].name
            raise NotAffine(f"the state `{name}` is used whole", value.span)
        if node.op in ("index", "rearrange", "neg"):
            # `(q[:, None] @ S)[:, 0]` is one read, not a part of one.
            with suppress(NotAffine):
                form = self.forms.of(value)
                if is_contracted(form):
                    self.found[value] = form
                    return
        try:
            for operand in node.operands():
                self.visit(operand)
        except NotAffine as failure:
            form = self.forms.of(value)
            if not is_contracted(form):
                raise failure from None
            self.found[value] = form


def is_contracted(form: Form) -> bool:
    """Whether every use of the state is summed over one of its axes at least."""
    own = set(form.axes)
    return all(
        term.use is None or any(letter not in own for letter in term.use.axes if letter is not None)
        for term in form.terms
    )


def is_one(terms: Collection[Term]) -> bool:
    """Whether a sum is the number 1."""
    return [*terms] == [Term()]
