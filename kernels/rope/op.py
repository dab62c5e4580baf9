"""Rotary position embedding as torch operators: `gabc::rope` and `gabc::rope_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: heads stay in the dtype that the projections before them gave, tables
and weights are used in theirs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import described, for_cuda
from . import reference


def rope(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False
) -> tuple[Tensor, Tensor]:
    """Queries and keys with the first R channels of each head turned by their position.

    Su et al. 2021, arXiv 2104.09864, equation (34).

    q: (B, L, H, K), k: (B, L, G, K), floating point, of one dtype; H and G need not be equal.
    cos, sin: (L, R/2) or (B, L, R/2), of any floating dtype, from `rope_tables` or with other
    frequencies or a gain; R <= K, and the channels from R on stay as they are. Pairs of channels
    are (i, i + R/2), or (2i, 2i + 1) if `interleaved`. Returns both in their dtype, contiguous.
    Computed in float32, or in float64 if q is that. Tables get no gradient.

    TypeError for a dtype, ValueError for a shape or device that does not fit, and for tables that
    want a gradient.
    """
    _require_valid(q, k, None, None, cos, sin, None)
    pair = torch.ops.gabc.rope(q, k, None, None, cos, sin, None, interleaved)
    return cast("tuple[Tensor, Tensor]", pair)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """`rope` of one tensor (B, L, H, K)."""
    _require_valid(x, None, None, None, cos, sin, None)
    pair = torch.ops.gabc.rope(x, None, None, None, cos, sin, None, interleaved)
    return cast(Tensor, pair[0])


def norm_rope(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-5,
    interleaved: bool = False,
) -> tuple[Tensor, Tensor]:
    """`rope` of `x * rsqrt(mean(x^2) + eps) * weight`, the mean over the K channels of a head.

    q_weight, k_weight: (K,), of any floating dtype, or None to leave them out; their gradients have
    their dtype. The normalised heads are not rounded before they are turned. Query-key norm: Henry
    et al. 2020, arXiv 2010.04245; as RMSNorm: Gemma Team 2025, arXiv 2503.19786. The rest is as in
    `rope`.
    """
    _require_valid(q, k, q_weight, k_weight, cos, sin, eps)
    pair = torch.ops.gabc.rope(q, k, q_weight, k_weight, cos, sin, eps, interleaved)
    return cast("tuple[Tensor, Tensor]", pair)


def rope_tables(
    positions: Tensor, rotary: int, base: float = 10000.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles `t base^(-2i / rotary)`, i below rotary / 2.

    positions: (L,) or (B, L); rotary: how many channels of a head are turned, even. Returns two
    tables (..., L, rotary / 2). Angles are computed in float64: those of float32 are off by 0.004
    at position 100,000. The tables serve all layers.
    """
    if rotary < 2 or rotary % 2:
        raise ValueError(f"rope_tables turns pairs of channels, rotary must be even, got {rotary}")
    if not base > 0:
        raise ValueError(f"rope_tables needs base > 0, got {base}")
    channel = torch.arange(0, rotary, 2, device=positions.device, dtype=torch.float64)
    angle = positions.to(torch.float64).unsqueeze(-1) * base ** (-channel / rotary)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _require_valid(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
) -> None:
    if not q.is_floating_point():
        raise TypeError(f"rope needs floating-point heads, got {q.dtype}")
    if q.ndim != 4 or q.shape[-1] < 2:
        raise ValueError(
            f"rope needs heads of at least two channels (B, L, H, K), got {described(q)}"
        )
    if k is not None and (
        k.ndim != 4
        or (*k.shape[:2], k.shape[3]) != (*q.shape[:2], q.shape[3])
        or (k.dtype, k.device) != (q.dtype, q.device)
    ):
        raise ValueError(
            "rope needs q and k that differ in the number of heads at most: q is "
            f"{described(q)}, k is {described(k)}"
        )
    _require_tables(q, cos, sin)
    if eps is not None and not eps >= 0:
        raise ValueError(f"norm_rope needs eps >= 0, got {eps}")
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight is None:
            continue
        if not weight.is_floating_point():
            raise TypeError(f"norm_rope needs a floating-point {name}, got {weight.dtype}")
        if weight.shape != q.shape[-1:] or weight.device != q.device:
            raise ValueError(
                f"norm_rope needs one weight per channel of a head, on the device of q: q is "
                f"{described(q)}, {name} is {described(weight)}"
            )


