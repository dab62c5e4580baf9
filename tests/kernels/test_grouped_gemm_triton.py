"""The launch of the Triton grouped product: its settings, and what it refuses."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.grouped_gemm import triton as kernels  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tile_holds_the_average_group_if_one_does(dtype: torch.dtype) -> None:
    table = kernels.SETTINGS_32 if dtype == torch.float32 else kernels.SETTINGS_16
    for entry in table:
        assert kernels.settings(dtype, 8 * entry.rows, 8, 768, 2048) == entry
    assert kernels.settings(dtype, 0, 8, 768) == table[0]
    assert kernels.settings(dtype, 10**6, 8, 768) == table[-1]


def test_odd_widths_of_16_bits_take_the_tile_that_does_not_spill() -> None:
    odd = kernels.SETTINGS_ODD
    assert kernels.settings(torch.float16, 4096, 8, 768, 2047) == odd
    assert kernels.weight_settings(torch.float16, 768, 2047) == odd
    assert kernels.settings(torch.float32, 4096, 8, 768, 2047) == kernels.SETTINGS_32[-1]


def test_precision_follows_torch() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert kernels.precision(torch.float32) == "ieee"
        torch.set_float32_matmul_precision("high")
        assert kernels.precision(torch.float32) == "tf32"
        assert kernels.precision(torch.bfloat16) == "ieee"
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_it_does_not_take_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x, offsets = torch.ones(2, 4), torch.tensor([0, 2])
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(TypeError, match=r"takes no torch\.float64 x"):
        kernels.forward(x.double(), torch.ones(1, 4, 3), offsets)
    with pytest.raises(ValueError, match="needs CUDA tensors, x is on cpu"):
        kernels.forward(x, torch.ones(1, 4, 3), offsets)
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(ValueError, match="stops at 1023 experts, got 1024"):
        kernels.forward(x, torch.ones(1024, 4, 3), torch.zeros(1025, dtype=torch.int64))
