"""The launch of the Triton cross-entropies: their settings, and what they refuse."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.cross_entropy import triton as kernels  # noqa: E402
from gabc.kernels.cross_entropy.options import Options  # noqa: E402
from gabc.kernels.linear_cross_entropy import triton as linear  # noqa: E402


@pytest.mark.parametrize("vocabulary", [1, 64, 65, 4096])
def test_settings_cover_a_vocabulary_with_the_smallest_tile(vocabulary: int) -> None:
    blocks = [entry.block for entry in kernels.SETTINGS if entry.block >= vocabulary]
    assert kernels.settings(vocabulary).block == min(blocks)


def test_a_large_vocabulary_takes_several_of_the_widest_tiles() -> None:
    assert kernels.settings(4097) == kernels.settings(256_000) == kernels.SETTINGS[-1]


def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    x, target = torch.ones(2, 4), torch.tensor([0, 1])
    with pytest.raises(TypeError, match=r"takes no torch\.float64 logits"):
        kernels.forward(x.double(), target, Options())
    with pytest.raises(ValueError, match="needs CUDA tensors, logits is on cpu"):
        kernels.forward(x, target, Options())
    with pytest.raises(TypeError, match=r"takes no torch\.float64 hidden"):
        linear.forward(x.double(), x, target, Options(), 1, True, True)
    with pytest.raises(ValueError, match="needs CUDA tensors, hidden is on cpu"):
        linear.forward(x, x, target, Options(), 1, True, True)


def test_logits_whose_columns_are_not_adjacent_are_not_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    x, row = torch.ones(4, 2).t(), torch.ones(2)
    with pytest.raises(ValueError, match=r"columns are adjacent, got strides \(1, 2\)"):
        kernels.backward(row, None, x, torch.tensor([0, 1]), row, Options(), True)
