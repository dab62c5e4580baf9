"""Which axes of a matrix state are heads, keys and values, and which factors q, k, v, l and r."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gabc.graph.nodes import Value
from gabc.recurrences.affine import expanded
from gabc.recurrences.body import Body
from gabc.recurrences.facts import Remedy
from gabc.recurrences.terms import Axes, Form, Letter, NotAffine, Term
from gabc.recurrences.update import Update, connected, is_one, letters_of, same_factors
from gabc.syntax.source import Span

MAX_RANK = 4
"""Outer products that are added in one step, each a call of its own."""


@dataclass(frozen=True, slots=True)
class Query:
    """A term of a read: `post * (q^T S)`, summed to the axes `target`; without a q just `post`."""

    q: Term | None
    post: Term
    is_before: bool
    target: Axes


@dataclass(frozen=True, slots=True)
class Written:
    """An update: `pairs` are the k and v of each outer product; `l` and `r` the delta rule's."""

    l: Term | None  # noqa: E741
    r: tuple[Term, ...]
    pairs: tuple[tuple[Term, Term], ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """A state [B, heads, key, values] in letters, and its updates one after another.

    `kept` is the terms of the decay, empty for none; it comes with the first update.
    """

    axes: Axes
    batch: Letter
    heads: tuple[Letter, ...]
    key: Letter
    values: tuple[Letter, ...]
    kept: tuple[Term, ...]
    decay: str
    updates: tuple[Written, ...]
    reads: dict[Value, tuple[Query, ...]]

    @property
    def is_delta(self) -> bool:
        return any(update.l is not None for update in self.updates)

    @property
    def rank(self) -> int:
        """The most outer products that one update adds."""
        return max(len(update.pairs) for update in self.updates)


class NoRoles(Exception):
    """The state does not have this form; says why."""


def roles_of(body: Body, updates: Sequence[Update], reads: dict[Value, Form], span: Span) -> Roles:
    """Raises `NotAffine`: why there is no such reading of the axes."""
    axes = updates[0].axes
    places = {low.place for update in updates for low in update.mixed}
    if len(places) > 1:
        raise NotAffine("the state is mixed along two of its axes", span, Remedy.MATRIX)
    candidates = places or {i for i in range(1, len(axes)) if axes[i] is not None}
    reason = "it is a vector for each row, and no matrix"
    # The last axis but one is the key's by habit, so it is tried first.
    for place in sorted(candidates, key=lambda i: (i != len(axes) - 2, i)):
        try:
            return _Reading(body, updates, place).roles(reads)
        except NoRoles as failure:
            reason = str(failure)
    raise NotAffine(reason, span, Remedy.MATRIX)


def require_low_rank(body: Body, update: Update, span: Span) -> None:
    """Raises `NotAffine` where the state's rows are mixed by more than `r l^T`."""
    for low in update.mixed:
        try:
            _Reading(body, (update,), low.place).low_rank(update)
        except NoRoles as failure:
            raise NotAffine(str(failure), span, Remedy.MATRIX) from None


@dataclass
class _Reading:
    """The axes if that at `place` is the key's."""

    body: Body
    updates: Sequence[Update]
    place: int

    def __post_init__(self) -> None:
        self.axes = axes = self.updates[0].axes
        batch, key = axes[0], axes[self.place]
        assert batch is not None
        assert key is not None
        self.batch, self.key = batch, key
        self.others = [a for a in axes[1:] if a is not None and a is not key]

    def roles(self, reads: dict[Value, Form]) -> Roles:
        queries = {value: self._queries(form) for value, form in reads.items()}
        mixed = [self.low_rank(update) for update in self.updates]
        sides = [part.q for parts in queries.values() for part in parts if part.q is not None]
        for l, r in mixed:  # noqa: E741
            sides += [*([l] if l is not None else []), *r]
        heads = letters_of(sides)
        written = []
        for update, (l, r) in zip(self.updates, mixed, strict=True):  # noqa: E741
            pairs = self._pairs(update, heads)
            heads |= letters_of(k for k, _ in pairs)
            written.append(Written(l, r, pairs))
        if not any(part.pairs for part in written):
            raise NoRoles("nothing is added to the state")
        decayed = self.updates[0].kept
        decay = self._decay(heads, any(part.l is not None for part in written))
        values = tuple(letter for letter in self.others if letter not in heads)
        if not values:
            raise NoRoles("no axis is left for the values")
        if not decayed:
            raise NoRoles("the state is forgotten at each step")
        return Roles(
            axes=self.axes,
            batch=self.batch,
            heads=tuple(letter for letter in self.others if letter in heads),
            key=self.key,
            values=values,
            kept=() if is_one(decayed) else decayed,
            decay=decay,
            updates=tuple(written),
            reads=queries,
        )

    def _queries(self, form: Form) -> tuple[Query, ...]:
        return tuple(
            Query(None, term, False, form.axes) if term.use is None else self._query(term, form)
            for term in form.terms
        )

    def _query(self, term: Term, form: Form) -> Query:
        assert term.use is not None
        names = {
            own: axis for own, axis in zip(term.use.axes, self.axes, strict=True) if own is not None
        }
        if len(set(names.values())) < len([a for a in self.axes if a is not None]):
            raise NoRoles("only the diagonal of the state is read")
        target = tuple(None if a is None else names.get(a, a) for a in form.axes)
        if self.key in target:
            raise NoRoles("the state is read without a sum over the axis of its keys")
        is_before = term.use.value in self.body.states
        moved = replace(term, use=None).renamed(names)
        state = {*self.others, self.batch}
        q, post = connected(moved, self.key, {*state, *(a for a in target if a is not None)})
        if not q.factors:
            raise NoRoles("the state is summed over the axis of its keys without a query")
        if letters_of([q]) & ({*target} - state):
            raise NoRoles("several queries read the state at once")
        return Query(q, post, is_before, target)

    def low_rank(self, update: Update) -> tuple[Term | None, tuple[Term, ...]]:
        found: list[tuple[Term, list[Term]]] = []
        outer = {*self.others, self.batch, self.key}
        for low in update.mixed:
            for term in self._taken_apart(low.term, low.inner, {self.key}):
                left, rest = connected(term, low.inner, outer)
                if self.key in letters_of([left]):
                    raise NoRoles("its rows are mixed by a full matrix")
                left = left.renamed({low.inner: self.key})
                for known, right in found:
                    if same_factors(known, left):
                        right.append(rest)
                        break
                else:
                    found.append((left, [rest]))
        if not found:
            return None, ()
        if len(found) > 1:
            # One r for several l: the roles of the two are exchanged.
            raise NoRoles(
                f"the state is changed by a sum of {len(found)} products `r (l^T S)` of the same "
                "S, and the parallel form takes them one after another only"
            )
        left, rights = found[0]
        return left, tuple(rights)

    def _pairs(self, update: Update, heads: set[Letter]) -> tuple[tuple[Term, Term], ...]:
        pairs = []
        outer = {*self.others, self.batch, self.key}
        for added in update.added:
            for term in self._taken_apart(added, self.key, {*self.others} - heads):
                k, v = connected(term, self.key, outer)
                if not k.factors:
                    raise NoRoles("what is added is the same for all keys")
                pairs.append((k, v))
        if len(pairs) > MAX_RANK:
            raise NoRoles(f"{len(pairs)} outer products are added in one step")
        return tuple(pairs)

    def _taken_apart(self, term: Term, key: Letter, apart: set[Letter]) -> list[Term]:
        """The term with factors opened until none has `key` and a letter of `apart`."""
        for factor in term.factors:
            if key in factor.letters and factor.letters & apart:
                parts = expanded(self.body, term, factor)
                if parts is None:
                    break
                return [t for part in parts for t in self._taken_apart(part, key, apart)]
        return [term]

    def _decay(self, heads: set[Letter], is_delta: bool) -> str:
        """The kind of decay; axes that it distinguishes become heads where that is possible."""
        own = letters_of(self.updates[0].kept) - {self.batch}
        free = [letter for letter in self.others if letter not in heads]
        decaying = [letter for letter in free if letter in own]
        if self.key in own:
            heads.update(decaying)
            return "key"
        if not decaying:
            return "head"
        if len(decaying) < len(free):
            heads.update(decaying)
            return "head"
        if is_delta:
            raise NoRoles("its values decay at rates of their own")
        return "value"
