"""Terms to normal forms: sums and products flattened, numbers folded, dead terms left behind.

A sum or product is taken apart only where it is used once, so that the work stays linear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gabc.check.identity.terms import COMMUTATIVE, Leaf, Term, Terms
from gabc.dims import Dim
from gabc.graph.types import ONE

_ZERO = Dim.const(0)


@dataclass(frozen=True, slots=True)
class Normal:
    """A node of the normal form.

    `parts` are operands whose order means nothing, each with a weight, which is a coefficient in a
    sum and an exponent in a product. An einsum has the axes of its parts, then its own, in
    `letters`.
    """

    op: str
    signature: str
    operands: tuple[int, ...] = ()
    parts: tuple[tuple[int, str], ...] = ()
    leaf: Leaf | None = None
    letters: tuple[tuple[str, ...], ...] = ()


@dataclass
class NormalForm:
    """Nodes, each once, operands before their users but for what `follow` says of leaves."""

    nodes: list[Normal] = field(default_factory=list)
    follow: dict[int, tuple[int, ...]] = field(default_factory=dict)
    roots: tuple[int, ...] = ()
    _numbers: dict[Normal, int] = field(default_factory=dict)

    def intern(self, node: Normal) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[node]


@dataclass(frozen=True, slots=True)
class _Affine:
    """`constant + sum of coefficient * node`."""

    constant: Dim
    terms: Mapping[int, Dim]

    @property
    def is_constant(self) -> bool:
        return not self.terms

    @property
    def monomial(self) -> tuple[int, Dim] | None:
        """The node and its coefficient, if that is all."""
        if len(self.terms) == 1 and self.constant.is_zero:
            return next(iter(self.terms.items()))
        return None


def reduce(terms: Terms, roots: Iterable[int]) -> NormalForm:
    """The normal form of what the roots need; takes time linear in the number of terms."""
    roots = tuple(roots)
    live = _live(terms, roots)
    reduction = _Reduction(terms, _uses(terms, live, roots))
    for number in sorted(live):
        reduction.done[number] = reduction.term(number)
    form = reduction.form
    for leaf, follow in terms.follow.items():
        if leaf in live:
            form.follow[reduction.node(leaf)] = tuple(map(reduction.node, follow))
    form.roots = tuple(map(reduction.node, roots))
    return form


def _live(terms: Terms, roots: tuple[int, ...]) -> set[int]:
    live: set[int] = set()
    queue = list(roots)
    while queue:
        number = queue.pop()
        if number not in live:
            live.add(number)
            queue += terms.all[number].operands
            queue += terms.follow.get(number, ())
    return live


def _uses(terms: Terms, live: set[int], roots: tuple[int, ...]) -> Counter[int]:
    uses = Counter(roots)
    for number in live:
        uses.update(terms.all[number].operands)
        uses.update(terms.follow.get(number, ()))
    return uses


@dataclass
class _Reduction:
    terms: Terms
    uses: Counter[int]
    form: NormalForm = field(default_factory=NormalForm)
    done: dict[int, _Affine] = field(default_factory=dict)

    def term(self, number: int) -> _Affine:
        term = self.terms.all[number]
        match term.op:
            case "constant":
                assert term.number is not None
                return _Affine(term.number, {})
            case "add":
                return self.sum(term)
            case "mul" | "inverse":
                return self.product(term)
        return self.single(self.opaque(term))

    def single(self, node: int) -> _Affine:
        return _Affine(_ZERO, {node: ONE})

    def opaque(self, term: Term) -> int:
        operands = tuple(map(self.node, term.operands))
        if term.op == "einsum":
            axes = ("" for _ in operands)
            parts = tuple(zip(operands, axes, strict=True))
            return self.form.intern(
                Normal("einsum", term.signature, (), parts, letters=term.letters)
            )
        if term.op in COMMUTATIVE:
            weighed = tuple((operand, "") for operand in sorted(operands))
            return self.form.intern(Normal(term.op, term.signature, (), weighed))
        return self.form.intern(Normal(term.op, term.signature, operands, leaf=term.leaf))

    def node(self, number: int) -> int:
        """A term's value as one node."""
        affine = self.done[number]
        if affine.is_constant:
            return self.form.intern(Normal("constant", str(affine.constant)))
        monomial = affine.monomial
        if monomial is not None and monomial[1].is_one:
            return monomial[0]
        parts = tuple(sorted((node, str(c)) for node, c in affine.terms.items()))
        return self.form.intern(Normal("sum", str(affine.constant), (), parts))

    def inlined(self, number: int) -> _Affine:
        """A term's sum, taken apart if no one else needs it whole."""
        affine = self.done[number]
        if self.uses[number] == 1 or affine.is_constant or affine.monomial is not None:
            return affine
        return self.single(self.node(number))

    def sum(self, term: Term) -> _Affine:
        a, b = map(self.inlined, term.operands)
        terms = dict(a.terms)
        for node, coefficient in b.terms.items():
            terms[node] = terms.get(node, _ZERO) + coefficient
        return self.shaped(term, a.constant + b.constant, terms)

    def shaped(self, term: Term, constant: Dim, terms: dict[int, Dim]) -> _Affine:
        """Without what cancels; if all does, a zero that remembers how large it is."""
        kept = {node: coefficient for node, coefficient in terms.items() if not coefficient.is_zero}
        if terms and not kept:
            shape = ", ".join(map(str, term.shape))
            kept = {self.form.intern(Normal("zeros", f"[{shape}]")): ONE}
        return _Affine(constant, kept)

    def product(self, term: Term) -> _Affine:
        if term.op == "mul":
            for here, there in (term.operands, term.operands[::-1]):
                factor = self.done[here]
                if factor.is_constant:
                    whole = self.inlined(there)
                    terms = {n: c * factor.constant for n, c in whole.terms.items()}
                    return self.shaped(term, whole.constant * factor.constant, terms)
        else:
            value = self.done[term.operands[0]]
            if value.is_constant and not value.constant.is_zero:
                return _Affine(1 / value.constant, {})
        coefficient, powers = ONE, dict[tuple[int, bool], int]()
        for number in term.operands:
            number_of, factors = self.factors(number)
            coefficient = coefficient * number_of
            for base, power in factors.items():
                powers[base] = powers.get(base, 0) + power
        if term.op == "inverse":
            coefficient = 1 / coefficient
            powers = {(n, not above): power for (n, above), power in powers.items()}
        return _Affine(_ZERO, {self.powers(powers): coefficient})

    def factors(self, number: int) -> tuple[Dim, dict[tuple[int, bool], int]]:
        """A term as a number times powers of nodes, each above or below the line."""
        monomial = self.done[number].monomial
        if monomial is None:
            return ONE, {(self.node(number), True): 1}
        node, coefficient = monomial
        normal = self.form.nodes[node]
        if normal.op != "product" or self.uses[number] > 1:
            return coefficient, {(node, True): 1}
        powers = {}
        for part, weight in normal.parts:
            power = int(weight)
            powers[part, power > 0] = abs(power)
        return coefficient, powers

    def powers(self, powers: Mapping[tuple[int, bool], int]) -> int:
        if len(powers) == 1:
            (((node, above), power),) = powers.items()
            if above and power == 1:
                return node
        parts = tuple(sorted((n, str(p if above else -p)) for (n, above), p in powers.items()))
        return self.form.intern(Normal("product", "", (), parts))
