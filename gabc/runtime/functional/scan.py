"""Loops over time: states and inputs in float32 at least."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gabc.runtime.functional.pointwise import wide_dtype


def time_steps(*inputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The positions of inputs [B, L, ...], one after another: a tuple of [B, ...] each."""
    return zip(*(_wide(x).unbind(1) for x in inputs), strict=True)


def time_chunks(size: int, *inputs: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The chunks of inputs [B, L, ...]: a tuple of [B, size, ...] each, the last one filled up.

    A causal body cannot tell: what it computes at a position sees no later one. Repeating the last
    position, unlike zeros, meets no pole that the design's own values avoid (a NaN gradient).
    """
    return zip(*(torch.split(_padded(_wide(x), size), size, 1) for x in inputs), strict=True)


def join_chunks(chunks: list[Tensor], length: int) -> Tensor:
    """[B, size, ...] each to [B, length, ...]: what stands beyond the length is dropped."""
    return torch.cat(chunks, dim=1)[:, :length]


def initial_state(
    value: Tensor | float, shape: tuple[int, ...], like: Tensor, kind: str = "float"
) -> Tensor:
    """A scan's first state: `value` broadcast to `shape`, on the device of `like`."""
    dtype = wide_dtype(like)
    if kind != "float":
        dtype = {"int": torch.int64, "bool": torch.bool, "complex": dtype.to_complex()}[kind]
    if isinstance(value, Tensor):
        return value.to(dtype).expand(shape)
    return torch.full(shape, value, dtype=dtype, device=like.device)


def _wide(x: Tensor) -> Tensor:
    return x.to(wide_dtype(x)) if x.is_floating_point() else x


def _padded(x: Tensor, size: int) -> Tensor:
    missing = -x.shape[1] % size
    if not missing:
        return x
    return torch.cat([x, *[x[:, -1:]] * missing], dim=1)
