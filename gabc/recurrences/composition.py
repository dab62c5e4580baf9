"""The step of a state as updates of rank one, each of the state that the one before it left.

The product of n of them has rank n as a whole. One after another they are n steps of the delta rule
(DeltaProduct, arXiv 2502.10297, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

from gabc.graph.nodes import Carried, Value
from gabc.graph.types import TensorType
from gabc.recurrences.affine import Forms
from gabc.recurrences.body import Body
from gabc.recurrences.facts import Remedy
from gabc.recurrences.roles import require_low_rank
from gabc.recurrences.terms import Axes, NotAffine, letters_for
from gabc.recurrences.update import Update, is_one, update_of


def updates_of(body: Body, carried: Carried) -> tuple[Update, ...]:
    """As few updates as possible, with the same letters for the state's axes.

    Raises `NotAffine`: why the step as a whole is none, if it is no composition either.
    """
    step = _Step(body, carried, letters_for(carried.current.type.dims))
    try:
        return (step.whole(),)
    except NotAffine as failure:
        between = step.between()
        found = step.composed(between, decays=False)
        if found is not None and any(update.mixed for update in found):
            return found
        if found is not None or step.composed(between, decays=True) is None:
            raise failure from None
    why = "the state decays between its updates, and in the parallel form only before the first"
    raise NotAffine(why, carried.next.span, Remedy.FIRST)


@dataclass(frozen=True, slots=True)
class _Step:
    body: Body
    carried: Carried
    axes: Axes

    def whole(self) -> Update:
        """The step as one update. Raises `NotAffine`."""
        return self._update(self._forms(self.carried.current), self.carried.next)

    def between(self) -> list[Value]:
        """The values like the state through which alone the next one depends on it, in order.

        So each later one depends on the state through those before it alone.
        """
        current, after = self.carried.current, self.carried.next
        like = [
            value
            for node in self.body.region.nodes
            for value in node.outputs
            if value is not after
            and current in self.body.depends(value)
            and _is_like(value.type, current.type)
        ]
        return [value for value in like if not self._is_reached(after, without=value)]

    def _is_reached(self, after: Value, without: Value) -> bool:
        """Whether a value depends on the state by another way than through one value."""
        reached = {self.carried.current}
        for node in self.body.region.nodes:
            inner = () if node.region is None else node.region.nodes
            read = {value for part in (node, *inner) for value in part.operands()}
            if not read.isdisjoint(reached):
                reached.update(output for output in node.outputs if output is not without)
        return after in reached

    def composed(self, between: list[Value], *, decays: bool) -> tuple[Update, ...] | None:
        """The updates from value to value, each as far as one goes; `None` if one has no end.

        Without `decays` only the first may scale the state.
        """
        left = [*between, self.carried.next]
        before, updates = self.carried.current, list[Update]()
        while left:
            forms = self._forms(before)
            for place in reversed(range(len(left))):
                update = self._rank_one(forms, left[place])
                if update is not None and (decays or not updates or is_one(update.kept)):
                    break
            else:
                return None
            updates.append(update)
            before, left = left[place], left[place + 1 :]
        return tuple(updates)

    def _rank_one(self, forms: Forms, value: Value) -> Update | None:
        try:
            return self._update(forms, value)
        except NotAffine:
            return None

    def _forms(self, before: Value) -> Forms:
        return Forms(self.body, (self.carried.current,), (before,))

    def _update(self, forms: Forms, value: Value) -> Update:
        """Raises `NotAffine`."""
        update = update_of(self.axes, forms.of(value), value.span)
        require_low_rank(self.body, update, value.span)
        return update


def _is_like(value: TensorType, state: TensorType) -> bool:
    """Whether the axes may be a state's. An update that keeps what it changes has the same ones.

    Dims are not compared: `D / K` may be written where the state has an equal `H`.
    """
    if value.kind != state.kind or value.rank != state.rank:
        return False
    return all(a.is_one == b.is_one for a, b in zip(value.dims, state.dims, strict=True))
