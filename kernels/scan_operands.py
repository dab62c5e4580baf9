"""The operands of scans along time: their common shape and dtype, and what fits neither."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import broadcasts_to, described


def scan_operands(
    name: str, first: tuple[str, Tensor], second: tuple[str, Tensor], initial: Tensor | float
) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    """Both operands [B, L, *S], the first state [B, *S], and the dtype of the public result.

    Of float32 at most, each keeps its floating dtype, since kernels widen what they load. Else all
    are brought to one dtype. Views with strides of zero where an operand is broadcast.
    ValueError for shapes or devices that do not fit.
    """
    shape = _shape(name, first, second)
    x, y = first[1], second[1]
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    if isinstance(initial, Tensor):
        wide = torch.promote_types(wide, initial.dtype)
        state = initial if _keeps(initial, wide) else initial.to(wide)
        _require_state(name, state, shape, second)
    else:
        state = y.new_full((), initial, dtype=wide)
    is_kept = y.is_complex() or (y.is_floating_point() and not wide.is_complex)
    result = y.dtype if is_kept else wide
    x, y = (z if _keeps(z, wide) else z.to(wide) for z in (x, y))
    return x.expand(shape), y.expand(shape), state.expand(shape[:1] + shape[2:]), result


def _keeps(x: Tensor, wide: torch.dtype) -> bool:
    return wide == torch.float32 and x.is_floating_point()


def _shape(name: str, first: tuple[str, Tensor], second: tuple[str, Tensor]) -> tuple[int, ...]:
    (x_name, x), (y_name, y) = first, second
    operands = f"{x_name} is {described(x)}, {y_name} is {described(y)}"
    try:
        shape = tuple(torch.broadcast_shapes(x.shape, y.shape))  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ValueError(
            f"{name} needs {x_name} and {y_name} that broadcast together: {operands}"
        ) from None
    if len(shape) < 2:
        raise ValueError(f"{name} needs a batch and a time, [B, L, ...]: {operands}")
    if x.device != y.device:
        raise ValueError(f"{name} needs {x_name} and {y_name} on one device: {operands}")
    return shape


def _require_state(
    name: str, state: Tensor, shape: tuple[int, ...], second: tuple[str, Tensor]
) -> None:
    want = shape[:1] + shape[2:]
    if not broadcasts_to(state, want) or state.device != second[1].device:
        raise ValueError(
            f"{name} needs an initial that broadcasts to {want}, [B, *S], on the device of "
            f"{second[0]}: initial is {described(state)}, {second[0]} is {described(second[1])}"
        )
