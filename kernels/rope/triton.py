"""Rotary position embedding in Triton: queries and keys, and their norm, in one launch.

A program of the forward takes a tile of tokens and a few heads of either q or k, and holds the
tables of its tokens in registers for all of them. The gradient of a rotation alone is the same
kernel with the opposite angle. The gradient of a norm has a kernel of its own, whose programs sum
the gradient of a weight over a slab of tokens and their heads, one line each; a second kernel adds
the lines in a fixed order.

Heads may lie anywhere, as long as their channels are adjacent: cut out of a common projection, or
with the heads before time.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ..dispatch import described
from ..launch import adjacent, require_supported, slab_size, strides, sum_slabs
from .kernels import forward_kernel, norm_backward_kernel

HEADS = 4
"""Heads of a program, which share what it loads of the tables."""


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: most pairs of channels, and tokens of a tile each way."""

    pairs: int
    tokens: int
    backward_tokens: int
    warps: int


# A tile of the forward has 2,048 elements, 16 of a thread; the backward holds heads, gradients and
# sums and has half of that. On sm_80 and sm_90 nothing spills where heads are aligned (tests
# compile all of them). No setting was timed.
SETTINGS = (
    Settings(pairs=16, tokens=64, backward_tokens=32, warps=4),
    Settings(pairs=32, tokens=32, backward_tokens=16, warps=4),
    Settings(pairs=64, tokens=16, backward_tokens=8, warps=4),
    Settings(pairs=128, tokens=8, backward_tokens=4, warps=4),
    Settings(pairs=256, tokens=4, backward_tokens=2, warps=4),
)


def settings(width: int, rotary: int) -> Settings:
    """The settings for heads of `width` channels, `rotary` of which turn.

    ValueError above the widest entry of the table.
    """
    pairs = max(rotary, width - rotary + 1) // 2
    for entry in SETTINGS:
        if pairs <= entry.pairs:
            return entry
    raise ValueError(
        f"the Triton rope holds heads in registers and stops at {2 * SETTINGS[-1].pairs} channels "
        f"that turn, and as many that do not, got {rotary} of {width}: use "
        "implementation('rope', 'reference') for this width"
    )


