"""The launch of the Triton rms_norm: its settings, and what it refuses."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.rms_norm import triton as kernels  # noqa: E402


@pytest.mark.parametrize("width", [1, 16, 17, 768, 16384])
def test_settings_cover_a_width_with_the_smallest_block(width: int) -> None:
    blocks = [entry.block for entry in kernels.SETTINGS if entry.block >= width]
    assert kernels.settings(width).block == min(blocks)


def test_a_row_too_wide_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"stops at 16384 columns, got 16385"):
        kernels.settings(16385)


def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(TypeError, match=r"takes no torch\.float64 x"):
        kernels.forward(torch.ones(2, 4, dtype=torch.float64), None, 1e-5)
    with pytest.raises(ValueError, match="needs CUDA tensors, x is on cpu"):
        kernels.forward(torch.ones(2, 4), None, 1e-5)
