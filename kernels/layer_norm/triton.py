"""LayerNorm in Triton: the kernels of `norm_kernels` with centring.

Float16, bfloat16 and float32 on a CUDA device.
"""

from __future__ import annotations

from torch import Tensor

from .. import norm_rows
from ..norm_rows import Form, or_empty


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> Tensor:
    """As `reference.forward`."""
    form = Form("layer_norm", activation, gate_first)
    return norm_rows.forward(form, x, None, weight, bias, gate, eps)[0]


def add_forward(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """As `reference.add_forward`."""
    y, h = norm_rows.forward(Form("layer_norm"), x, residual, weight, bias, None, eps)
    assert h is not None
    return y, h


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dsum: Tensor | None = None,
    gate: Tensor | None = None,
    activation: str = "silu",
    gate_first: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.backward`."""
    form = Form("layer_norm", activation, gate_first)
    dx, dweight, dbias, dgate = norm_rows.backward(form, dy, x, weight, bias, gate, dsum, eps)
    return dx, or_empty(dweight, x), or_empty(dbias, x), or_empty(dgate, x)
