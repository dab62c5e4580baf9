"""Cross-entropy as torch operators: `gabc::cross_entropy`, `gabc::cross_entropy_backward`, and
`gabc::cross_entropy_backward_`, which writes over the logits.

They are registered when this module is imported. The device chooses the implementation: the
reference on a CPU, Triton on CUDA, and on CUDA in float64 the reference again. Under autocast the
logits are taken in the dtype they have, since the arithmetic is in float32 in any case.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import described, for_device
from . import reference
from .options import REDUCTIONS, Options, mean_over_targets, require_targets


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    overwrite_logits: bool = False,
) -> Tensor:
    """`lse - (1 - e) z_target - e mean(z) + w lse^2` for each row of `z = c tanh(logits / c)`.

    logits: (..., V), floating point; target: (...), integers below V or `ignore_index`. `e` is
    `label_smoothing`, `w` is `z_loss`, `c` is `softcap`; `lse` is logsumexp(z). Sources and
    gradients are in `reference`. Rows are averaged over those that are not ignored (NaN if all
    are), summed, or with reduction "none" returned in the shape of target, ignored ones as 0.
    The result is float32, or float64 if logits is.

    With `overwrite_logits` the backward writes the gradient over the logits, which saves one
    [N, V] tensor: whoever else holds them sees them change, and a second backward is an error.
    Under torch.compile the compiler may copy the logits first.

    TypeError for a dtype, ValueError for a shape, device or option that does not fit. A target
    that is out of range is an IndexError on a CPU and makes the loss NaN on a GPU.
    """
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    _require_valid(logits, target, options, reduction)
    rows = logits.reshape(-1, logits.shape[-1])
    if overwrite_logits and rows.stride(1) != 1:
        raise ValueError(
            "cross_entropy overwrites logits whose last dim is adjacent in memory, got strides "
            f"{logits.stride()}: pass logits.contiguous()"
        )
    losses, _ = torch.ops.gabc.cross_entropy(
        rows,
        target.reshape(-1),
        ignore_index,
        label_smoothing,
        z_loss,
        softcap,
        overwrite_logits,
    )
    losses = cast("Tensor", losses)
    if reduction == "none":
        return losses.view(target.shape)
    total = losses.sum()
    return total if reduction == "sum" else mean_over_targets(total, target, ignore_index)


def _require_valid(logits: Tensor, target: Tensor, options: Options, reduction: str) -> None:
    if not logits.is_floating_point():
        raise TypeError(f"cross_entropy needs floating-point logits, got {logits.dtype}")
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"cross_entropy needs integer targets, got {target.dtype}")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"cross_entropy needs a last dim of logits, got {described(logits)}")
    if target.shape != logits.shape[:-1] or target.device != logits.device:
        raise ValueError(
            f"cross_entropy needs one target per row, on the device of the logits: logits is "
            f"{described(logits)}, target is {described(target)}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"cross_entropy needs reduction 'mean', 'sum' or 'none', not {reduction!r}"
        )
    options.require_valid("cross_entropy")


@torch.library.custom_op("gabc::cross_entropy", mutates_args=(), device_types="cuda")
def _cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    overwrite: bool,
) -> tuple[Tensor, Tensor]:
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    pair = for_device("cross_entropy", logits).forward(logits, target, options)
    return cast("tuple[Tensor, Tensor]", pair)


@_cross_entropy.register_kernel("cpu")
def _cross_entropy_cpu(
    logits: Tensor,
    target: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    overwrite: bool,
) -> tuple[Tensor, Tensor]:
    require_targets("cross_entropy", target, ignore_index, logits.shape[1])
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    return reference.forward(logits, target, options)


@_cross_entropy.register_fake
def _cross_entropy_fake(
    logits: Tensor, target: Tensor, *options: float | bool | None
) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    loss = logits.new_empty(logits.shape[:1], dtype=dtype)
    return loss, torch.empty_like(loss)


@torch.library.custom_op(
    "gabc::cross_entropy_backward", mutates_args=(), device_types=("cpu", "cuda")
)
def _backward(
    dloss: Tensor,
    dlse: Tensor,
    logits: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
) -> Tensor:
    by = for_device("cross_entropy", logits)
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    gradient = by.backward(dloss, dlse, logits, target, lse, options, False)
    return cast("Tensor", gradient)


@torch.library.custom_op(
    "gabc::cross_entropy_backward_", mutates_args=("logits",), device_types=("cpu", "cuda")
)
def _backward_over(
    dloss: Tensor,
    dlse: Tensor,
    logits: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
) -> None:
    by = for_device("cross_entropy", logits)
    options = Options(ignore_index, label_smoothing, z_loss, softcap)
    by.backward(dloss, dlse, logits, target, lse, options, True)


@_backward.register_fake
def _backward_fake(
    dloss: Tensor, dlse: Tensor, logits: Tensor, *rest: Tensor | float | None
) -> Tensor:
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, target, *ctx.options, ctx.overwrite = inputs
    ctx.save_for_backward(logits, target, output[1])


def _differentiate(ctx: Any, dloss: Tensor, dlse: Tensor) -> tuple[Tensor | None, ...]:
    logits, target, lse = ctx.saved_tensors
    if ctx.overwrite:
        dlogits = logits.detach()
        torch.ops.gabc.cross_entropy_backward_(dloss, dlse, dlogits, target, lse, *ctx.options)
    else:
        dlogits = torch.ops.gabc.cross_entropy_backward(
            dloss, dlse, logits, target, lse, *ctx.options
        )
    return dlogits, *(None,) * 6


_cross_entropy.register_autograd(_differentiate, setup_context=_save)
