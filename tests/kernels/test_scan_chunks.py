"""How the Triton scans along time cut it into chunks, and what they refuse."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.linear_scan import triton as linear  # noqa: E402
from gabc.kernels.max_plus_scan import triton as max_plus  # noqa: E402
from gabc.kernels.scan_lanes import (  # noqa: E402
    LANES_WANTED,
    SHORTEST_CHUNK,
    UNROLL,
    Chunks,
    chunked,
    four_dims,
    settings,
)


@pytest.mark.parametrize("length", [1, 31, 32, 127, 128, 2048, 5000, 1 << 20])
@pytest.mark.parametrize("channels", [1, 7, 1024, 16384, 1 << 15, 1 << 16, 1 << 22])
def test_chunks_cover_time_and_are_no_more_than_steps_in_each(length: int, channels: int) -> None:
    chunks = chunked(length, channels)
    assert chunks.size * (chunks.count - 1) < length <= chunks.size * chunks.count
    if chunks.count > 1:
        assert chunks.size % UNROLL == 0
        assert chunks.size >= SHORTEST_CHUNK
        assert chunks.count <= chunks.size + 2
        # The carry over chunks runs with the settings that its specimens are compiled for.
        assert settings(channels, False) == settings(1, False)
    else:
        assert length < 4 * SHORTEST_CHUNK or 4 * channels > LANES_WANTED


def test_few_channels_over_a_long_time_are_cut() -> None:
    assert chunked(2048, 16384) == Chunks(256, 8)
    assert chunked(1 << 16, 1) == Chunks(256, 256)
    assert chunked(8192, 1 << 16) == Chunks(8192, 1)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 5, 3, 4), (2, 5, 3, 4, 6), (2, 0, 3)])
def test_dims_after_time_become_two(shape: tuple[int, ...]) -> None:
    x = torch.arange(torch.Size(shape).numel()).reshape(shape)
    dims = four_dims(x)
    assert dims.ndim == 4
    assert dims.shape[:2] == shape[:2]
    assert torch.equal(dims.flatten(), x.flatten())


def test_a_broadcast_operand_is_not_copied() -> None:
    a = torch.ones(2, 5, 3, 1)
    dims = four_dims(a.expand(2, 5, 3, 64))
    assert dims.data_ptr() == a.data_ptr()
    assert dims.stride()[2:] == (1, 0)


def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    x, state = torch.ones(2, 4, 3), torch.ones(2, 3)
    with pytest.raises(
        TypeError, match=r"linear_scan computes in float32 and takes no .*float64 a"
    ):
        linear.forward(x.double(), x, state)
    with pytest.raises(ValueError, match="linear_scan needs CUDA tensors, dh is on cpu"):
        linear.backward(x, x, x, state, True)
    with pytest.raises(ValueError, match="linear_scan needs CUDA tensors, a is on cpu"):
        linear.forward(x.cfloat(), x.cfloat(), state.cfloat())
    with pytest.raises(ValueError, match="max_plus_scan needs CUDA tensors, f is on cpu"):
        max_plus.forward(x, x, state, False)
