"""The grouped product in plain torch: the meaning of the operator, and its CPU implementation.

float16, bfloat16 and float32 are multiplied and summed in float32 and rounded once; float64 stays.
Reads the offsets, so on a GPU it waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ..dispatch import widened


def forward(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """x [T, D], weight [E, D, F], offsets [E + 1] -> y [T, F] in the dtype of x.

        y_t = x_t W_e   for offsets_e <= t < offsets_(e + 1);   0 from offsets_E on

    The experts' product of Shazeer et al. 2017 (arXiv:1701.06538, equation 1), for tokens that are
    sorted by expert, without a capacity (Gale et al. 2022, arXiv:2211.15841, section 3). The weight
    is rounded to the dtype of x first.
    """
    w = weight.to(x.dtype)
    y = x.new_zeros(len(x), weight.shape[2])
    for expert, rows in _groups(offsets):
        y[rows] = (widened(x[rows]) @ widened(w[expert])).to(x.dtype)
    return y


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, offsets: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor, Tensor]:
    """`dx_t = dy_t W_e^T` for the expert of t, and `dW_e = sum over its rows of x_t^T dy_t`.

    Rows from the last offset on have a dx of 0; an expert without rows has a dW of 0. dx has the
    dtype of x, dW that of weight and its order in memory. One that is not needed has no elements.
    """
    w = weight.to(x.dtype)
    dx = x.new_zeros(x.shape if needs_x else 0)
    dweight = torch.zeros_like(weight) if needs_weight else weight.new_zeros(0)
    for expert, rows in _groups(offsets):
        wide = widened(dy[rows])
        if needs_x:
            dx[rows] = (wide @ widened(w[expert]).t()).to(x.dtype)
        if needs_weight:
            dweight[expert] = (widened(x[rows]).t() @ wide).to(weight.dtype)
    return dx, dweight


def _groups(offsets: Tensor) -> Iterator[tuple[int, slice]]:
    """Each expert that has rows, and these."""
    edges = offsets.tolist()
    for expert, (start, stop) in enumerate(pairwise(edges)):
        if start < stop:
            yield expert, slice(start, stop)
