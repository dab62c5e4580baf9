"""Matrix states in parallel form: `linear_attention` and `delta_rule` in place of their reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gabc.dims import Dim
from gabc.dims.poly import product as product_of
from gabc.graph.nodes import Argument, Carried, Value
from gabc.graph.static import Apply, Environment, Static, evaluate
from gabc.graph.types import ONE, B, L, TensorType
from gabc.ops.recurrence_scans import is_number
from gabc.recurrences.body import Body
from gabc.recurrences.build import product, spread, total
from gabc.recurrences.facts import Remedy
from gabc.recurrences.lift import Lifter
from gabc.recurrences.logarithm import Logarithms, positive_number
from gabc.recurrences.roles import Query, Roles, Written
from gabc.recurrences.terms import Factor, Letter, NotAffine, Term, letters_for
from gabc.recurrences.update import letters_of, same_factors

MAYBE_NEGATIVE = "its decay may be zero or negative"


@dataclass
class Matrix:
    """One state, its reads bound in the lifter as soon as one of them is asked for."""

    body: Body
    lifter: Lifter
    carried: Carried
    roles: Roles
    numbers: Environment
    """The unit's static names at the scale."""
    _calls: list[tuple[Term, bool, Value]] = field(default_factory=list)
    _constants: dict[tuple[Static, tuple[Dim, ...]], Value] = field(default_factory=dict)
    _log: Value | None = None

    def prepare(self) -> None:
        """Raises `NotAffine` if the decay is not known to be above zero."""
        self._log = self._log_decay()
        for value, parts in self.roles.reads.items():
            self.lifter.defer(value, partial(self._read, value, parts))

    def _read(self, value: Value, parts: Sequence[Query]) -> Value:
        """A read of the state at all positions."""
        target = letters_for(value.type.dims)
        roles = self.roles
        terms = []
        for part in parts:
            term = part.post
            if part.q is not None:
                axes = (roles.batch, *roles.heads, *roles.values)
                term = term.times(Term((Factor(self._attended(part.q, part.is_before), axes),)))
            names = {a: b for a, b in zip(part.target, target, strict=True) if a is not None}
            terms.append(term.renamed(names))
        result = total(self.body, terms, target)
        assert isinstance(result, Value)
        return self.lifter.lift(result)

    def _attended(self, q: Term, is_before: bool) -> Value:
        """`q^T S`, a value of one step [B, heads, values]."""
        for known, when, value in self._calls:
            if when == is_before and same_factors(known, q):
                return value
        outputs = [self._call(q, is_before, number) for number in range(self.roles.rank)]
        merged = outputs[0]
        for other in outputs[1:]:
            merged = self.lifter.add("add", {"a": merged, "b": other}, merged.type)
        inner = Value(merged.type.with_dims((B, *merged.type.dims[2:])), self.body.span)
        self.lifter.bind(inner, merged)
        value = self._parted(inner)
        self._calls.append((q, is_before, value))
        return value

    def _call(self, q: Term, is_before: bool, number: int) -> Value:
        """The parallel form for one of the outer products: the recurrence is linear in them."""
        roles = self.roles
        laid = {"q": [self._laid([q], (roles.key,))]}
        for update in roles.updates:
            for name, part in self._vectors(update, number).items():
                laid.setdefault(name, []).append(part)
        vectors = self._with_constants(laid)
        op = "linear_attention"
        if roles.is_delta:
            op = "delta_rule" if len(roles.updates) == 1 else "delta_product"
        args: dict[str, Argument] = {
            name: self._stacked(parts, f"{name}_updates") for name, parts in vectors.items()
        }
        args |= {"log_decay": self._log, "decay": roles.decay, "read_before": is_before}
        args["initial"] = self._initial() if number == 0 else None
        return self.lifter.add(op, args, vectors["v"][0].type, span=self.carried.next.span)

    def _vectors(self, update: Written, number: int) -> dict[str, Value | Static]:
        """What one update reads and writes, with one of its outer products, or none left."""
        key, found = (self.roles.key,), {}
        if self.roles.is_delta:
            found["l"] = self._laid([] if update.l is None else [update.l], key)
            found["r"] = self._laid(update.r, key)
        pair = update.pairs[number : number + 1]
        found["k"] = self._laid([k for k, _ in pair], key)
        found["v"] = self._laid([v for _, v in pair], self.roles.values)
        return found

    def _with_constants(
        self, laid: Mapping[str, Sequence[Value | Static]]
    ) -> dict[str, list[Value]]:
        """Numbers as tensors [B, L, heads, keys or values], in the precision of what is beside."""
        others = [part for parts in laid.values() for part in parts if isinstance(part, Value)]
        found: dict[str, list[Value]] = {}
        for name, parts in laid.items():
            last = self.roles.values if name == "v" else (self.roles.key,)
            same = [part for part in parts if isinstance(part, Value)]
            like = next(iter([*same, *others]), None)
            found[name] = [
                part if isinstance(part, Value) else self._constant(part, last, like)
                for part in parts
            ]
        return found

    def _constant(self, number: Static, last: tuple[Letter, ...], like: Value | None) -> Value:
        dims = (B, L, *_sizes((self.roles.heads, last)))
        if (number, dims) not in self._constants:
            type_, name = TensorType("float", dims), "zeros" if is_number(number, 0.0) else ""
            value = self.lifter.add(name or "ones", {"dims": dims}, type_, name)
            if not name:
                value = self.lifter.add("mul", {"a": number, "b": value}, type_)
            self._constants[number, dims] = self._narrow(value, like)
        return self._constants[number, dims]

    def _narrow(self, value: Value, like: Value | None) -> Value:
        """New tensors are made in float32 at least, which would widen all that follows."""
        if like is None:
            return value
        return self.lifter.add("narrow", {"x": value, "like": like}, value.type, value.name)

    def _stacked(self, parts: Sequence[Value], name: str) -> Value:
        """[B, L, ...] of each update as [B, L, updates, ...]; that of one alone as it is."""
        first = parts[0]
        if len(parts) == 1:
            return first
        dims = (*first.type.dims[:2], Dim.const(len(parts)), *first.type.dims[2:])
        args: dict[str, Argument] = {"xs": tuple(parts), "axis": 2}
        return self.lifter.add("stack", args, first.type.with_dims(dims), name)

    # ------------------------------------------------------------------- layouts

    def _laid(self, terms: Sequence[Term], last: tuple[Letter, ...]) -> Value | Static:
        """A sum of products as [B, L, heads, last], one axis each; a number if it is one."""
        roles = self.roles
        if len(terms) == 1:
            value = spread(self.body, terms[0], (roles.batch, *roles.heads, *last))
        else:
            present = tuple(a for a in (roles.batch, *roles.heads, *last) if a in letters_of(terms))
            summed = total(self.body, terms, present)
            if isinstance(summed, Value):
                whole = Term((Factor(summed, present),))
            else:
                whole = Term(numbers=(summed,))
            value = spread(self.body, whole, (roles.batch, *roles.heads, *last))
        if not isinstance(value, Value):
            return value
        dims = (B, L, *_sizes((roles.heads, last)))
        lifted = self.lifter.lift_to(self._merged(value, (roles.heads, last)), len(dims) - 1)
        full = self.lifter.full(lifted, dims)
        return full if full is lifted else self._narrow(full, lifted)

    def _merged(self, value: Value, groups: Sequence[tuple[Letter, ...]]) -> Value:
        """Each group of axes as one; an empty group becomes a unit axis. The batch may lack."""
        if all(len(group) == 1 for group in groups):
            return value
        names = iter("cdefghijkmnopqrstuvwxyz")
        sides = [[next(names) for _ in group] for group in groups]
        has_batch = value.type.rank > sum(map(len, groups))
        left = " ".join([*["b"] * has_batch, *(n for side in sides for n in side)])
        merged = [f"({' '.join(s)})" if len(s) > 1 else s[0] if s else "1" for s in sides]
        right = " ".join([*["b"] * has_batch, *merged])
        dims = _sizes(groups)
        type_ = value.type.with_dims((*[B] * has_batch, *dims))
        return self.body.add("rearrange", {"x": value, "pattern": f"{left} -> {right}"}, type_)

    def _parted(self, value: Value) -> Value:
        """The inverse of `_merged`, for a result [B, heads, values]."""
        groups = (self.roles.heads, self.roles.values)
        if all(len(group) == 1 for group in groups):
            return value
        names = iter("cdefghijkmnopqrstuvwxyz")
        sides = [[next(names) for _ in group] for group in groups]
        merged = [f"({' '.join(s)})" if len(s) > 1 else s[0] if s else "1" for s in sides]
        right = " ".join(["b", *(n for side in sides for n in side)])
        sizes: dict[str, Argument] = {}
        for group, side in zip(groups, sides, strict=True):
            if len(side) > 1:
                sizes |= {n: a.dim for n, a in zip(side[1:], group[1:], strict=True)}
        letters = [letter for group in groups for letter in group]
        type_ = value.type.with_dims((B, *(letter.dim for letter in letters)))
        pattern = f"b {' '.join(merged)} -> {right}"
        return self.body.add("rearrange", {"x": value, "pattern": pattern, **sizes}, type_)

    # ------------------------------------------------------------------- decay, initial state

    def _log_decay(self) -> Value | None:
        """[.., heads] or [.., heads, keys or values] at all positions, broadcasting."""
        roles = self.roles
        if not roles.kept:
            return None
        last = {"head": (), "key": (roles.key,), "value": roles.values}[roles.decay]
        groups = (roles.heads, last) if last else (roles.heads,)
        target = (roles.batch, *roles.heads, *last)
        log = _log_of_sum(self.body, self.lifter, roles.kept, target, self.numbers)
        if any(len(group) != 1 for group in groups):
            whole = log if isinstance(log, Value) else None
            if whole is None:
                raise NotAffine(MAYBE_NEGATIVE, self.body.span, Remedy.DECAY)
            own = target[len(target) - whole.type.rank :]
            axes = tuple(
                None if dim.is_one else a for a, dim in zip(own, whole.type.dims, strict=True)
            )
            log = spread(self.body, Term((Factor(whole, axes),)), target)
            assert isinstance(log, Value)
            log = self._merged(log, groups)
        if not isinstance(log, Value):
            ones = (ONE,) * len(groups)
            zeros = self.body.add("zeros", {"dims": ones}, TensorType("float", ones))
            log = self.body.add("add", {"a": zeros, "b": log}, zeros.type)
        return self.lifter.lift_to(log, 1 + len(groups))

    def _initial(self) -> Value | None:
        """[B, heads, keys, values], or nothing for zero."""
        roles, initial = self.roles, self.carried.initial
        groups = (roles.heads, (roles.key,), roles.values)
        if not isinstance(initial, Value):
            if is_number(initial, 0.0):
                return None
            zeros = self.lifter.add("zeros", {"dims": (ONE,) * 4}, TensorType("float", (ONE,) * 4))
            return self.lifter.add("add", {"a": zeros, "b": initial}, zeros.type)
        own = roles.axes
        axes = tuple(
            None if dim.is_one else letter
            for dim, letter in zip(
                initial.type.dims, own[len(own) - initial.type.rank :], strict=True
            )
        )
        target = (roles.batch, *roles.heads, roles.key, *roles.values)
        value = spread(self.body, Term((Factor(initial, axes),)), target)
        assert isinstance(value, Value)
        return self.lifter.plain(self._merged(value, groups))


