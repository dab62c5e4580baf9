"""The launch of the Triton norms: settings, views of the operands, and what is refused."""

from __future__ import annotations

import pytest
import torch
from gabc.kernels.dispatch import implementation
from torch import Tensor

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels import norm_rows  # noqa: E402


@pytest.mark.parametrize("width", [1, 16, 17, 768, 16384])
def test_settings_cover_a_width_with_the_smallest_block(width: int) -> None:
    blocks = [entry.block for entry in norm_rows.SETTINGS if entry.block >= width]
    assert norm_rows.settings("rms_norm", width).block == min(blocks)


def test_a_row_too_wide_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"layer_norm .* stops at 16384 columns, got 16385"):
        norm_rows.settings("layer_norm", 16385)


@pytest.mark.parametrize("norm", ["rms_norm", "layer_norm"])
def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    forward, absent = implementation(norm, "triton").forward, [None] * (1 + (norm == "layer_norm"))
    with pytest.raises(TypeError, match=r"takes no torch\.float64 x"):
        forward(torch.ones(2, 4, dtype=torch.float64), *absent, 1e-5)
    with pytest.raises(ValueError, match="needs CUDA tensors, x is on cpu"):
        forward(torch.ones(2, 4), *absent, 1e-5)


def columns(*shape: int, start: int = 0) -> Tensor:
    """A view of the shape whose rows of heads lie in wider rows, as cut from a fused projection."""
    whole = torch.arange(2.0 * torch.Size(shape).numel()).view(*shape[:-2], -1)
    heads = shape[-2] * shape[-1]
    return whole[..., start : start + heads].unflatten(-1, shape[-2:])


def test_whole_rows_have_one_head_and_are_not_copied() -> None:
    x = torch.randn(2, 5, 3, 8)
    views = norm_rows.split(x, None, x[..., :4].repeat(1, 1, 1, 2), None)
    assert views.x.shape == (30, 1, 8)
    assert views.x.data_ptr() == x.data_ptr()
    assert views.strides() == [8, 8, 8, 8, 0, 0]
    assert views.others[1] is None


@pytest.mark.parametrize("heads_of_weight", [None, 3])
def test_heads_of_a_wider_projection_are_not_copied(heads_of_weight: int | None) -> None:
    x, gate = columns(2, 5, 3, 8), columns(2, 5, 3, 8, start=24)
    weight = torch.ones(8) if heads_of_weight is None else torch.ones(heads_of_weight, 8)
    views = norm_rows.split(x, weight, gate)
    assert (views.x.data_ptr(), views.strides()) == (x.data_ptr(), [48, 8, 48, 8])
    assert views.others[0] is not None
    assert views.others[0].data_ptr() == gate.data_ptr()
    assert views.per_head == (heads_of_weight is not None)
    assert torch.equal(views.x, x.reshape(10, 3, 8))


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(3, 5, 8).transpose(0, 1)[:2],  # two rows of three heads
        torch.randn(8, 4, 3).movedim(0, -1),  # columns apart
        torch.randn(2, 3, 5, 8).transpose(1, 2),  # three strides
    ],
)
def test_what_two_strides_cannot_reach_is_copied(x: Tensor) -> None:
    views = norm_rows.split(x, None)
    assert views.x.shape[1:] == (1, 8)
    assert torch.equal(views.x[:, 0], x.reshape(-1, 8))
    assert views.x.stride(-1) == 1
