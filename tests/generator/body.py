"""A body being written: statements, and the values in scope with their types."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Kind = Literal["float", "int", "bool"]

AWKWARD_NAMES = [
    "torch",
    "Tensor",
    "nn",
    "F",
    "math",
    "init",
    "device",
    "dtype",
    "like",
    "step",
    "total",
    "product",
    "out",
    "contracted",
    "lambda",
    "class",
    "del",
    "try",
    "is",
    "while",
    "async",
    "global",
    "pass",
    "yield",
    "None_",
    "print",
    "iter",
    "id",
    "list",
    "int_",
    "S",
    "q",
    "k",
    "v",
    "x",
    "y",
    "chunks",
    "filled",
    "super",
    "module",
    "forward_",
    "training",
    "weight",
    "bias",
    "super_",
    "call",
    "names",
]
"""Names an author may use, which mean something in Python or in generated text."""


@dataclass(frozen=True)
class Type:
    """A kind and dims, each the text of a size in the language; equal texts are equal sizes."""

    kind: Kind
    dims: tuple[str, ...]

    @property
    def rank(self) -> int:
        return len(self.dims)

    def but(self, axis: int, *dims: str) -> Type:
        """With the axis replaced by others."""
        axis %= len(self.dims)
        return Type(self.kind, (*self.dims[:axis], *dims, *self.dims[axis + 1 :]))

    def __str__(self) -> str:
        return ("" if self.kind == "float" else self.kind) + f"[{', '.join(self.dims)}]"


def floats(*dims: str) -> Type:
    return Type("float", dims)


@dataclass(frozen=True)
class Held:
    """A value in scope. `size` is a guess at its largest element, which keeps programs tame."""

    type: Type
    size: float


class Members(Protocol):
    """What a body may ask of its unit."""

    heads: tuple[str, str] | None
    """Dims H and K with H * K = D, if the unit has them."""
    groups: str | None
    """A dim that divides H."""
    sizes: Sequence[str]
    """Other dims, all even and at least 2."""

    def param(self, rng: random.Random, dims: tuple[str, ...], like: str = "small") -> str: ...

    def child(self, rng: random.Random, text: str, can_share: bool = False) -> str: ...


@dataclass
class Body:
    """`time` is the time axis's dim: `L`, the chunk's size, or `None` in a step of a scan.

    `unit` is `None` in a function. Values that nothing has used yet are in `unused`.
    """

    rng: random.Random
    unit: Members | None
    time: str | None
    values: dict[str, Held] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    unused: dict[str, None] = field(default_factory=dict)
    indent: int = 2
    prefix: str = "v"
    fixed: set[str] = field(default_factory=set)
    """Names that may not be bound anew: of the surroundings."""
    guarded: set[str] = field(default_factory=set)
    """Names that the production at work still needs."""
    arguments: set[str] = field(default_factory=set)
    unsized: frozenset[str] = frozenset()
    """Dims known at the call only, which size no parameter."""
    _count: int = 0

    def statement(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def give(self, name: str, type_: Type, size: float = 1.0) -> None:
        """Put a name in scope that is bound elsewhere."""
        self.values[name] = Held(type_, size)

    def bind(self, expr: str, type_: Type, size: float = 1.0) -> str:
        """`v3 = expr`, tamed if it may be large. Returns the name, which may be an old one."""
        if type_.kind == "float" and size > 6.0:
            tame = self.rng.choice(["tanh({0})", "sin({0})", "{0} / (1.0 + abs({0}))"])
            if "{0} /" in tame:
                expr = self.bind_raw(expr, type_)
                self.use(expr)
            expr, size = tame.format(expr), 1.0
        return self.bind_raw(expr, type_, size)

    def bind_raw(self, expr: str, type_: Type, size: float = 1.0) -> str:
        name = self.fresh(type_)
        self.statement(f"{name} = {expr}")
        self.values[name] = Held(type_, size)
        self.unused[name] = None
        return name

    def bind_several(self, expr: str, types: Sequence[Type], sizes: Sequence[float]) -> list[str]:
        names = self.fresh_names(len(types))
        self.statement(f"{', '.join(names)} = {expr}")
        for name, type_, size in zip(names, types, sizes, strict=True):
            self.values[name] = Held(type_, size)
            self.unused[name] = None
        return names

    def fresh_names(self, count: int) -> list[str]:
        """Distinct new names."""
        names: list[str] = []
        while len(names) < count:
            name = self.fresh()
            names += [name] * (name not in names)
        return names

    def fresh(self, type_: Type | None = None) -> str:
        """A new name, an awkward one, or one whose value has been used and may be replaced.

        An argument of the body keeps its type.
        """
        spent = [
            name
            for name, held in self.values.items()
            if name not in self.unused
            and name not in self.fixed
            and name not in self.guarded
            and (name not in self.arguments or held.type == type_)
        ]
        if type_ is not None and spent and self.rng.random() < 0.15:
            return self.rng.choice(spent)
        if self.rng.random() < 0.12:
            name = self.rng.choice(AWKWARD_NAMES)
            if name not in self.values and name not in self.fixed:
                return name
        self._count += 1
        return f"{self.prefix}{self._count}"

    def guard(self, *names: str | None) -> None:
        self.guarded |= {name for name in names if name is not None}

    def use(self, name: str) -> str:
        self.unused.pop(name, None)
        return name

    def pick(self, suits: Callable[[Type], bool], *, fresh_first: bool = True) -> str | None:
        """A name whose type suits, by preference one that is not used yet; marked as used."""
        found = [name for name, held in self.values.items() if suits(held.type)]
        if not found:
            return None
        waiting = [name for name in found if name in self.unused]
        if waiting and fresh_first and self.rng.random() < 0.7:
            found = waiting
        return self.use(self.rng.choice(found))

    def type(self, name: str) -> Type:
        return self.values[name].type

    def size(self, name: str) -> float:
        return self.values[name].size

    def free_axes(self, type_: Type) -> list[int]:
        """Axes that may be reduced, indexed, split and normalised: neither batch nor time."""
        return [a for a, dim in enumerate(type_.dims) if dim not in self.closed]

    @property
    def closed(self) -> set[str]:
        return {"B", "L", "...", *([self.time] if self.time else [])}

    def can_size(self, dims: Sequence[str]) -> bool:
        """Whether a parameter may have these dims."""
        return not any(set(re.findall(r"\w+|\.\.\.", dim)) & self.late for dim in dims)

    @property
    def late(self) -> set[str]:
        return {"B", "L", "...", *self.unsized}

    def is_stream(self, type_: Type) -> bool:
        """Float, batch first, then time where there is a time axis; the other axes are free."""
        front = ("B", self.time) if self.time else ("B",)
        rest = type_.dims[len(front) :]
        return (
            type_.kind == "float"
            and type_.dims[: len(front)] == front
            and not self.closed & set(rest)
        )

    @property
    def front(self) -> tuple[str, ...]:
        return ("B", self.time) if self.time else ("B",)


def times(left: str, right: str) -> str:
    """The product of two dims as text, each size in brackets where it is a sum."""
    parts = [f"({dim})" if set("+-/ ") & set(dim) else dim for dim in (left, right)]
    return " * ".join(parts)


LETTERS = "h k v m n p r s u w"


def letters(count: int) -> list[str]:
    return LETTERS.split()[:count]
