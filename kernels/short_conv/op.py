"""The short causal convolution as torch operators: `gabc::short_conv` and its backward.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: they work in the dtype of x, where torch's convolutions would turn
float32 to half precision.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from gabc.runtime.functional import sequence

from ..dispatch import described, for_cuda
from . import reference

MAX_WIDTH = 8
"""Taps of the longest filter: kernels are unrolled over taps, the backward does work for pairs."""


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial: Tensor | None = None,
    silu: bool = False,
) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution along time, then SiLU if `silu`; returns `(y, final)`.

    x: (B, L, D), floating point; weight: (D, W), W from 1 to 8, of which `weight[:, W - 1]`
    multiplies the position itself; bias: (D,), of any floating dtype like weight; initial:
    (B, W - 1, D), the positions before the first in the dtype of x, zeros if it is left out.
    Returns y (B, L, D) and the last W - 1 positions (B, W - 1, D), which are `initial` of the next
    call; both in the dtype of x, contiguous. A sequence cut in pieces gives what the whole gives.
    Computed in float32, or in float64 if x is that, and rounded once. Gradients reach all operands,
    also through `final`; with silu the backward computes the convolution again.

    Gu and Dao 2023, arXiv 2312.00752, section 3.4. TypeError for a dtype, ValueError for a shape or
    device that does not fit.
    """
    _require_valid(x, weight, bias, initial)
    pair = torch.ops.gabc.short_conv(x, weight, bias, initial, silu)
    return cast("tuple[Tensor, Tensor]", pair)


def causal_conv(
    x: Tensor, w: Tensor, bias: Tensor | None = None, dilation: int = 1, axis: int = 1
) -> Tensor:
    """Depthwise causal convolution along `axis`; signature of the plain function of this name.

    x [..., L, *C], w [*C, K], bias [*C] -> [..., L, *C]; `w[..., K - 1]` multiplies the position
    itself. Filters with more than 8 taps or a dilation are torch's convolution, as they are there.
    """
    taps = w.shape[-1]
    if taps > MAX_WIDTH or dilation != 1:
        return sequence.causal_conv(x, w, bias, dilation, axis)
    rows, channels = math.prod(x.shape[:axis]), math.prod(w.shape[:-1])
    signal = x.reshape(rows, x.shape[axis], channels)
    y, _ = short_conv(
        signal, w.reshape(channels, taps), None if bias is None else bias.reshape(channels)
    )
    return y.reshape(x.shape)


def _require_valid(x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None) -> None:
    for name, operand in (("x", x), ("weight", weight), ("bias", bias)):
        if operand is not None and not operand.is_floating_point():
            raise TypeError(f"short_conv needs a floating-point {name}, got {operand.dtype}")
    if x.ndim != 3 or x.shape[2] == 0:
        raise ValueError(f"short_conv needs x (B, L, D) with D > 0, got {described(x)}")
    batch, _, channels = x.shape
    if weight.ndim != 2 or weight.shape[0] != channels or weight.device != x.device:
        raise ValueError(
            "short_conv needs a weight (D, W) on the device of x (B, L, D): x is "
            f"{described(x)}, weight is {described(weight)}"
        )
    if not 1 <= weight.shape[1] <= MAX_WIDTH:
        raise ValueError(
            f"short_conv has 1 to {MAX_WIDTH} taps, weight is {described(weight)}: use "
            "torch.nn.functional.conv1d for a longer filter"
        )
    if bias is not None and (bias.shape != (channels,) or bias.device != x.device):
        raise ValueError(
            "short_conv needs a bias (D,) on the device of x (B, L, D): x is "
            f"{described(x)}, bias is {described(bias)}"
        )
    if initial is not None and (
        initial.shape != (batch, weight.shape[1] - 1, channels)
        or (initial.dtype, initial.device) != (x.dtype, x.device)
    ):
        raise ValueError(
            "short_conv needs an initial state (B, W - 1, D) of the dtype and device of x: x is "
            f"{described(x)}, weight is {described(weight)}, initial is {described(initial)}"
        )


@torch.library.custom_op("gabc::short_conv", mutates_args=(), device_types="cuda")
def _short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("short_conv", x).forward(x, weight, bias, initial, silu)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::short_conv_backward", mutates_args=(), device_types="cuda")
def _short_conv_backward(
    dy: Tensor,
    dfinal: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    four = for_cuda("short_conv", x).backward(dy, dfinal, x, weight, bias, initial, silu)
    return cast("tuple[Tensor, Tensor, Tensor, Tensor]", four)


_short_conv.register_kernel("cpu", reference.forward)
_short_conv_backward.register_kernel("cpu", reference.backward)


@_short_conv.register_fake
def _short_conv_fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    batch, _, channels = x.shape
    return x.new_empty(x.shape), x.new_empty((batch, weight.shape[1] - 1, channels))


@_short_conv_backward.register_fake
def _short_conv_backward_fake(
    dy: Tensor,
    dfinal: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx, dweight, dbias, dinitial = (
        x.new_empty(0) if operand is None else operand.new_empty(operand.shape)
        for operand in (x, weight, bias, initial)
    )
    return dx, dweight, dbias, dinitial


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, initial, ctx.silu = inputs
    ctx.save_for_backward(x, weight, bias, initial)


def _differentiate(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, initial = ctx.saved_tensors
    dx, dweight, dbias, dinitial = torch.ops.gabc.short_conv_backward(
        dy, dfinal, x, weight, bias, initial, ctx.silu
    )
    return (
        dx,
        dweight,
        None if bias is None else dbias,
        None if initial is None else dinitial,
        None,
    )


_short_conv.register_autograd(_differentiate, setup_context=_save)
