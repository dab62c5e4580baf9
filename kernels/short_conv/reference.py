"""The short causal convolution in plain torch: the meaning of the operator, and its CPU form.

With the padded signal `p = [initial, x]`, whose first W - 1 positions are zero without an initial
state, for every channel

    a_t = bias + sum over j of w_j p_{t+j},   y_t = a_t  or  a_t s(a_t),   final = p_L ... p_{L+W-2}

where s is the logistic function. `w_{W-1}` multiplies the position itself. x is (B, L, D), w is
(D, W), bias (D,), initial and final (B, W - 1, D). In Mamba: Gu and Dao 2023, arXiv 2312.00752,
section 3.4.

float16, bfloat16 and float32 are computed in float32 and rounded once; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import widened


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    """y and the final state, both in the dtype of x."""
    signal = _padded(x, initial, weight.shape[1])
    y = _convolved(signal, weight, bias)
    if silu:
        y = y * torch.sigmoid(y)
    return y.to(x.dtype).contiguous(), _apart(signal[:, x.shape[1] :], x.dtype)


def backward(
    dy: Tensor,
    dfinal: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward` with respect to x, weight, bias and initial.

    With `g = dy`, or `dy s(a) (1 + a (1 - s(a)))` with silu, `dp_i = sum over j of w_j g_{i-j}` and
    to the last W - 1 positions `dfinal` is added; dx and dinitial are its parts. `dw_j` is the sum
    of `g_t p_{t+j}`, `dbias` that of `g_t`. What is absent has a gradient without elements.
    """
    taps, length = weight.shape[1], x.shape[1]
    signal, g = _padded(x, initial, taps), widened(dy)
    if silu:
        a = _convolved(signal, weight, bias)
        s = torch.sigmoid(a)
        g = g * (s * (1.0 + a * (1.0 - s)))
    wide = weight.to(g.dtype)
    dsignal = torch.zeros_like(signal)
    dsignal[:, length:] = dfinal
    for tap in range(taps):
        dsignal[:, tap : tap + length] += g * wide[:, tap]
    dweight = [(g * signal[:, tap : tap + length]).sum((0, 1)) for tap in range(taps)]
    return (
        _apart(dsignal[:, taps - 1 :], x.dtype),
        torch.stack(dweight, dim=1).to(weight.dtype),
        x.new_empty(0) if bias is None else g.sum((0, 1)).to(bias.dtype),
        x.new_empty(0) if initial is None else _apart(dsignal[:, : taps - 1], x.dtype),
    )


def _apart(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A contiguous copy: results of an operator may not share memory."""
    return x.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _padded(x: Tensor, initial: Tensor | None, taps: int) -> Tensor:
    """(B, W - 1 + L, D), widened."""
    wide = widened(x)
    if initial is None:
        past = wide.new_zeros((x.shape[0], taps - 1, x.shape[2]))
    else:
        past = initial.to(wide.dtype)
    return torch.cat((past, wide), dim=1)


def _convolved(signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    taps = weight.shape[1]
    length = signal.shape[1] - taps + 1
    wide = weight.to(signal.dtype)
    a = signal[:, :length] * wide[:, 0]
    for tap in range(1, taps):
        a = a + signal[:, tap : tap + length] * wide[:, tap]
    return a if bias is None else a + bias.to(a.dtype)
