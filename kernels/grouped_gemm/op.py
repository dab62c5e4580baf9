"""The grouped product as torch operators: `gabc::grouped_gemm`, `gabc::grouped_gemm_backward`.

They are registered when this module is imported. The device chooses the implementation: the
reference on a CPU, Triton on CUDA, and on CUDA in float64 the reference again. Under autocast x is
cast as for any product; the weight is cast inside, so that its gradient is not rounded.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import autocasted, described, for_device


def grouped_gemm(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """`y[a:b] = x[a:b] @ weight[e]` with `a, b = offsets[e], offsets[e + 1]`, for every expert e.

    x: (T, D), floating point, its rows sorted by expert; weight: (E, D, F), of any floating dtype
    and order in memory, used in the dtype of x; offsets: (E + 1,), int32 or int64, from 0 to at
    most T, never decreasing. An expert may have no rows; rows that have no expert give zeros.
    Returns y: (T, F) in the dtype of x. Sums are in float32 (in float64 of float64), and the
    gradient of weight has its dtype.

    TypeError for a dtype, ValueError for a shape or device that does not fit, and on a CPU for
    offsets that are wrong; on a GPU, where they are not read, those have no defined result.
    """
    if not x.is_floating_point() or not weight.is_floating_point():
        raise TypeError(
            f"grouped_gemm needs a floating-point x and weight, got {x.dtype} and {weight.dtype}"
        )
    if offsets.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"grouped_gemm needs offsets in int32 or int64, got {offsets.dtype}")
    fits = x.ndim == 2 and weight.ndim == 3 and weight.shape[1] == x.shape[1]
    if not fits or weight.numel() == 0 or weight.device != x.device:
        raise ValueError(
            f"grouped_gemm needs x (T, D) and weight (E, D, F) on one device, no dim but T being "
            f"0: x is {described(x)}, weight is {described(weight)}"
        )
    if offsets.shape != (len(weight) + 1,) or offsets.device != x.device:
        raise ValueError(
            f"grouped_gemm needs E + 1 offsets on the device of x: weight is {described(weight)}, "
            f"offsets is {described(offsets)}"
        )
    return cast("Tensor", torch.ops.gabc.grouped_gemm(autocasted(x), weight, offsets))


def _require_sorted(offsets: Tensor, rows: int) -> None:
    edges = offsets.tolist()
    if edges[0] != 0 or edges[-1] > rows or edges != sorted(edges):
        raise ValueError(
            f"grouped_gemm needs offsets from 0 to at most T = {rows} that never decrease, "
            f"got {edges}"
        )


@torch.library.custom_op("gabc::grouped_gemm", mutates_args=(), device_types=("cpu", "cuda"))
def _forward(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    if x.device.type == "cpu":
        _require_sorted(offsets, len(x))
    # The dtypes are settled: autocast would round the reference's products in float32 once more.
    with torch.autocast(x.device.type, enabled=False):
        return cast("Tensor", for_device("grouped_gemm", x).forward(x, weight, offsets))


@_forward.register_fake
def _forward_fake(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[2])


@torch.library.custom_op(
    "gabc::grouped_gemm_backward", mutates_args=(), device_types=("cpu", "cuda")
)
def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, offsets: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        pair = for_device("grouped_gemm", x).backward(dy, x, weight, offsets, needs_x, needs_weight)
    return cast("tuple[Tensor, Tensor]", pair)


@_backward.register_fake
def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, offsets: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor, Tensor]:
    dx = x.new_empty(x.shape if needs_x else 0)
    return dx, torch.empty_like(weight) if needs_weight else weight.new_empty(0)


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    needs_x, needs_weight, _ = ctx.needs_input_grad
    dx, dweight = torch.ops.gabc.grouped_gemm_backward(
        dy, *ctx.saved_tensors, needs_x, needs_weight
    )
    return dx if needs_x else None, dweight if needs_weight else None, None


_forward.register_autograd(_differentiate, setup_context=_save)
