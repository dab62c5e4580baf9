"""What the names in a unit's shapes stand for: numbers, or names with the unit's path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from gabc.dims import Dim
from gabc.graph.instance import Instance

AMBIENT = ("D", "layer", "n_layers")
"""Names that mean the same in every unit of a block."""


class Names(Protocol):
    def of(self, instance: Instance, path: str) -> Mapping[str, Dim]:
        """The sizes of an instance by its own names; `path` leads to it in a block."""
        ...

    def key(self, path: str) -> str:
        """Units at paths with equal keys have equal names."""
        ...


@dataclass
class Numbers:
    """Every size as its number at the scale; only B and L stay."""

    _known: dict[Instance, Mapping[str, Dim]] = field(default_factory=dict)

    def of(self, instance: Instance, path: str) -> Mapping[str, Dim]:
        if instance not in self._known:
            numbers = _numbers(instance)
            self._known[instance] = {name: Dim.const(number) for name, number in numbers.items()}
        return self._known[instance]

    def key(self, path: str) -> str:
        return ""


@dataclass
class Qualified:
    """Every size as `attn.heads`; `sizes` collects their numbers at the scale."""

    sizes: dict[str, Fraction] = field(default_factory=dict)

    def of(self, instance: Instance, path: str) -> Mapping[str, Dim]:
        names = {}
        for name, number in _numbers(instance).items():
            full = name if name in AMBIENT or not path else f"{path}.{name}"
            self.sizes[full] = number
            names[name] = Dim.symbol(full)
        return names

    def key(self, path: str) -> str:
        return path


def _numbers(instance: Instance) -> dict[str, Fraction]:
    """The numbers of its static names; a decimal stands for the decimal number."""
    return {
        name: Fraction(repr(value))
        for name, value in instance.env.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
