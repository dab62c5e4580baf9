"""Reading and writing parts of tensors by index."""

from __future__ import annotations

import torch
from torch import Tensor


def set_index(x: Tensor, index: tuple[int | slice | None, ...], value: Tensor | float) -> Tensor:
    """`x` with `x[index]` replaced by `value`, as a new tensor."""
    y = x.clone()
    y[index] = value
    return y


def lookup(x: Tensor, *indices: Tensor) -> Tensor:
    """`x[i, j, ...]` by int tensors that broadcast together; an index out of range reads 0.

    The axes that are not indexed follow those of the indices.
    """
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    nearest = []
    for axis, index in enumerate(indices):
        inside = inside & (index >= 0) & (index < x.shape[axis])
        nearest.append(index.clamp(0, x.shape[axis] - 1))
    trailing_axes = x.dim() - len(indices)
    return x[tuple(nearest)].masked_fill(~inside[(..., *(None,) * trailing_axes)], 0)


def gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """`torch.gather`, where an index out of range reads 0."""
    size = x.shape[axis]
    found = x.gather(axis, index.clamp(0, size - 1))
    return found.masked_fill((index < 0) | (index >= size), 0)


def one_hot(x: Tensor, n: int) -> Tensor:
    """bool [..., n]: True at the index; all False if it is out of range."""
    return x.unsqueeze(-1) == torch.arange(n, device=x.device)


def topk(x: Tensor, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest values in falling order and their indices, the first of equal ones first."""
    values, indices = x.sort(dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


def topk_mask(x: Tensor, k: int, axis: int = -1) -> Tensor:
    """True at the k largest values, the first of equal ones first; never where `x` is -inf."""
    order = x.argsort(dim=axis, descending=True, stable=True)
    best = order.narrow(axis, 0, min(k, x.shape[axis]))
    chosen = torch.zeros_like(x, dtype=torch.bool).scatter(axis, best, True)
    return chosen & (x != -torch.inf)


def solve_lower(a: Tensor, b: Tensor) -> Tensor:
    """The x with `tril(a) @ x == b`, in float32 or better.

    a [..., C, C], b [..., C, M] -> [..., C, M]; the leading axes broadcast.
    """
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    x: Tensor = torch.linalg.solve_triangular(a.to(dtype), b.to(dtype), upper=False)
    return x.to(b.dtype)
