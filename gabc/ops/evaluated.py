"""The arguments of a reference, and typed access to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from gabc.ops.torch_lazy import torch

Evaluated: TypeAlias = (
    "torch.Tensor | torch.Generator | int | float | bool | str | tuple[Evaluated, ...] | None"
)
"""A bound argument at run time: dims and statics are numbers, tuples stay tuples."""

Args: TypeAlias = "Mapping[str, Evaluated]"


def tensor(args: Args, name: str) -> torch.Tensor:
    value = args[name]
    assert isinstance(value, torch.Tensor)
    return value


def optional_tensor(args: Args, name: str) -> torch.Tensor | None:
    return None if args[name] is None else tensor(args, name)


def tensors(args: Args, name: str) -> list[torch.Tensor]:
    values = args[name]
    assert isinstance(values, tuple)
    return [value for value in values if isinstance(value, torch.Tensor)]


def number(args: Args, name: str) -> float:
    value = args[name]
    assert isinstance(value, (int, float))
    return value


def optional_number(args: Args, name: str) -> float | None:
    return None if args[name] is None else number(args, name)


def operand(args: Args, name: str) -> torch.Tensor | float:
    """A TENSOR argument: a tensor or a number."""
    value = args[name]
    assert isinstance(value, (torch.Tensor, int, float))
    return value


def integer(args: Args, name: str) -> int:
    value = args[name]
    assert isinstance(value, int)
    return value


def integers(args: Args, name: str) -> tuple[int, ...]:
    values = args[name]
    assert isinstance(values, tuple)
    return tuple(value for value in values if isinstance(value, int))


def flag(args: Args, name: str) -> bool:
    value = args[name]
    assert isinstance(value, bool)
    return value


def text(args: Args, name: str) -> str:
    value = args[name]
    assert isinstance(value, str)
    return value
