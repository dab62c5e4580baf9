"""Token shift as torch operators: `gabc::token_shift` and `gabc::token_shift_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: they work in the dtype of x.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import described, for_cuda
from . import reference

MAX_BLENDS = 16


def token_shift(x: Tensor, mu: Tensor, initial: Tensor | None = None) -> Tensor:
    """`x_t + mu[m] (x_{t-1} - x_t)` for every m, reading x once.

    Peng et al. 2023, arXiv 2305.13048, equations (11) to (13); six blends in RWKV-7.

    x: (B, L, D), floating point; mu: (M, D), of any floating dtype, M from 1 to 16; initial:
    (B, D), the token before the first in the dtype of x, zero if it is left out. Returns
    (M, B, L, D) in the dtype of x, contiguous, so that `unbind` gives contiguous blends. The last
    token of x is `initial` of the next call. Computed in float32, or in float64 if x is that, and
    rounded once. The gradient with respect to mu has the dtype of mu.

    TypeError for a dtype, ValueError for a shape or device that does not fit.
    """
    for name, operand in (("x", x), ("mu", mu)):
        if not operand.is_floating_point():
            raise TypeError(f"token_shift needs a floating-point {name}, got {operand.dtype}")
    if x.ndim != 3 or x.shape[2] == 0:
        raise ValueError(f"token_shift needs x (B, L, D) with D > 0, got {described(x)}")
    if mu.ndim != 2 or mu.shape[1] != x.shape[2] or mu.device != x.device:
        raise ValueError(
            "token_shift needs mu (M, D) on the device of x (B, L, D): x is "
            f"{described(x)}, mu is {described(mu)}"
        )
    if not 1 <= mu.shape[0] <= MAX_BLENDS:
        raise ValueError(
            f"token_shift makes 1 to {MAX_BLENDS} blends, mu is {described(mu)}: call it several "
            "times"
        )
    if initial is not None and (
        initial.shape != (x.shape[0], x.shape[2])
        or (initial.dtype, initial.device) != (x.dtype, x.device)
    ):
        raise ValueError(
            "token_shift needs an initial token (B, D) of the dtype and device of x: x is "
            f"{described(x)}, initial is {described(initial)}"
        )
    return cast(Tensor, torch.ops.gabc.token_shift(x, mu, initial))


@torch.library.custom_op("gabc::token_shift", mutates_args=(), device_types="cuda")
def _token_shift(x: Tensor, mu: Tensor, initial: Tensor | None) -> Tensor:
    return cast("Tensor", for_cuda("token_shift", x).forward(x, mu, initial))


@torch.library.custom_op("gabc::token_shift_backward", mutates_args=(), device_types="cuda")
def _token_shift_backward(
    dy: Tensor, x: Tensor, mu: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    three = for_cuda("token_shift", x).backward(dy, x, mu, initial)
    return cast("tuple[Tensor, Tensor, Tensor]", three)


_token_shift.register_kernel("cpu", reference.forward)
_token_shift_backward.register_kernel("cpu", reference.backward)


@_token_shift.register_fake
def _token_shift_fake(x: Tensor, mu: Tensor, initial: Tensor | None) -> Tensor:
    return x.new_empty((mu.shape[0], *x.shape))


@_token_shift_backward.register_fake
def _token_shift_backward_fake(
    dy: Tensor, x: Tensor, mu: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dinitial = x.new_empty(0) if initial is None else initial.new_empty(initial.shape)
    return x.new_empty(x.shape), mu.new_empty(mu.shape), dinitial


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    x, mu, initial = ctx.saved_tensors
    dx, dmu, dinitial = torch.ops.gabc.token_shift_backward(dy, x, mu, initial)
    return dx, dmu, None if initial is None else dinitial


_token_shift.register_autograd(_differentiate, setup_context=_save)
