"""What a part of a design costs, as polynomials in batch, length and the other sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import log2

from gabc.dims import Dim
from gabc.graph.types import ONE, L
from gabc.ops.cost import LOG_LENGTH, ZERO

(_LOG,) = LOG_LENGTH.symbols()


@dataclass(frozen=True, slots=True)
class Amounts:
    """Of one forward pass over [B, L] tokens, and of the backward pass where it says so.

    `matmul` and `matmul_backward` are the FLOPs of matrix products and convolutions, those that
    torch's `FlopCounterMode` counts; `pointwise` and its backward are all others. `skipped` FLOPs
    run but need not: they lie outside an attention window. `traffic` are the bytes that the kernels
    of the eager forward pass read and write, `saved` those kept for the backward pass, `launches`
    its kernels. `state` are the bytes a decoder keeps for one sequence after L tokens.
    """

    matmul: Dim = ZERO
    matmul_backward: Dim = ZERO
    pointwise: Dim = ZERO
    pointwise_backward: Dim = ZERO
    skipped: Dim = ZERO
    launches: Dim = ZERO
    traffic: Dim = ZERO
    saved: Dim = ZERO
    state: Dim = ZERO

    def __add__(self, other: Amounts) -> Amounts:
        pairs = zip(self.all(), other.all(), strict=True)
        return Amounts(*(a if b.is_zero else b if a.is_zero else a + b for a, b in pairs))

    def all(self) -> tuple[Dim, ...]:
        """The polynomials in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def map(self, function: Callable[[Dim], Dim]) -> Amounts:
        return Amounts(*map(function, self.all()))

    def times(self, count: Dim) -> Amounts:
        """Repeated `count` times; what a decoder keeps does not multiply."""
        if count.is_one:
            return self
        return replace(self.map(lambda dim: dim * count), state=self.state)

    @property
    def forward(self) -> Dim:
        """FLOPs of the forward pass."""
        return self.matmul + self.pointwise

    @property
    def training(self) -> Dim:
        """FLOPs of forward and backward together."""
        return self.forward + self.matmul_backward + self.pointwise_backward

    @property
    def needed(self) -> Dim:
        """FLOPs of the forward pass without those that a window makes unnecessary."""
        return self.forward - self.skipped


def per_token(dim: Dim) -> Dim:
    """The share of one token, for a batch of one: what all rows share counts in full."""
    return dim.substitute({"B": ONE}) / L


def value_at(
    dim: Dim, length: int, batch: int = 1, sizes: Mapping[str, Fraction] | None = None
) -> float:
    """The number at a length and batch; `sizes` gives names that are left in the polynomial.

    Raises `KeyError` if one is missing.
    """
    numbers = {"B": Fraction(batch), "L": Fraction(length), _LOG: Fraction(log2(length))}
    return float(dim.evaluate({**numbers, **(sizes or {})}))
