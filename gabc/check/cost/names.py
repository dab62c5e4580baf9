"""What the names in a unit's shapes stand for: numbers, or names with the unit's path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from gabc.dims import Dim
from gabc.dims.poly import product
from gabc.graph.instance import Instance
from gabc.graph.nodes import Graph, Value

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


def bound_at_call(
    graph: Graph,
    given: Sequence[Value],
    resolve: Callable[[Dim], Dim],
    names: Mapping[str, Dim],
) -> dict[str, Dim]:
    """The dims that a call binds, B and L among them, in the names of the analysis; `names` and
    `resolve` are the caller's."""
    sizes = {name: names[name] for name in ("B", "L") if name in names}
    for place, slot in enumerate(graph.inputs):
        dims = [resolve(dim) for dim in given[place].type.dims]
        own = [str(dim) for dim in slot.type.dims]
        if own[:1] == ["..."]:
            sizes["..."] = product(dims[: len(dims) - len(own) + 1])
            continue
        sizes.update((n, d) for n, d in zip(own, dims, strict=True) if n in ("B", "L"))
    for dim in graph.call_dims:
        sizes[dim.name] = resolve(given[dim.argument].type.dims[dim.axis])
    return sizes


def _numbers(instance: Instance) -> dict[str, Fraction]:
    """The numbers of its static names; a decimal stands for the decimal number."""
    return {
        name: Fraction(repr(value))
        for name, value in instance.env.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
