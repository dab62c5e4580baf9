"""What the norms share without Triton: checks of their arguments, and the gates of references."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import described, widened

ACTIVATIONS = ("silu", "sigmoid")


def require_rows(norm: str, x: Tensor, eps: float) -> None:
    """TypeError or ValueError unless the last dim of `x` can be normalised."""
    if not x.is_floating_point():
        raise TypeError(f"{norm} needs a floating-point x, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{norm} needs a last dim of at least one element, x is {described(x)}")
    if not eps >= 0:
        raise ValueError(f"{norm} needs eps >= 0, got {eps}")


def require_affine(norm: str, x: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> None:
    """TypeError or ValueError unless `weight` and `bias` are (width,) or (heads, width)."""
    for name, value in (("weight", weight), ("bias", bias)):
        if value is None:
            continue
        if not value.is_floating_point():
            raise TypeError(f"{norm} needs a floating-point {name}, got {value.dtype}")
        fits = value.ndim in (1, 2) and value.shape == x.shape[-value.ndim :]
        if not fits or value.device != x.device:
            raise ValueError(
                f"{norm} needs a {name} of the shape of the last dim or of the last two (heads, "
                f"width), on the device of x: x is {described(x)}, {name} is {described(value)}"
            )
    if weight is not None and bias is not None and weight.shape != bias.shape:
        raise ValueError(
            f"{norm} needs weight and bias of one shape: weight is {described(weight)}, bias is "
            f"{described(bias)}; expand the smaller one"
        )


def require_gate(
    norm: str, x: Tensor, gate: Tensor | None, activation: str, gate_first: bool
) -> None:
    """TypeError or ValueError unless `gate` can multiply `x` element by element."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"{norm} has the activations 'silu' and 'sigmoid', not {activation!r}")
    if gate is None:
        if gate_first:
            raise ValueError(f"{norm} got gate_first without a gate: give gate, or leave it out")
        return
    if not gate.is_floating_point():
        raise TypeError(f"{norm} needs a floating-point gate, got {gate.dtype}")
    if gate.shape != x.shape or gate.device != x.device:
        raise ValueError(
            f"{norm} needs a gate of the shape and device of x: x is {described(x)}, gate is "
            f"{described(gate)}"
        )


def require_residual(norm: str, x: Tensor, residual: Tensor) -> None:
    """ValueError unless `x + residual` broadcasts and promotes nothing."""
    if (residual.shape, residual.dtype, residual.device) != (x.shape, x.dtype, x.device):
        raise ValueError(
            f"add_{norm} adds tensors of one shape, dtype and device: x is {described(x)}, "
            f"residual is {described(residual)}"
        )


def activated(gate: Tensor, activation: str, dtype: torch.dtype) -> Tensor:
    """`silu(gate)` or `sigmoid(gate)` in `dtype`, computed in float32 at least."""
    wide = widened(gate).to(dtype)
    return wide * torch.sigmoid(wide) if activation == "silu" else torch.sigmoid(wide)


def activation_slope(gate: Tensor, activation: str, dtype: torch.dtype) -> Tensor:
    """The derivative of `activated` at `gate`, with `s = sigmoid(gate)`: `s + gate s (1 - s)` of
    silu, `s (1 - s)` of sigmoid."""
    wide = widened(gate).to(dtype)
    s = torch.sigmoid(wide)
    steep = s * torch.sigmoid(-wide)
    return s + wide * steep if activation == "silu" else steep
