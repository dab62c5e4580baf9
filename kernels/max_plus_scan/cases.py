"""What the two implementations of the max-plus recurrence are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors

# [B, L, *S]: one element, a step of decoding, one chunk, more groups of chunks than one with a last
# chunk that is short.
SHAPES = ((1, 1, 1), (3, 1, 40), (2, 9), (2, 37, 3, 2), (2, 290, 2))


def _drawn(shape: tuple[int, ...], is_real: bool, generator: torch.Generator) -> Tensors:
    """Integers, so that maxima tie often, or real numbers; some i are -inf, and f once.

    The last channel has its first state alone, of one batch -inf. i with time as the last dim in
    memory.
    """

    def draw(*sizes: int) -> Tensor:
        numbers = torch.randn(sizes, generator=generator, dtype=torch.float64) * 2 - 1
        return numbers if is_real else numbers.round()

    initial = draw(*shape[:1], *shape[2:])
    nowhere = torch.rand(shape, generator=generator) < 0.05
    i = torch.where(nowhere, -torch.inf, draw(*shape)).movedim(1, -1).contiguous().movedim(-1, 1)
    f = draw(*shape)
    if len(shape) > 2:
        i[..., -1] = initial[0, ..., -1] = f[:, shape[1] // 2, ..., 0] = -torch.inf
    dm = torch.randn(shape, generator=generator, dtype=torch.float64)
    return {"f": f, "i": i, "initial": initial, "dm": dm}


def _run(by: ModuleType, given: Tensors) -> Tensors:
    m, share = by.forward(given["f"], given["i"], given["initial"], True)
    df, di, dinitial = by.backward(given["dm"], share, given["f"].dtype, given["initial"].dtype)
    return {**_finite(m), "share": share, "df": df, "di": di, "dinitial": dinitial}


def _run_without_share(by: ModuleType, given: Tensors) -> Tensors:
    m, share = by.forward(given["f"], given["i"], given["initial"], False)
    return {**_finite(m), "share": share}


def _finite(m: Tensor) -> dict[str, Tensor]:
    """An infinite number has no error relative to its size."""
    is_finite = m.isfinite()
    return {"m": torch.where(is_finite, m, 0.0), "finite": is_finite.to(m.dtype)}


def cases() -> tuple[Case, ...]:
    return (
        *(Case(f"ties {shape}", partial(_drawn, shape, False), _run) for shape in SHAPES),
        Case("real numbers", partial(_drawn, (1, 131, 3), True), _run),
        Case("without share", partial(_drawn, (2, 9), True), _run_without_share),
    )
