"""The delta rule as torch operators: `gabc::delta_rule` and `gabc::delta_rule_backward`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: operands keep their dtypes, sums are in float32 at least.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import broadcasts_to, described, for_cuda
from . import reference
from .chunks import chunk_count

Outputs = tuple[Tensor, Tensor, Tensor]


def delta_rule(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> Tensor:
    """o_t = q_t S_t with S_t = diag(exp g_t) S_{t-1} + r_t (l_t^T S_{t-1}) + k_t v_t^T.

    S_{-1} is `initial`, which broadcasts to [B, H, K, V], or zero. q, l, r, k [B, L, H, K]; v
    [B, L, H, V]; g = log_decay broadcasts to [B, L, H] (`decay` "head") or [B, L, H, K] ("key"), or
    is None: no decay. With `read_before` o_t = q_t S_{t-1}. Returns [B, L, H, V] in v's dtype; sums
    are in float32 at least. No decay overflows, -inf included; growth (g > 0) must stay finite over
    a chunk of 32 steps. DeltaNet has l = k, r = -beta k, k = beta k.

    TypeError for a dtype and ValueError for a shape, device or `decay` that does not fit.
    """
    return delta_rule_state(
        q, l, r, k, v, log_decay, decay=decay, read_before=read_before, initial=initial
    )[0]


def delta_rule_state(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    *,
    decay: str = "head",
    read_before: bool = False,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`delta_rule` and the last state [B, H, K, V], which stays in float32 at least.

    A step of decoding is a call with L = 1 and the state of the call before it as `initial`.
    """
    operands = {"q": q, "l": l, "r": r, "k": k, "v": v}
    _require_valid(operands, log_decay, initial, decay)
    batch, length, heads, keys = k.shape
    gates = (batch, length, heads) if decay == "head" else (batch, length, heads, keys)
    g = _expanded("log_decay", log_decay, gates, v)
    state = _expanded("initial", initial, (batch, heads, keys, v.shape[-1]), v)
    fitted = (_fitted(x, v) for x in operands.values())
    o, final, _ = cast("Outputs", torch.ops.gabc.delta_rule(*fitted, g, state, read_before))
    return o, final


def _require_valid(
    operands: dict[str, Tensor], log_decay: Tensor | None, initial: Tensor | None, decay: str
) -> None:
    if decay not in ("head", "key"):
        raise ValueError(f'decay must be "head" or "key", not "{decay}"')
    v = operands["v"]
    for name, x in {**operands, "log_decay": log_decay, "initial": initial}.items():
        if x is None:
            continue
        if not x.is_floating_point():
            raise TypeError(f"delta_rule needs a floating-point {name}, got {x.dtype}")
        if x.device != v.device:
            raise ValueError(
                f"delta_rule needs operands on one device: v is on {v.device}, {name} is "
                f"{described(x)}"
            )
    k = operands["k"]
    if k.ndim != 4 or v.ndim != 4 or k.shape[:3] != v.shape[:3] or 0 in (k.shape[3], v.shape[3]):
        raise ValueError(
            "delta_rule needs k [B, L, H, K] and v [B, L, H, V] with K and V of at least 1: k is "
            f"{described(k)}, v is {described(v)}"
        )
    for name in "qlr":
        if operands[name].shape != k.shape:
            raise ValueError(
                f"delta_rule needs q, l, r and k of one shape: k is {described(k)}, {name} is "
                f"{described(operands[name])}"
            )


def _expanded(name: str, x: Tensor | None, shape: tuple[int, ...], v: Tensor) -> Tensor | None:
    if x is None:
        return None
    if not broadcasts_to(x, shape):
        raise ValueError(
            f"delta_rule needs a {name} that broadcasts to {shape}, it is {described(x)}"
        )
    return _fitted(x, v).expand(shape)


def _fitted(x: Tensor, v: Tensor) -> Tensor:
    """`x` in float64 exactly where v is: as wide as the sums are."""
    if v.dtype == torch.float64:
        return x.to(torch.float64)
    return x.to(torch.float32) if x.dtype == torch.float64 else x


@torch.library.custom_op("gabc::delta_rule", mutates_args=(), device_types="cuda")
def _delta_rule(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    found = for_cuda("delta_rule", v).forward(q, l, r, k, v, g, initial, read_before)
    return cast("Outputs", found)


@torch.library.custom_op("gabc::delta_rule_backward", mutates_args=(), device_types="cuda")
def _delta_rule_backward(
    do: Tensor,
    dfinal: Tensor,
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    states: Tensor,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    found = for_cuda("delta_rule", v).backward(
        do, dfinal, q, l, r, k, v, g, initial, states, read_before
    )
    return cast("reference.Gradients", found)


_delta_rule.register_kernel("cpu", reference.forward)
_delta_rule_backward.register_kernel("cpu", reference.backward)


@_delta_rule.register_fake
def _delta_rule_fake(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, heads, keys = k.shape
    wide = torch.float64 if v.dtype == torch.float64 else torch.float32
    final = v.new_empty((batch, heads, keys, v.shape[3]), dtype=wide)
    count = chunk_count(length, keys)
    return v.new_empty(v.shape), final, final.new_empty((batch, heads, count, *final.shape[2:]))


@_delta_rule_backward.register_fake
def _delta_rule_backward_fake(
    do: Tensor,
    dfinal: Tensor,
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    states: Tensor,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dl, dr, dk, dv = (x.new_empty(x.shape) for x in (q, l, r, k, v))
    dg, dinitial = (v.new_empty(0) if x is None else x.new_empty(x.shape) for x in (g, initial))
    return dq, dl, dr, dk, dv, dg, dinitial


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    *operands, ctx.read_before = inputs
    ctx.save_for_backward(*operands, output[2])
    ctx.mark_non_differentiable(output[2])


def _differentiate(
    ctx: Any, do: Tensor, dfinal: Tensor, dstates: Tensor
) -> tuple[Tensor | None, ...]:
    *operands, g, initial, states = ctx.saved_tensors
    *found, dg, dinitial = torch.ops.gabc.delta_rule_backward(
        do, dfinal, *operands, g, initial, states, ctx.read_before
    )
    return (
        *found,
        None if g is None else dg,
        None if initial is None else dinitial,
        None,
    )


_delta_rule.register_autograd(_differentiate, setup_context=_save)
