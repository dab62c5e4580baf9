"""What the two implementations of the linear recurrence are compared on."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ..cases import Case, Tensors

# [B, L, *S]: one element, a step of decoding, one chunk, more groups of chunks than one with a last
# chunk that is short.
SHAPES = ((1, 1, 1), (3, 1, 40), (2, 9), (2, 290, 2))
COMPLEX_SHAPES = ((2, 9), (1, 131, 3))
SHARED_SHAPE = (2, 37, 3, 2)


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensors:
    """Decays of both signs, some zero and some 1.5; in every other channel so slow that a chunk's
    product counts. b with time as the last dim in memory."""

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, dtype=torch.float64)

    kinds = torch.rand(shape, generator=generator)
    a = torch.where(kinds < 0.05, 0.0, torch.where(kinds > 0.95, 1.5, draw(*shape).tanh()))
    if len(shape) > 2:
        a[..., 1::2] = (1.0 - kinds * kinds / 8.0)[..., 1::2] * a[..., 1::2].sign().add(0.5).sign()
    return {
        "a": a,
        "b": draw(*shape[:1], *shape[2:], shape[1]).movedim(-1, 1),
        "initial": draw(*shape[:1], *shape[2:]),
        "dh": draw(*shape),
    }


def _shared(generator: torch.Generator) -> Tensors:
    """One decay for all of the last dim, one initial state, and the gradient of a sum over time."""
    given = _drawn(SHARED_SHAPE, generator)
    a, initial, dh = given["a"], given["initial"], given["dh"]
    return {
        "a": a[..., :1].expand_as(a),
        "b": given["b"],
        "initial": initial[0, 0, 0].expand_as(initial),
        "dh": dh[:, :1].expand_as(dh),
    }


def _drawn_complex(shape: tuple[int, ...], generator: torch.Generator) -> Tensors:
    """Pairs of real and imaginary part; decays so slow that a chunk's product counts."""
    given = _drawn((*shape, 2), generator)
    kept = torch.rand(shape, generator=generator) / 16.0 + 15.0 / 16.0
    angle = torch.randn(shape, generator=generator)
    a = torch.view_as_real(torch.polar(kept.double(), angle.double()))
    return {**given, "a": a}


def _run(by: ModuleType, given: Tensors) -> Tensors:
    h = by.forward(given["a"], given["b"], given["initial"])
    da, db, dinitial = by.backward(given["dh"], given["a"], h, given["initial"], True)
    return {"h": h, "da": da, "db": db, "dinitial": dinitial}


def _run_without_da(by: ModuleType, given: Tensors) -> Tensors:
    none = given["b"].new_empty(given["b"].shape)
    _, db, dinitial = by.backward(given["dh"], given["a"], none, given["initial"], False)
    return {"db": db, "dinitial": dinitial}


def _run_complex(by: ModuleType, given: Tensors) -> Tensors:
    numbers = {
        name: torch.view_as_complex((x if x.dtype == torch.float64 else x.float()).contiguous())
        for name, x in given.items()
    }
    return {name: torch.view_as_real(x) for name, x in _run(by, numbers).items()}


def _overflowing(generator: torch.Generator) -> Tensors:
    """Products and sums of a chunk of 32 overflow, where all states and gradients are finite."""
    b = torch.randn((1, 100, 4), generator=generator, dtype=torch.float64)
    dh = torch.randn(b.shape, generator=generator, dtype=torch.float64)
    a = torch.rand(b.shape, generator=generator, dtype=torch.float64)
    initial = torch.randn((1, 4), generator=generator, dtype=torch.float64)
    # Zero times huge products.
    a[..., 0], b[..., 0], dh[..., 0], initial[:, 0] = 1e4, 0.0, 0.0, 0.0
    # The same between two resets: infinity times zero.
    a[:, 9:23, 1], b[:, 9:22, 1], dh[:, 10:22, 1] = 1e4, 0.0, 0.0
    a[:, [9, 22], 1] = 0.0
    # 1 = 16 - 15 at every step, and backwards 1 = 16 (1 - 15 / 16): infinity less infinity.
    a[:, 30:66, 2], b[:, 30:66, 2], dh[:, 30:66, 2] = 16.0, -15.0, -15.0 / 16.0
    a[:, 29, 2], b[:, 29, 2] = 0.0, 1.0
    a[:, 66, 2], dh[:, 66, 2], a[:, 67, 2] = 1.0, 1.0, 0.0
    return {"a": a, "b": b, "initial": initial, "dh": dh}


def cases() -> tuple[Case, ...]:
    return (
        *(Case(f"{shape}", partial(_drawn, shape), _run) for shape in SHAPES),
        Case("without da", partial(_drawn, (2, 9)), _run_without_da),
        Case("shared", _shared, _run),
        Case("overflowing", _overflowing, _run),
        *(
            Case(f"complex {shape}", partial(_drawn_complex, shape), _run_complex)
            for shape in COMPLEX_SHAPES
        ),
    )
