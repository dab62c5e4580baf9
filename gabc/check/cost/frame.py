"""What is added up while a graph is walked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gabc.check.cost.amounts import Amounts
from gabc.dims import Dim
from gabc.graph.nodes import Value
from gabc.ops.cost import ZERO


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a unit: `below` has every unit under it by its path, own work only.

    `saved_inputs` and `saved_results` are arguments (Z reads last) and results (Z writes last) that
    the backward pass keeps; the caller's memory holds the first.
    """

    own: Amounts
    below: Mapping[str, Amounts]
    gradients: tuple[bool, ...]
    saved_inputs: frozenset[int]
    saved_results: frozenset[int]


@dataclass
class Frame:
    """A graph or the body of a scan: what is added up there, once per step.

    `past` is what a decoder keeps of each value's positions, or (true) of its sum over them, and
    the bytes of one of the elements.
    """

    amounts: Amounts = field(default_factory=Amounts)
    below: dict[str, Amounts] = field(default_factory=dict)
    defined: set[Value] = field(default_factory=set)
    saved: dict[Value, Dim] = field(default_factory=dict)
    past: dict[tuple[Value, bool], tuple[Dim, int]] = field(default_factory=dict)
    outer: Frame | None = None

    @property
    def backward(self) -> Dim:
        """The FLOPs of matrix products in the backward pass, children included."""
        below = (amounts.matmul_backward for amounts in self.below.values())
        return self.amounts.matmul_backward + sum(below, ZERO)

    def add_below(self, path: str, amounts: Amounts) -> None:
        """Add to what a child costs."""
        self.below[path] = self.below[path] + amounts if path in self.below else amounts

    def keep(self, value: Value, count: Dim, size: int, is_sum: bool = False) -> None:
        """Have a decoder keep so many elements of a value, if it does not keep more."""
        frame = self
        while frame.outer is not None:
            frame = frame.outer
        before, _ = frame.past.get((value, is_sum), (ZERO, size))
        frame.past[value, is_sum] = (Dim.apply("max", before, count), size)

    def include(self, inner: Frame, times: Dim) -> None:
        """Add a body that runs so many times."""
        saved = sum(inner.saved.values(), ZERO)
        amounts = replace(inner.amounts, saved=inner.amounts.saved + saved)
        self.amounts += amounts.times(times)
        for part, below in inner.below.items():
            self.add_below(part, below.times(times))
