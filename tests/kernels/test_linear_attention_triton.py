"""The launch of the Triton linear_attention: its settings, and what it refuses."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.launch import DTYPES  # noqa: E402
from gabc.kernels.linear_attention import triton as kernels  # noqa: E402
from gabc.kernels.linear_attention.chunks import CHANNEL, HEAD, NO_DECAY  # noqa: E402


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [NO_DECAY, HEAD, CHANNEL])
def test_strides_fill_chunks_and_products_have_sixteen_rows(dtype: torch.dtype, kind: int) -> None:
    for length in (1, 16, 17, 10_000):
        chosen = kernels.settings(dtype, kind, length)
        assert chosen.steps % chosen.stride == 0
        # A product of tensor cores has at least 16 of everything; blocks are joined in pairs.
        for size in (chosen.steps, chosen.stride, chosen.tile, chosen.state_tile):
            assert size >= 16
            assert size & (size - 1) == 0


def test_lengths_share_settings_so_that_nothing_is_compiled_again() -> None:
    found = {kernels.settings(torch.bfloat16, CHANNEL, length) for length in range(1, 200)}
    assert len(found) == 2


def test_what_it_cannot_take_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(q: torch.Tensor, v: torch.Tensor) -> None:
        kernels.forward(q, q, v, None, None, None, "head", False)

    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    x = torch.ones(1, 2, 1, 4)
    with pytest.raises(TypeError, match=r"takes no torch\.float64 q"):
        call(x.double(), x)
    with pytest.raises(ValueError, match="needs CUDA tensors, q is on cpu"):
        call(x, x)
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(TypeError, match=r"q, k and v of one dtype, got torch\.float16"):
        call(x.half(), x)
    with pytest.raises(ValueError, match="up to 256 keys and values, got 257"):
        call(torch.ones(1, 2, 1, 257), x)
