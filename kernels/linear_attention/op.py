"""Linear attention as torch operators: `gabc::linear_attention` and its backward.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Triton that is needed and absent is an error, never a slower path. Autocast changes nothing: the
operators compute in float32 from the operands as they come.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import broadcasts_to, described, for_cuda
from . import reference

DECAYS = ("head", "key", "value")


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
    bonus: Tensor | None = None,
) -> Tensor:
    """o_t = q_t S_t with S_t = exp(g_t) S_{t-1} + k_t v_t^T from S_{-1} = `initial`, or zero.

    q, k [B, L, H, K]; v [B, L, H, V]; g = log_decay broadcasts to [B, L, H] (`decay` "head"),
    [B, L, H, K] ("key") or [B, L, H, V] ("value"), or is None: no decay; `initial` broadcasts to
    [B, H, K, V]. With `read_before` o_t = q_t S_{t-1}. A `bonus` u [H, K] adds
    (q_t . (u * k_t)) v_t (RWKV-6, arXiv:2404.05892). Returns [B, L, H, V] in v's dtype; sums are in
    float32 at least. No decay overflows, -inf included; growth (g > 0) must stay finite over a
    chunk of 64. GLA (arXiv:2312.06635). q, k and v of several dtypes are promoted to one. Heads
    that are shared may be expanded: nothing is copied. Differentiable once.

    TypeError for a dtype, ValueError for a shape, device or `decay` that does not fit.
    """
    return linear_attention_state(
        q, k, v, log_decay, decay=decay, read_before=read_before, initial=initial, bonus=bonus
    )[0]


def linear_attention_state(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
    bonus: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`linear_attention` and the last state [B, H, K, V], which stays in float32 at least."""
    _require_vectors(q, k, v)
    batch, length, heads, keys = q.shape
    values = v.shape[-1]
    if decay not in DECAYS:
        raise ValueError(f'decay must be "head", "key" or "value", not "{decay}"')
    if log_decay is not None:
        widths = {"head": (), "key": (keys,), "value": (values,)}
        shape = (batch, length, heads, *widths[decay])
        log_decay = _expanded("log_decay", log_decay, shape, v)
    if initial is not None:
        initial = _expanded("initial", initial, (batch, heads, keys, values), v)
    if bonus is not None:
        if decay == "value" and log_decay is not None:
            raise ValueError(
                'linear_attention has no bonus with a decay for each value: use decay "head" or '
                '"key", or add the term (q * bonus * k).sum(-1, keepdim=True) * v'
            )
        bonus = _expanded("bonus", bonus, (heads, keys), v)
    common = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    kind = "head" if log_decay is None else decay
    o, last = cast(
        "tuple[Tensor, Tensor]",
        torch.ops.gabc.linear_attention(
            q.to(common), k.to(common), v.to(common), log_decay, initial, bonus, kind, read_before
        ),
    )
    return o.to(v.dtype), last


def _require_vectors(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise TypeError(f"linear_attention needs a floating-point {name}, got {x.dtype}")
        if x.device != v.device:
            raise ValueError(
                f"linear_attention needs q, k and v on one device: {name} is {described(x)}, v is "
                f"{described(v)}"
            )
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        raise ValueError(
            "linear_attention needs q, k [B, L, H, K] and v [B, L, H, V]: q is "
            f"{described(q)}, k is {described(k)}, v is {described(v)}; expand what is shared"
        )
    if not q.shape[3] or not v.shape[3]:
        raise ValueError(
            f"linear_attention needs at least one key and one value: q is {described(q)}, v is "
            f"{described(v)}"
        )


def _expanded(name: str, x: Tensor, shape: tuple[int, ...], v: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"linear_attention needs a floating-point {name}, got {x.dtype}")
    if not broadcasts_to(x, shape) or x.device != v.device:
        raise ValueError(
            f"linear_attention needs a {name} that broadcasts to {tuple(shape)} on {v.device}, "
            f"got {described(x)}"
        )
    # The gradient of what is expanded is a sum, which is not to be one of rounded numbers.
    return (
        x if x.shape == shape else x.to(torch.promote_types(x.dtype, torch.float32)).expand(shape)
    )


@torch.library.custom_op("gabc::linear_attention", mutates_args=(), device_types="cuda")
def _linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor]:
    by = for_cuda("linear_attention", v)
    found = by.forward(q, k, v, log_decay, initial, bonus, decay, read_before)
    return cast("tuple[Tensor, Tensor]", found)


@torch.library.custom_op("gabc::linear_attention_backward", mutates_args=(), device_types="cuda")
def _linear_attention_backward(
    do: Tensor,
    dlast: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    by = for_cuda("linear_attention", v)
    found = by.backward(do, dlast, q, k, v, log_decay, initial, bonus, decay, read_before)
    return cast("tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]", found)


_linear_attention.register_kernel("cpu", reference.forward)
_linear_attention_backward.register_kernel("cpu", reference.backward)


@_linear_attention.register_fake
def _linear_attention_fake(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor]:
    state = (q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    dtype = torch.promote_types(v.dtype, torch.float32)
    return v.new_empty(v.shape), v.new_empty(state, dtype=dtype)


@_linear_attention_backward.register_fake
def _linear_attention_backward_fake(
    do: Tensor,
    dlast: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dg, dinitial, dbonus = (
        q.new_empty(0) if x is None else x.new_empty(x.shape) for x in (log_decay, initial, bonus)
    )
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    return dq, dk, dv, dg, dinitial, dbonus


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.decay, ctx.read_before = inputs[6:]
    ctx.save_for_backward(*inputs[:6])


def _differentiate(ctx: Any, do: Tensor, dlast: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    found = torch.ops.gabc.linear_attention_backward(do, dlast, *saved, ctx.decay, ctx.read_before)
    pairs = zip(saved, found, strict=True)
    return *(None if x is None else dx for x, dx in pairs), None, None


_linear_attention.register_autograd(_differentiate, setup_context=_save)
