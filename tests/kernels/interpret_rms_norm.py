"""Measure the Triton rms_norm in the interpreter and print one JSON object.

Run as a program with TRITON_INTERPRET=1: the interpreter is chosen for a whole process when triton
is imported. Argument: JSON list of [dtype name, width, rows, largest number of slabs]. Result: for
each case and each output, the error, the error of the reference, and whether a second run gave the
same bits.
"""

from __future__ import annotations

import json
import sys

import torch
from gabc.kernels.rms_norm import triton as kernels
from gabc.kernels.rms_norm.op import Implementation, implementation
from torch import Tensor

EPS = 1e-3

Outputs = dict[str, Tensor]


def poison_scratch() -> None:
    """Make every `torch.empty` return NaN, so that an element left unwritten shows."""
    torch.use_deterministic_algorithms(True)
    # The module replaces its own class to make this a property, which hides it from type checkers.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # noqa: B010
    assert torch.empty(3).isnan().all()


def inputs_of(dtype: torch.dtype, width: int, rows: int) -> Outputs:
    """Rows with gaps between them for x, columns that are not adjacent for dy."""
    generator = torch.Generator().manual_seed(width * 1000 + rows)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": draw(rows, width + 3)[:, :width],
        "residual": draw(rows, width),
        "weight": draw(width),
        "dy": draw(width, rows).t(),
        "dsum": draw(rows, width),
    }


def computed(by: Implementation, x: Outputs) -> Outputs:
    weight = x["weight"]
    y, h = by.add_forward(x["x"], x["residual"], weight, EPS)
    dx, dweight = by.backward(x["dy"], x["x"], weight, EPS, x["dsum"])
    return {
        "y": by.forward(x["x"], weight, EPS),
        "y unweighted": by.forward(x["x"], None, EPS),
        "y of sum": y,
        "sum": h,
        "dx": dx,
        "dweight": dweight,
        "dx unweighted": by.backward(x["dy"], x["x"], None, EPS, None)[0],
    }


def exact(x: Outputs) -> Outputs:
    """The same outputs in float64, gradients by autograd of the plain formula."""
    rows, residual, weight, dy, dsum = (tensor.double() for tensor in x.values())
    rows.requires_grad_()
    weight.requires_grad_()

    def norm(t: Tensor) -> Tensor:
        return t / (t.pow(2).mean(-1, keepdim=True) + EPS).sqrt()

    y, unweighted, h = norm(rows) * weight, norm(rows), rows + residual
    dx, dweight = torch.autograd.grad(y, (rows, weight), dy, retain_graph=True)
    return {
        "y": y.detach(),
        "y unweighted": unweighted.detach(),
        "y of sum": (norm(h) * weight).detach(),
        "sum": h.detach(),
        "dx": dx + dsum,
        "dweight": dweight,
        "dx unweighted": torch.autograd.grad(unweighted, rows, dy)[0],
    }


def relative_rms(got: Tensor, want: Tensor, scale: Tensor) -> float:
    return float((got.double() - want).square().mean().sqrt() / scale.square().mean().sqrt())


def measured(
    dtype: torch.dtype, width: int, rows: int, slabs: int
) -> dict[str, dict[str, float | bool]]:
    kernels.MAX_SLABS = slabs
    x = inputs_of(dtype, width, rows)
    want = exact(x)
    reference = computed(implementation("reference"), x)
    first, second = (computed(implementation("triton"), x) for _ in range(2))
    # A difference or a sum of few terms may cancel; its error is set by the size of its terms.
    dy, n = x["dy"].double(), want["y unweighted"]
    term = dy * n / x["x"].double()
    scales = want | {
        "dx": term * x["weight"].double(),
        "dx unweighted": term,
        "dweight": (dy * n).square().sum(0).sqrt(),
    }
    return {
        name: {
            "error": relative_rms(first[name], want[name], scales[name]),
            "reference_error": relative_rms(reference[name], want[name], scales[name]),
            "repeats": torch.equal(first[name], second[name])
            and first[name].dtype == reference[name].dtype,
        }
        for name in want
    }


def require_zero_weight_gradient_without_rows() -> None:
    x, weight = torch.ones(2, 0, 5), torch.ones(5)
    dx, dweight = kernels.backward(x, x, weight, EPS, None)
    assert dx.shape == x.shape
    assert dweight.equal(torch.zeros(5))


def main() -> None:
    poison_scratch()
    require_zero_weight_gradient_without_rows()
    cases = json.loads(sys.argv[1])
    print(json.dumps([measured(getattr(torch, dtype), *sizes) for dtype, *sizes in cases]))


if __name__ == "__main__":
    main()
