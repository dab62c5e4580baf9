"""What a generated file says of a group of operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Numbers = Sequence[float]

FULL, VECTOR, SHARED, STRETCHED = "full", "vector", "shared", "stretched"


@dataclass(frozen=True)
class Operand:
    """A tensor that a group reads.

    `rows`: it has one for each row ("full"), one for all ("vector", such as a parameter [D]), some
    that repeat ("shared", [H, K] of [B, L, H, K]), or others that are broadcast ("stretched": row
    `r` reads `r // inner % period`). `single` has one element in a row. `varies`: it may have a
    gradient. `in_backward`: the backward reads it.
    """

    name: str
    rows: str = FULL
    single: bool = False
    is_mask: bool = False
    varies: bool = True
    in_backward: bool = True


@dataclass(frozen=True)
class Result:
    """A tensor that a group computes, `of` the float operands at these places.

    With `wide` it is float32 at least; `single` has one element in a row.
    """

    of: tuple[int, ...]
    single: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Fused:
    """A group of operations: what it reads and computes, in plain torch and in Triton.

    `reference(*operands, *numbers)` and `reference_backward(*gradients, *operands, *numbers)` work
    at the precision they are given. `whole_rows`: a program must see whole rows.
    """

    name: str
    operands: tuple[Operand, ...]
    results: tuple[Result, ...]
    reference: Callable[..., Any]
    reference_backward: Callable[..., Any]
    forward_kernel: Any
    backward_kernel: Any
    numbers: tuple[str, ...] = ()
    whole_rows: bool = False

    @property
    def varying(self) -> list[int]:
        """The places of the operands that have a gradient."""
        return [place for place, operand in enumerate(self.operands) if operand.varies]


def shape_of(tensors: Sequence[Tensor]) -> torch.Size:
    """What the operands span together."""
    shapes = [x.shape for x in tensors]
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def dtypes_of(fused: Fused, tensors: Sequence[Tensor]) -> list[torch.dtype]:
    """As torch promotes: of the float operands, those without axes only if all are.

    A result of masks alone has the widest dtype of the other operands, as what is beside it.
    """
    found = []
    for result in fused.results:
        operands = [tensors[place] for place in result.of] or [
            x for x in tensors if x.is_floating_point()
        ]
        dtypes = [x.dtype for x in operands if x.ndim] or [x.dtype for x in operands]
        dtype = dtypes[0]
        for other in (*dtypes, *((torch.float32,) if result.wide else ())):
            dtype = torch.promote_types(dtype, other)
        found.append(dtype)
    return found