def _require_tables(q: Tensor, cos: Tensor, sin: Tensor) -> None:
    if not (cos.is_floating_point() and sin.is_floating_point()):
        raise TypeError(f"rope needs floating-point tables, got {cos.dtype} and {sin.dtype}")
    if (cos.shape, cos.device) != (sin.shape, sin.device) or cos.device != q.device:
        raise ValueError(
            f"rope needs tables of one shape, on the device of q: q is {described(q)}, cos is "
            f"{described(cos)}, sin is {described(sin)}"
        )
    batch, length, _, width = q.shape
    if (
        cos.ndim not in (2, 3)
        or cos.shape[:-1] not in ((length,), (batch, length))
        or not 2 <= 2 * cos.shape[-1] <= width
    ):
        raise ValueError(
            "rope needs tables (L, R/2) or (B, L, R/2) with R of the K channels of q (B, L, H, K): "
            f"q is {described(q)}, cos is {described(cos)}"
        )
    if cos.requires_grad or sin.requires_grad:
        raise ValueError(
            "rope has no gradient with respect to its tables: detach cos and sin, or write the "
            "rotation out where frequencies are learned"
        )


@torch.library.custom_op("gabc::rope", mutates_args=(), device_types="cuda")
def _rope(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor]:
    by = for_cuda("rope", q)
    pair = by.forward(q, k, q_weight, k_weight, cos, sin, eps, interleaved)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::rope_backward", mutates_args=(), device_types="cuda")
def _rope_backward(
    dyq: Tensor,
    dyk: Tensor | None,
    q: Tensor | None,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by = for_cuda("rope", dyq)
    four = by.backward(dyq, dyk, q, k, q_weight, k_weight, cos, sin, eps, interleaved)
    return cast("tuple[Tensor, Tensor, Tensor, Tensor]", four)


_rope.register_kernel("cpu", reference.forward)
_rope_backward.register_kernel("cpu", reference.backward)


@_rope.register_fake
def _rope_fake(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(0) if k is None else k.new_empty(k.shape)


@_rope_backward.register_fake
def _rope_backward_fake(
    dyq: Tensor,
    dyk: Tensor | None,
    q: Tensor | None,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    like = (dyq, dyk, q_weight, k_weight)
    dq, dk, dq_weight, dk_weight = (
        dyq.new_empty(0) if x is None else x.new_empty(x.shape) for x in like
    )
    return dq, dk, dq_weight, dk_weight


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, q_weight, k_weight, cos, sin, ctx.eps, ctx.interleaved = inputs
    ctx.has_keys = k is not None
    # A rotation alone is undone without its operands.
    kept = (None, None) if ctx.eps is None else (q, k)
    ctx.save_for_backward(*kept, q_weight, k_weight, cos, sin)


def _differentiate(ctx: Any, dyq: Tensor, dyk: Tensor) -> tuple[Tensor | None, ...]:
    q, k, q_weight, k_weight, cos, sin = ctx.saved_tensors
    dq, dk, dq_weight, dk_weight = torch.ops.gabc.rope_backward(
        dyq,
        dyk if ctx.has_keys else None,
        q,
        k,
        q_weight,
        k_weight,
        cos,
        sin,
        ctx.eps,
        ctx.interleaved,
    )
    return (
        dq,
        dk if ctx.has_keys else None,
        None if q_weight is None else dq_weight,
        None if k_weight is None else dk_weight,
        None,
        None,
        None,
        None,
    )


_rope.register_autograd(_differentiate, setup_context=_save)
