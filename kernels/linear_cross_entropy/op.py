"""Cross-entropy of a linear head as torch operators: `gabc::linear_cross_entropy`, which computes
its gradients along with the loss, and `gabc::linear_cross_entropy_backward`, which scales them.

They are registered when this module is imported. The device chooses the implementation: the
reference on a CPU, cuBLAS and Triton on CUDA, and on CUDA in float64 the reference again. Under
autocast `hidden` is cast as for any product; the weight is cast inside, so that its gradient is
summed and returned in float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..cross_entropy.options import Options, mean_over_targets, require_targets
from ..dispatch import autocasted, described, for_device
from .chunks import chunk_size

REDUCTIONS = ("mean", "sum")


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    chunk_rows: int | None = None,
) -> Tensor:
    """`cross_entropy(hidden @ weight.T, target)` of which at most `chunk_rows` rows of logits
    exist at a time; by default as many as fit 256 MiB, and at least 1024.

    hidden: (..., D), floating point; weight: (V, D), the head's or the tied embedding's, of any
    floating dtype, used in that of hidden; target: (...), integers below V or `ignore_index`. The
    other options, and what a wrong target does, are those of `cross_entropy`. Returns a scalar,
    float32, or float64 if hidden is.

    The gradients of hidden and weight are computed by the forward, where they are wanted, and
    multiplied by that of the loss in the backward; so a loss per row has none and is not offered.
    The gradient of weight is summed in float32 and has the dtype of weight.

    TypeError for a dtype, ValueError for a shape, device or option that does not fit.
    """
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    _require_valid(hidden, weight, target, options, reduction, chunk_rows)
    rows = autocasted(hidden).reshape(-1, hidden.shape[-1])
    learns = torch.is_grad_enabled()
    total, _, _ = torch.ops.gabc.linear_cross_entropy(
        rows,
        weight,
        target.reshape(-1),
        ignore_index,
        label_smoothing,
        z_loss,
        softcap,
        chunk_rows,
        learns and hidden.requires_grad,
        learns and weight.requires_grad,
    )
    total = cast("Tensor", total)
    return total if reduction == "sum" else mean_over_targets(total, target, ignore_index)


def _require_valid(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    options: Options,
    reduction: str,
    chunk_rows: int | None,
) -> None:
    name = "linear_cross_entropy"
    if not hidden.is_floating_point() or not weight.is_floating_point():
        raise TypeError(
            f"{name} needs a floating-point hidden and weight, got {hidden.dtype}, {weight.dtype}"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"{name} needs integer targets, got {target.dtype}")
    fits = hidden.ndim > 0 and weight.ndim == 2 and weight.shape[1] == hidden.shape[-1]
    if not fits or weight.numel() == 0 or weight.device != hidden.device:
        raise ValueError(
            f"{name} needs a weight (V, D) for a hidden (..., D), neither dim 0, on one device: "
            f"hidden is {described(hidden)}, weight is {described(weight)}"
        )
    if target.shape != hidden.shape[:-1] or target.device != hidden.device:
        raise ValueError(
            f"{name} needs one target per row, on the device of hidden: hidden is "
            f"{described(hidden)}, target is {described(target)}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{name} needs reduction 'mean' or 'sum', not {reduction!r}: for losses of rows use "
            "cross_entropy on the logits"
        )
    if chunk_rows is not None and chunk_rows < 1:
        raise ValueError(f"{name} needs chunk_rows >= 1, or None for its own, got {chunk_rows}")
    options.require_valid(name)


@torch.library.custom_op(
    "gabc::linear_cross_entropy", mutates_args=(), device_types=("cpu", "cuda")
)
def _forward(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    chunk_rows: int | None,
    needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    device = hidden.device.type
    if device == "cpu":
        require_targets("linear_cross_entropy", target, ignore_index, len(weight))
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    size = chunk_rows or chunk_size(len(hidden), len(weight), hidden.itemsize)
    # The dtypes are settled: autocast would round the reference's products in float32 once more.
    with torch.autocast(device, enabled=False):
        results = for_device("linear_cross_entropy", hidden).forward(
            hidden, weight, target, options, size, needs_hidden, needs_weight
        )
    return cast("tuple[Tensor, Tensor, Tensor]", results)


@_forward.register_fake
def _forward_fake(
    hidden: Tensor, weight: Tensor, target: Tensor, *rest: float | bool | None
) -> tuple[Tensor, Tensor, Tensor]:
    needs_hidden, needs_weight = rest[-2:]
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    return (
        hidden.new_empty((), dtype=dtype),
        hidden.new_empty(hidden.shape if needs_hidden else 0),
        weight.new_empty(weight.shape if needs_weight else 0, dtype=dtype),
    )


@torch.library.custom_op(
    "gabc::linear_cross_entropy_backward", mutates_args=(), device_types=("cpu", "cuda")
)
def _backward(
    dtotal: Tensor, dhidden: Tensor, dweight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    pair = for_device("linear_cross_entropy", dhidden).backward(dtotal, dhidden, dweight, dtype)
    return cast("tuple[Tensor, Tensor]", pair)


@_backward.register_fake
def _backward_fake(
    dtotal: Tensor, dhidden: Tensor, dweight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(dhidden), torch.empty_like(dweight, dtype=dtype)


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.dtype, ctx.needs = inputs[1].dtype, inputs[-2:]
    _, dhidden, dweight = output
    ctx.mark_non_differentiable(dhidden, dweight)
    ctx.save_for_backward(dhidden, dweight)


def _differentiate(ctx: Any, dtotal: Tensor, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    dhidden, dweight = torch.ops.gabc.linear_cross_entropy_backward(
        dtotal, *ctx.saved_tensors, ctx.dtype
    )
    needs_hidden, needs_weight = ctx.needs
    return dhidden if needs_hidden else None, dweight if needs_weight else None, *(None,) * 8


_forward.register_autograd(_differentiate, setup_context=_save)
