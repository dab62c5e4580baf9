"""What a kernel is held against: named inputs, and all outputs and gradients of each of its forms.

`gabc.kernels.NAME.cases` lists the cases of a kernel. The tests run them in Triton's interpreter,
`gabc doctor` on the user's own GPU, both by `differences`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from .dispatch import REFERENCE, TRITON, implementation

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One shape of a kernel.

    `inputs(generator)` draws operands in float64 on the CPU, the gradients of outputs among them.
    `run(implementation, inputs)` calls the functions that `reference` and `triton` share, forward
    and backward, and names every result. `scales(inputs, exact)`, of operands and exact results in
    float64, gives for a result that cancels the size of its terms, which its error is relative to;
    other results are relative to themselves. Operands named in `kept` stay as they are drawn
    (indices, and what has a dtype of its own).
    """

    name: str
    inputs: Callable[[torch.Generator], Tensors]
    run: Callable[[ModuleType, Tensors], Tensors]
    scales: Callable[[Tensors, Tensors], Tensors] = lambda inputs, exact: {}
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Difference:
    """Root mean square errors of one result, relative to the exact one; whether a second run of
    the kernel gave the same bits; and whether it has the reference's dtype."""

    result: str
    error: float
    reference_error: float
    repeats: bool
    has_dtype: bool

    @property
    def excess(self) -> float:
        """The error in units of what is allowed: twice that of plain torch, and no less than the
        unit of float32, below which ratios are chance."""
        return self.error / max(2.0 * self.reference_error, torch.finfo(torch.float32).eps)

    @property
    def is_sound(self) -> bool:
        return self.repeats and self.has_dtype and self.excess <= 1.0


def differences(
    kernel: str, case: Case, dtype: torch.dtype, device: torch.device
) -> Iterator[Difference]:
    """The Triton form and the reference in `dtype`, both against the reference in float64.

    That the reference itself is right is shown by its own tests, against other formulas.
    """
    drawn = case.inputs(torch.Generator().manual_seed(0))
    # Both see the operands as rounded to `dtype`, in memory laid out as drawn.
    rounded = {
        name: x.to(device=device, dtype=x.dtype if name in case.kept else dtype)
        for name, x in drawn.items()
    }
    wide = {name: x if name in case.kept else x.to(torch.float64) for name, x in rounded.items()}
    exact = case.run(implementation(kernel, REFERENCE), wide)
    plain = case.run(implementation(kernel, REFERENCE), rounded)
    first, second = (case.run(implementation(kernel, TRITON), rounded) for _ in range(2))
    if not exact.keys() == plain.keys() == first.keys() == second.keys():
        raise ValueError(f"{kernel} {case.name}: the implementations name different results")
    scales = dict(exact) | dict(case.scales(wide, exact))
    for name, want in exact.items():
        yield Difference(
            name,
            relative(first[name], want, scales[name]),
            relative(plain[name], want, scales[name]),
            torch.equal(first[name], second[name]),
            first[name].dtype == plain[name].dtype,
        )


def relative(got: Tensor, want: Tensor, scale: Tensor) -> float:
    if got.shape != want.shape:
        return torch.inf
    if not want.numel():
        return 0.0
    size = scale.double().square().mean().sqrt().item()
    error = (got.double() - want.double()).square().mean().sqrt().item()
    # A result that is zero has no relative error, and must be exact.
    return error / size if size else (0.0 if error == 0.0 else torch.inf)
