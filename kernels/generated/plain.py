"""A group in plain torch: its meaning, and its implementation on a CPU and in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .spec import Fused, Numbers, dtypes_of, shape_of


def forward(fused: Fused, tensors: Sequence[Tensor], numbers: Numbers) -> list[Tensor]:
    """The results, computed in float32 or in float64 if an operand is that."""
    found = as_tuple(fused.reference(*_widened(tensors), *numbers))
    dtypes = dtypes_of(fused, tensors)
    return _separate([y.to(dtype) for y, dtype in zip(found, dtypes, strict=True)], tensors)


def gradients_of(
    fused: Fused, gradients: Sequence[Tensor], tensors: Sequence[Tensor], numbers: Numbers
) -> list[Tensor]:
    """The gradients of the varying operands, in their shapes and dtypes."""
    wide = _widened([*gradients, *tensors])
    found = as_tuple(fused.reference_backward(*wide, *numbers))
    like = [tensors[place] for place in fused.varying]
    totals = [summed(g, x).to(x.dtype) for g, x in zip(found, like, strict=True)]
    return _separate(totals, [*gradients, *tensors])


def as_tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One result as a tuple of it."""
    return found if isinstance(found, tuple) else (found,)


def _widened(tensors: Sequence[Tensor]) -> list[Tensor]:
    is_double = any(x.dtype == torch.float64 for x in tensors)
    dtype = torch.float64 if is_double else torch.float32
    return [x.to(dtype) if x.is_floating_point() else x for x in tensors]


def summed(gradient: Tensor, like: Tensor) -> Tensor:
    """Summed along what the operand was broadcast along; spread along what all elements share."""
    full = shape_of([gradient, like])
    return gradient.expand(full).sum_to_size(like.shape)


def _separate(results: list[Tensor], operands: Sequence[Tensor]) -> list[Tensor]:
    """Contiguous, and none in the memory of another or of an operand, as operators must be."""
    taken = {x.untyped_storage().data_ptr() for x in operands if x.numel()}
    separate = []
    for x in results:
        is_taken = x.untyped_storage().data_ptr() in taken
        x = x.clone(memory_format=torch.contiguous_format) if is_taken else x.contiguous()
        taken.add(x.untyped_storage().data_ptr())
        separate.append(x)
    return separate