def _sizes(groups: Sequence[tuple[Letter, ...]]) -> list[Dim]:
    return [product_of(letter.dim for letter in group) for group in groups]


def _log_of_sum(
    body: Body,
    lifter: Lifter,
    terms: Sequence[Term],
    target: tuple[Letter, ...],
    numbers: Environment,
) -> Value | Static:
    """The logarithm of a decay, a value of the step or a number. Raises `NotAffine`."""
    logs = Logarithms(body, lifter)
    if len(terms) == 1:
        return _log_of_product(body, logs, terms[0], target, numbers)
    if len(terms) == 2:
        one, other = sorted(terms, key=lambda term: len(term.factors))
        if one == Term() and other.is_negative and not other.numbers and len(other.factors) == 1:
            factor = other.factors[0]
            log = logs.of_complement(factor.value)
            if log is not None and not factor.letters - {*target}:
                return product(body, Term((Factor(log, factor.axes),)), target)
    is_positive = all(
        not term.is_negative
        and all(positive_number(number) is not None for number in term.numbers)
        and all(logs.is_positive(factor.value) for factor in term.factors)
        for term in terms
    )
    whole = total(body, terms, target) if is_positive else None
    if not isinstance(whole, Value):
        raise NotAffine(MAYBE_NEGATIVE, body.span, Remedy.DECAY)
    return body.add("log", {"x": whole}, whole.type)


def _log_of_product(
    body: Body,
    logs: Logarithms,
    term: Term,
    target: tuple[Letter, ...],
    numbers: Environment,
) -> Value | Static:
    parts = []
    for factor in term.factors:
        log = logs.of(factor.value)
        if log is None or factor.letters - {*target}:
            raise NotAffine(MAYBE_NEGATIVE, factor.value.span, Remedy.DECAY)
        parts.append(Term((Factor(log, factor.axes),)))
    if term.is_negative:
        raise NotAffine("its decay is negative", body.span, Remedy.DECAY)
    for number in term.numbers:
        value = evaluate(number, numbers)
        if not isinstance(value, (int, float)) or value <= 0:
            raise NotAffine(MAYBE_NEGATIVE, body.span, Remedy.DECAY)
        parts.append(Term(numbers=(Apply("log", (number,)),)))
    return total(body, parts, target)
