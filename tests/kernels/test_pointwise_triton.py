"""Launches of the Triton rope, gated_activation, short_conv and token_shift: settings, refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.gated_activation import triton as gated_activation  # noqa: E402
from gabc.kernels.rope import triton as rope  # noqa: E402
from gabc.kernels.short_conv import triton as short_conv  # noqa: E402
from gabc.kernels.token_shift import triton as token_shift  # noqa: E402


@pytest.mark.parametrize("module", [gated_activation, short_conv, token_shift])
@pytest.mark.parametrize("width", [1, 16, 17, 64, 5000])
def test_settings_have_the_narrowest_tile_that_holds_a_row(module: object, width: int) -> None:
    entries = getattr(module, "SETTINGS")  # noqa: B009
    fitting = [entry.columns for entry in entries if entry.columns >= width]
    chosen = getattr(module, "settings")(width).columns  # noqa: B009
    assert chosen == min(fitting, default=max(entry.columns for entry in entries))


@pytest.mark.parametrize(
    ("width", "rotary", "pairs"), [(2, 2, 16), (64, 64, 32), (128, 32, 64), (512, 512, 256)]
)
def test_rope_settings_hold_both_parts_of_a_head(width: int, rotary: int, pairs: int) -> None:
    assert rope.settings(width, rotary).pairs == pairs
    sizes = rope.constants(width, rotary, is_backward=False)
    assert 2 * sizes["PAIRS"] >= rotary
    assert sizes["REST"] >= width - rotary


@pytest.mark.parametrize(("width", "rotary"), [(514, 514), (600, 64)])
def test_a_head_too_wide_is_an_error(width: int, rotary: int) -> None:
    with pytest.raises(ValueError, match=rf"stops at 512 channels.*got {rotary} of {width}"):
        rope.settings(width, rotary)


def test_tokens_that_do_not_fit_32_bits_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"up to 2\^30"):
        rope.require_countable(torch.empty(2**20, 2**10, 1, 2, device="meta"))


LAUNCHES: dict[str, Callable[[Tensor], object]] = {
    "gated_activation": lambda x: gated_activation.forward(x, x, "silu"),
    "rope": lambda x: rope.forward(
        x[None], None, None, None, x[:, 0, :2].float(), x[:, 0, :2].float(), None, False
    ),
    "short_conv": lambda x: short_conv.forward(x, x[0].T, None, None, False),
    "token_shift": lambda x: token_shift.forward(x, x[0], None),
}


@pytest.mark.parametrize("kernel", LAUNCHES)
def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(TypeError, match=r"takes no torch\.float64"):
        LAUNCHES[kernel](torch.ones(2, 4, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=rf"{kernel} needs CUDA tensors, \w+ is on cpu"):
        LAUNCHES[kernel](torch.ones(2, 4, 4))
