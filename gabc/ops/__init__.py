"""The primitives of the language by name; each module holds one family."""

from __future__ import annotations

from itertools import chain

from gabc.ops import (
    arithmetic,
    attention,
    blocks,
    convolution,
    create,
    einsum,
    initial,
    misc,
    normalise,
    patterns,
    pointwise,
    recurrence,
    recurrence_products,
    recurrence_scans,
    reductions,
    routing,
    select,
    sequence,
    spread,
    structure,
    subscript,
    triangular,
)
from gabc.ops.base import Primitive

_FAMILIES: tuple[tuple[Primitive, ...], ...] = (
    arithmetic.PRIMITIVES,
    pointwise.PRIMITIVES,
    misc.PRIMITIVES,
    reductions.PRIMITIVES,
    normalise.PRIMITIVES,
    patterns.PRIMITIVES,
    einsum.PRIMITIVES,
    structure.PRIMITIVES,
    triangular.PRIMITIVES,
    subscript.PRIMITIVES,
    select.PRIMITIVES,
    sequence.PRIMITIVES,
    blocks.PRIMITIVES,
    convolution.PRIMITIVES,
    attention.PRIMITIVES,
    create.PRIMITIVES,
    initial.PRIMITIVES,
    spread.PRIMITIVES,
    recurrence.PRIMITIVES,
    recurrence_products.PRIMITIVES,
    recurrence_scans.PRIMITIVES,
    routing.PRIMITIVES,
)

PRIMITIVES: dict[str, Primitive] = {
    primitive.name: primitive for primitive in chain.from_iterable(_FAMILIES)
}

assert len(PRIMITIVES) == sum(map(len, _FAMILIES)), "two primitives have one name"
