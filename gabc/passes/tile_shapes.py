"""Shapes in a kernel: rows times columns, the columns being the last axis."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.dims import Dim
from gabc.graph.nodes import Value
from gabc.graph.types import ONE, TensorType


def joint_shape(values: Sequence[Value]) -> tuple[Dim, ...]:
    """The axes that the values span together; only unit axes stretch."""
    rank = max(value.type.rank for value in values)
    dims = [ONE] * rank
    for value in values:
        for place, dim in enumerate(reversed(value.type.dims)):
            if not dim.is_one:
                dims[-1 - place] = dim
    return tuple(dims)


def padded(type_: TensorType, rank: int) -> tuple[Dim, ...]:
    """The dims with unit axes in front."""
    return (ONE,) * (rank - type_.rank) + type_.dims


def spans_rows(type_: TensorType, shape: tuple[Dim, ...]) -> bool:
    """Whether a value has all axes of the shape but perhaps the last."""
    dims = padded(type_, len(shape))
    return all(a.is_one == b.is_one for a, b in zip(dims[:-1], shape[:-1], strict=True))


def is_one_run(type_: TensorType, shape: tuple[Dim, ...]) -> bool:
    """Whether the rows of a value stand beside each other among those of the shape.

    Then row `r` of the shape reads row `r // inner % period` of the value.
    """
    dims = padded(type_, len(shape))
    pairs = zip(dims[:-1], shape[:-1], strict=True)
    held = [not dim.is_one for dim, full in pairs if not full.is_one]
    return sum(a != b for a, b in zip([False, *held], [*held, False], strict=True)) <= 2


def last_dim(type_: TensorType) -> Dim:
    """The columns of a value."""
    return type_.dims[-1] if type_.rank else ONE
