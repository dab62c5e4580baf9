"""Gated activations as torch operators: `gabc::gated_activation`, `gabc::packed_gated_activation`.

They are registered when this module is imported, so a first call may already be inside
`torch.compile(fullgraph=True)`. The device chooses the implementation: the reference on a CPU,
Triton on CUDA, and on CUDA in float64, which the float32 kernels cannot keep, the reference again.
Autocast does not change them: they work in the dtype that the projections before them gave.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..dispatch import described, for_cuda
from . import reference

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu_squared", "sigmoid", "identity")


def gated_activation(gate: Tensor, up: Tensor, activation: str = "silu") -> Tensor:
    """`activation(gate) * up`, elementwise (Shazeer 2020, arXiv 2002.05202, equation 5).

    gate, up: (..., width), floating point, of one shape, dtype and device; activation: one of
    `ACTIVATIONS`. Returns (..., width) in that dtype, contiguous. Computed in float32, or in
    float64 if the operands are float64, and rounded once. The backward keeps gate and up alone.

    TypeError for a dtype, ValueError for a shape, device or activation that does not fit.
    """
    _require_valid("gated_activation", gate, activation)
    if (up.shape, up.dtype, up.device) != (gate.shape, gate.dtype, gate.device):
        raise ValueError(
            "gated_activation multiplies tensors of one shape, dtype and device: gate is "
            f"{described(gate)}, up is {described(up)}"
        )
    return cast(Tensor, torch.ops.gabc.gated_activation(gate, up, activation))


def packed_gated_activation(x: Tensor, activation: str = "silu", gate_first: bool = True) -> Tensor:
    """`gated_activation` of the two halves of `x`, the product of one projection to both.

    x: (..., 2 width); the first half is the gate, or with `gate_first=False` the second, as in
    `torch.nn.functional.glu`. Returns (..., width); the rest is as in `gated_activation`.
    """
    _require_valid("packed_gated_activation", x, activation)
    if x.shape[-1] % 2:
        raise ValueError(
            f"packed_gated_activation halves the last dim, which must be even: x is {described(x)}"
        )
    return cast(Tensor, torch.ops.gabc.packed_gated_activation(x, activation, gate_first))


def _require_valid(name: str, x: Tensor, activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"{name} knows {', '.join(ACTIVATIONS)}, not {activation!r}")
    if not x.is_floating_point():
        raise TypeError(f"{name} needs floating-point operands, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{name} needs a last dim of at least one element, got {described(x)}")


@torch.library.custom_op("gabc::gated_activation", mutates_args=(), device_types="cuda")
def _gated_activation(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    return cast("Tensor", for_cuda("gated_activation", gate).forward(gate, up, activation))


@torch.library.custom_op("gabc::gated_activation_backward", mutates_args=(), device_types="cuda")
def _gated_activation_backward(
    dy: Tensor, gate: Tensor, up: Tensor, activation: str
) -> tuple[Tensor, Tensor]:
    pair = for_cuda("gated_activation", gate).backward(dy, gate, up, activation)
    return cast("tuple[Tensor, Tensor]", pair)


@torch.library.custom_op("gabc::packed_gated_activation", mutates_args=(), device_types="cuda")
def _packed_gated_activation(x: Tensor, activation: str, gate_first: bool) -> Tensor:
    y = for_cuda("gated_activation", x).packed_forward(x, activation, gate_first)
    return cast("Tensor", y)


@torch.library.custom_op(
    "gabc::packed_gated_activation_backward", mutates_args=(), device_types="cuda"
)
def _packed_gated_activation_backward(
    dy: Tensor, x: Tensor, activation: str, gate_first: bool
) -> Tensor:
    dx = for_cuda("gated_activation", x).packed_backward(dy, x, activation, gate_first)
    return cast("Tensor", dx)


_gated_activation.register_kernel("cpu", reference.forward)
_gated_activation_backward.register_kernel("cpu", reference.backward)
_packed_gated_activation.register_kernel("cpu", reference.packed_forward)
_packed_gated_activation_backward.register_kernel("cpu", reference.packed_backward)


@_gated_activation.register_fake
def _gated_activation_fake(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    return gate.new_empty(gate.shape)


@_gated_activation_backward.register_fake
def _gated_activation_backward_fake(
    dy: Tensor, gate: Tensor, up: Tensor, activation: str
) -> tuple[Tensor, Tensor]:
    return gate.new_empty(gate.shape), up.new_empty(up.shape)


@_packed_gated_activation.register_fake
def _packed_gated_activation_fake(x: Tensor, activation: str, gate_first: bool) -> Tensor:
    return x.new_empty((*x.shape[:-1], x.shape[-1] // 2))


@_packed_gated_activation_backward.register_fake
def _packed_gated_activation_backward_fake(
    dy: Tensor, x: Tensor, activation: str, gate_first: bool
) -> Tensor:
    return x.new_empty(x.shape)


# The context of an autograd node has no type of its own in torch.
def _save(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
    gate, up, ctx.activation = inputs
    ctx.save_for_backward(gate, up)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
    gate, up = ctx.saved_tensors
    dgate, dup = torch.ops.gabc.gated_activation_backward(dy, gate, up, ctx.activation)
    return dgate, dup, None


def _save_packed(ctx: Any, inputs: tuple[Tensor, str, bool], output: Tensor) -> None:
    x, ctx.activation, ctx.gate_first = inputs
    ctx.save_for_backward(x)


def _differentiate_packed(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
    (x,) = ctx.saved_tensors
    backward = torch.ops.gabc.packed_gated_activation_backward
    return backward(dy, x, ctx.activation, ctx.gate_first), None, None


_gated_activation.register_autograd(_differentiate, setup_context=_save)
_packed_gated_activation.register_autograd(_differentiate_packed, setup_context=_save_packed)
