"""Raw terms: a design's data flow without names, every distinct expression once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gabc.dims import Dim

COMMUTATIVE = frozenset(
    {"add", "mul", "eq", "ne", "logical_and", "logical_or", "maximum", "minimum", "losses"}
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What has an identity beyond its description: a parameter, a state, a Z entry.

    `key` tells two of them apart and is no part of the canonical form.
    """

    key: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """An operation on terms by their numbers. `signature` is all else it depends on, as text.

    `shape` is that of the result; a constant is the `number` itself. `letters` are the axes of an
    einsum's operands and, last, of its result.
    """

    op: str
    signature: str
    operands: tuple[int, ...]
    shape: tuple[Dim, ...]
    number: Dim | None = None
    leaf: Leaf | None = None
    letters: tuple[tuple[str, ...], ...] = ()


@dataclass
class Terms:
    """All terms, each once. A leaf's `follow` are terms it is defined by, which may contain it."""

    all: list[Term] = field(default_factory=list)
    follow: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def add(
        self,
        op: str,
        operands: tuple[int, ...] = (),
        signature: str = "",
        shape: tuple[Dim, ...] = (),
        letters: tuple[tuple[str, ...], ...] = (),
    ) -> int:
        if op in COMMUTATIVE:
            operands = tuple(sorted(operands))
        return self._intern(Term(op, signature, operands, shape, letters=letters))

    def constant(self, number: Dim) -> int:
        return self._intern(Term("constant", "", (), (), number=number))

    def leaf(
        self, op: str, key: tuple[object, ...], make: Callable[[], tuple[str, tuple[Dim, ...]]]
    ) -> int:
        """The leaf of this key; `make` gives its description and shape when it is new."""
        known = ("leaf", op, key)
        if known not in self._numbers:
            signature, shape = make()
            self._numbers[known] = len(self.all)
            self.all.append(Term(op, signature, (), shape, leaf=Leaf(key)))
        return self._numbers[known]

    def _intern(self, term: Term) -> int:
        # The shape follows from the rest.
        key = (term.op, term.signature, term.operands, term.number, term.letters)
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append(term)
        return self._numbers[key]
