"""The primitives of the language by name; each module holds one family."""

from __future__ import annotations

from itertools import chain

from gabc.ops import (
    arithmetic,
    attention,
    convolution,
    create,
    einsum,
    initial,
    misc,
    normalise,
    patterns,
    pointwise,
    recurrence,
    reductions,
    select,
    sequence,
    spread,
    structure,
    subscript,
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
    subscript.PRIMITIVES,
    select.PRIMITIVES,
    sequence.PRIMITIVES,
    convolution.PRIMITIVES,
    attention.PRIMITIVES,
    create.PRIMITIVES,
    initial.PRIMITIVES,
    spread.PRIMITIVES,
    recurrence.PRIMITIVES,
)

PRIMITIVES: dict[str, Primitive] = {
    primitive.name: primitive for primitive in chain.from_iterable(_FAMILIES)
}

assert len(PRIMITIVES) == sum(map(len, _FAMILIES)), "two primitives have one name"
