"""Types of tensors: a kind and a symbolic shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gabc.dims import Dim

Kind: TypeAlias = Literal["float", "int", "bool", "complex"]

B = Dim.symbol("B")
L = Dim.symbol("L")
D = Dim.symbol("D")
ONE = Dim.const(1)
LEADING = Dim.symbol("...")
"""Stands first in a type for any number of leading axes: `forward(x: [..., D])`."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """`kind[dims]`. A dim that is the constant 1 is a unit axis: it broadcasts, no other does."""

    kind: Kind
    dims: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.dims)

    def with_dims(self, dims: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.kind, dims)

    def with_kind(self, kind: Kind) -> TensorType:
        return TensorType(kind, self.dims)

    def __str__(self) -> str:
        shape = "[" + ", ".join(str(dim) for dim in self.dims) + "]"
        return shape if self.kind == "float" else self.kind + shape


RESIDUAL_STREAM = TensorType("float", (B, L, D))
"""The type of a design's `X`."""
