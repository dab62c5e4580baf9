"""Small sizes that satisfy every fact and refute a statement."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gabc.dims.poly import Application, Atom, Dim

Sizes = dict[str, int]
Predicate = Callable[[Sizes], bool]

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
_ROTATIONS = 6
_RANDOM_SAMPLES = 90
# A counterexample is there to be read.
_LARGEST = 10**6


@dataclass(frozen=True, slots=True)
class Question:
    """`fails(sizes)` is asked of sizes that satisfy the equations and divisions, and at which every
    division in `dims` and in the facts comes out even."""

    dims: Sequence[Dim]
    equations: Sequence[tuple[Dim, Dim]]
    divisions: Sequence[tuple[Dim, Dim]]
    fails: Predicate

    def names(self) -> list[str]:
        dims = [*self.dims, *(dim for pair in self.equations for dim in pair)]
        dims += [dim for pair in self.divisions for dim in pair]
        return sorted(set().union(*(dim.symbols() for dim in dims)))


def connected(dims: Sequence[Dim], facts: Sequence[tuple[Dim, Dim]]) -> list[bool]:
    """Which facts share symbols with the dims, directly or through other facts."""
    reached = set().union(*(dim.symbols() for dim in dims))
    symbols = [a.symbols() | b.symbols() for a, b in facts]
    kept = [not names for names in symbols]
    grown = True
    while grown:
        grown = False
        for i, names in enumerate(symbols):
            if not kept[i] and not names.isdisjoint(reached):
                reached |= names
                kept[i] = grown = True
    return kept


def find(question: Question, solved: Mapping[Atom, Dim]) -> Sizes | None:
    """A counterexample, or None if bounded search finds none.

    Free symbols run over small values and `solved` gives the others. Distinct sizes above 1 are
    preferred, so that a message does not suggest a coincidence. Deterministic.
    """
    names = question.names()
    free = sorted(_free_symbols(names, solved), key=lambda name: (name.startswith("["), name))
    checks = [pair for dim in question.dims for pair in dim.denominators()]
    for a, b in question.equations:
        checks += a.denominators() + b.denominators()
    checks += [(n, d) for d, n in question.divisions]
    best: tuple[int, Sizes] | None = None
    for sample in _samples(free, _landmarks(question)):
        sizes = _complete(sample, names, solved)
        if sizes is None or not _holds(question, checks, sizes):
            continue
        blemishes = _blemishes(question, sizes)
        if best is None or blemishes < best[0]:
            best = blemishes, sizes
        if not blemishes:
            break
    return best[1] if best else None


def _free_symbols(names: Sequence[str], solved: Mapping[Atom, Dim]) -> set[str]:
    free: set[str] = set()
    for name in names:
        free |= solved[name].symbols() if name in solved else {name}
    return free


def _landmarks(question: Question) -> list[int]:
    """Numbers at which `min(D, 128)` and its like change their behaviour."""
    numbers: set[int] = set()

    def visit(dim: Dim) -> None:
        for atom in dim.atoms():
            if isinstance(atom, Application):
                for arg in atom.args:
                    numbers.update(abs(int(value)) for _, value in arg.terms)
                    visit(arg)

    for dim in [*question.dims, *(dim for pair in question.equations for dim in pair)]:
        visit(dim)
    near = {number + step for number in numbers for step in (-1, 0, 1)}
    return sorted(number for number in near | {2 * n for n in numbers} if number > 1)


def _samples(free: Sequence[str], landmarks: Sequence[int]) -> Iterator[Sizes]:
    count = len(_PRIMES)
    for turn in range(_ROTATIONS):
        yield {
            name: _PRIMES[(i + turn) % count] + (i + turn) // count * 48
            for i, name in enumerate(free)
        }
    generator = random.Random(0)
    for turn in range(_RANDOM_SAMPLES):
        pool = [*range(1, 8 + turn // 4), *landmarks]
        yield {name: generator.choice(pool) for name in free}


def _complete(sample: Sizes, names: Sequence[str], solved: Mapping[Atom, Dim]) -> Sizes | None:
    sizes: Sizes = {}
    for name in names:
        value = Fraction(sample[name]) if name in sample else _value(solved[name], sample)
        if value is None or value.denominator != 1 or not 1 <= value <= _LARGEST:
            return None
        sizes[name] = int(value)
    return sizes


def _value(dim: Dim, sizes: Sizes) -> Fraction | None:
    try:
        return dim.evaluate(sizes)
    except ZeroDivisionError:
        return None


def _holds(question: Question, checks: Sequence[tuple[Dim, Dim]], sizes: Sizes) -> bool:
    """Everything assumed is true and everything is a size, yet the statement fails."""
    try:
        return (
            all(a.evaluate(sizes) == b.evaluate(sizes) for a, b in question.equations)
            and all((n.evaluate(sizes) / d.evaluate(sizes)).denominator == 1 for n, d in checks)
            and all(dim.evaluate(sizes).denominator == 1 for dim in question.dims)
            and question.fails(sizes)
        )
    except ZeroDivisionError:
        return False


def _blemishes(question: Question, sizes: Sizes) -> int:
    """How far a counterexample is from one that reads well."""
    values = list(sizes.values())
    degenerate = sum(dim.evaluate(sizes) < 1 for dim in question.dims)
    return len(values) - len(set(values)) + values.count(1) + 10 * degenerate
