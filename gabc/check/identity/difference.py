"""`compare`: which units of two designs differ, and in what."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, TypeAlias

from gabc.check.identity.canonical import canonical, canonical_unit
from gabc.graph.instance import Instance, Stack
from gabc.graph.static import shown

Kind: TypeAlias = Literal["changed", "replaced", "added", "removed"]


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A unit that differs by itself, not only in what is below it.

    `before` and `after` are the units' names, empty where there is none. `settings` are
    hyperparameters and sizes with both values, `statements` the lines of the unit that differ, each
    with `-` or `+` in front.
    """

    path: str
    kind: Kind
    before: str
    after: str
    settings: tuple[tuple[str, str, str], ...] = ()
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Two designs beside each other. With equal hashes they are the same function.

    `changes` can be empty for different hashes: then units are the same and the head differs
    (`head` has its options with both values), or parameters are shared in another way.
    """

    before: str
    after: str
    changes: tuple[UnitChange, ...]
    head: tuple[tuple[str, str, str], ...]

    @property
    def is_same(self) -> bool:
        return self.before == self.after


def compare(before: Stack, after: Stack) -> Difference:
    """The difference of two designs at one scale, units matched by their paths in the blocks."""
    hashes = canonical(before).hash, canonical(after).hash
    if hashes[0] == hashes[1]:
        return Difference(*hashes, (), ())
    hasher = _Hashes()
    changes: list[UnitChange] = []
    for label, old, new in _pairs(before, after):
        changes += _block(label, old, new, hasher)
    options = [
        (name, shown(getattr(before.head, name)), shown(getattr(after.head, name)))
        for name in ("tie", "logit_cap", "embed_scale")
    ]
    head = tuple(option for option in options if option[1] != option[2])
    return Difference(*hashes, tuple(changes), head)


def _pairs(before: Stack, after: Stack) -> Iterator[tuple[str, Instance, Instance]]:
    """The blocks of each layer in both designs, runs of equal pairs once."""
    layers = list(zip(before.blocks, after.blocks, strict=True))
    first = 0
    for _, group in groupby(layers, key=lambda pair: (id(pair[0]), id(pair[1]))):
        run = list(group)
        last = first + len(run) - 1
        label = f"blocks.{first}" if first == last else f"blocks.{first}-{last}"
        yield ("blocks" if len(run) == len(layers) else label, *run[0])
        first = last + 1


@dataclass
class _Hashes:
    known: dict[Instance, str] = field(default_factory=dict)

    def of(self, instance: Instance) -> str:
        if instance not in self.known:
            self.known[instance] = canonical_unit(instance).hash
        return self.known[instance]


def _block(label: str, old: Instance, new: Instance, hashes: _Hashes) -> Iterator[UnitChange]:
    """The changes in one block, each unit before what is below it."""
    befores, afters = dict(old.walk()), dict(new.walk())
    settled: list[str] = []
    """Paths that are told about in whole: what lies below them goes without saying."""
    for path in sorted({*befores, *afters}, key=lambda path: path.split(".") if path else []):
        if any(path.startswith(f"{above}.") for above in settled):
            continue
        a, b = befores.get(path), afters.get(path)
        place = f"{label}.{path}" if path else label
        if a is None or b is None:
            kind: Kind = "added" if a is None else "removed"
            yield UnitChange(place, kind, a.name if a else "", b.name if b else "")
            settled.append(path)
        elif hashes.of(a) == hashes.of(b):
            settled.append(path)
        else:
            change = _unit(place, a, b)
            if change is not None:
                yield change
                if change.kind == "replaced" and path:
                    settled.append(path)


def _unit(path: str, old: Instance, new: Instance) -> UnitChange | None:
    """How two units at one place differ by themselves; `None` if only what is below them does."""
    kind: Kind = "changed" if old.name == new.name else "replaced"
    settings = tuple(_settings(old, new))
    statements = tuple(_statements(old, new)) if kind == "changed" else ()
    if kind == "changed" and not settings and not statements:
        return None
    return UnitChange(path, kind, old.name, new.name, settings, statements)


def _settings(old: Instance, new: Instance) -> Iterator[tuple[str, str, str]]:
    """Hyperparameters and sizes that have other values; of a `Linear` its shape."""
    if old.unit is None or new.unit is None:
        if old.unit is None and new.unit is None and _shape(old) != _shape(new):
            yield "weight", _shape(old), _shape(new)
        return
    if old.name != new.name:
        return
    for name in dict.fromkeys((*old.hypers, *new.hypers, *old.dims, *new.dims)):
        a, b = (shown(i.env[name]) if name in i.env else "" for i in (old, new))
        if a != b:
            yield name, a, b


def _shape(linear: Instance) -> str:
    sizes = ", ".join(str(linear.size(dim)) for dim in linear.params[0].type.dims)
    return f"[{sizes}]" + (" and bias" if len(linear.params) > 1 else "")


def _statements(old: Instance, new: Instance) -> Iterator[str]:
    """The lines of the unit's text that differ, comments and layout left out."""
    if old.unit is None or new.unit is None:
        return
    for line in difflib.ndiff(_lines(old.unit.span.text), _lines(new.unit.span.text)):
        if line[0] in "+-":
            yield f"{line[0]} {line[2:]}"


def _lines(text: str) -> list[str]:
    code = (" ".join(line.split("#", 1)[0].split()) for line in text.splitlines())
    return [line for line in code if line]