def constants(width: int, rotary: int, is_backward: bool) -> dict[str, int]:
    """What a kernel is compiled for: sizes of a head and of a tile."""
    chosen = settings(width, rotary)
    return {
        "WIDTH": width,
        "HALF": rotary // 2,
        "TOKENS": chosen.backward_tokens if is_backward else chosen.tokens,
        "PAIRS": max(16, triton.next_power_of_2(rotary // 2)),
        "REST": 0 if width == rotary else max(16, triton.next_power_of_2(width - rotary)),
        "HEADS": HEADS,
    }


def require_countable(q: Tensor) -> None:
    """ValueError if numbers of tokens, which kernels divide in 32 bits, might not fit."""
    if q.shape[0] * q.shape[1] >= 2**30:
        raise ValueError(f"the Triton rope counts tokens up to 2^30, q is {described(q)}")


def forward(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
) -> tuple[Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("rope", q=q, q_weight=q_weight, k_weight=k_weight, cos=cos, sin=sin)
    require_countable(q)
    return _launch_forward(q, k, q_weight, k_weight, cos, sin, eps, interleaved, inverse=False)


def backward(
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
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("rope", dyq=dyq, q_weight=q_weight, k_weight=k_weight, cos=cos, sin=sin)
    require_countable(dyq)
    if eps is None:
        pair = _launch_forward(dyq, dyk, None, None, cos, sin, None, interleaved, inverse=True)
        return *pair, dyq.new_empty(0), dyq.new_empty(0)
    if q is None or (dyk is not None and k is None):
        raise ValueError("the gradient of a normalised head needs the head")
    dq, dk, q_partial, k_partial = _launch_norm_backward(
        dyq, dyk, q, k, q_weight, k_weight, cos, sin, eps, interleaved
    )
    return (
        dq,
        dyq.new_empty(0) if dk is None else dk,
        _summed(q_partial, q_weight, dyq),
        _summed(k_partial, k_weight, dyq),
    )


def _summed(partial: Tensor | None, weight: Tensor | None, like: Tensor) -> Tensor:
    if partial is None or weight is None:
        return like.new_empty(0)
    return sum_slabs(partial, weight.dtype)


def _launch_forward(
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float | None,
    interleaved: bool,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    q, k = adjacent(q), None if k is None else adjacent(k)
    batch, length, heads, width = q.shape
    groups = 0 if k is None else k.shape[2]
    yq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    yk = None if k is None else torch.empty(k.shape, dtype=k.dtype, device=k.device)
    sizes = constants(width, 2 * cos.shape[-1], is_backward=False)
    tiles = triton.cdiv(batch * length, sizes["TOKENS"])
    grid = (tiles * (triton.cdiv(heads, HEADS) + triton.cdiv(groups, HEADS)),)
    if grid[0]:
        cos, sin = cos.contiguous(), sin.contiguous()
        with torch.cuda.device(q.get_device()):
            forward_kernel[grid](
                q,
                k,
                None if q_weight is None else q_weight.contiguous(),
                None if k_weight is None else k_weight.contiguous(),
                cos,
                sin,
                yq,
                yk,
                *strides(q),
                *strides(k),
                0 if cos.ndim == 2 else cos.stride(0),
                batch * length,
                length,
                heads,
                groups,
                0.0 if eps is None else eps,
                NORM=eps is not None,
                INTERLEAVED=interleaved,
                INVERSE=inverse,
                **sizes,
                num_warps=settings(width, 2 * cos.shape[-1]).warps,
            )
    return yq, q.new_empty(0) if yk is None else yk


def _launch_norm_backward(
    dyq: Tensor,
    dyk: Tensor | None,
    q: Tensor,
    k: Tensor | None,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    interleaved: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of q and k, and the partial sums of those of their weights."""
    q, dyq = adjacent(q), adjacent(dyq)
    k, dyk = None if k is None else adjacent(k), None if dyk is None else adjacent(dyk)
    batch, length, heads, width = q.shape
    groups = 0 if k is None else k.shape[2]
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk = None if k is None else torch.empty(k.shape, dtype=k.dtype, device=k.device)
    sizes = constants(width, 2 * cos.shape[-1], is_backward=True)
    q_slab, q_programs = _slabs(batch * length, heads, q_weight, sizes["TOKENS"])
    k_slab, k_programs = _slabs(batch * length, groups, k_weight, sizes["TOKENS"])
    q_partial, k_partial = (
        None if weight is None else q.new_empty((programs, width), dtype=torch.float32)
        for weight, programs in ((q_weight, q_programs), (k_weight, k_programs))
    )
    if q_programs + k_programs:
        cos, sin = cos.contiguous(), sin.contiguous()
        with torch.cuda.device(q.get_device()):
            norm_backward_kernel[(q_programs + k_programs,)](
                dyq,
                dyk,
                q,
                k,
                None if q_weight is None else q_weight.contiguous(),
                None if k_weight is None else k_weight.contiguous(),
                cos,
                sin,
                dq,
                dk,
                q_partial,
                k_partial,
                *strides(dyq),
                *strides(dyk),
                *strides(q),
                *strides(k),
                0 if cos.ndim == 2 else cos.stride(0),
                batch * length,
                length,
                heads,
                groups,
                q_slab,
                k_slab,
                q_programs,
                eps,
                INTERLEAVED=interleaved,
                **sizes,
                num_warps=settings(width, 2 * cos.shape[-1]).warps,
            )
    return dq, dk, q_partial, k_partial


def _slabs(tokens: int, heads: int, weight: Tensor | None, tile: int) -> tuple[int, int]:
    """Tokens of a slab, and programs: one for each slab and each few heads.

    Without a weight there is nothing to sum, and a slab is one tile.
    """
    groups = triton.cdiv(heads, HEADS)
    slab = tile if weight is None else max(tile, slab_size(tokens * groups, tile))
    return slab, triton.cdiv(tokens, slab) * groups
