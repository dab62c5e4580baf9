"""A parallel form against its loop: outputs and every gradient, and what it allocates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 100, 257)

Results = tuple[Tensor, ...]
Function = Callable[..., Results]


def outputs_and_gradients(
    function: Function, arguments: Mapping[str, Tensor]
) -> tuple[Results, dict[str, Tensor]]:
    """The results, and the gradient of a fixed random sum of them for each argument."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in arguments.items()}
    results = function(**leaves)
    generator = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(x.shape, dtype=torch.float64, generator=generator).to(x.dtype) for x in results
    ]
    found = torch.autograd.grad(results, list(leaves.values()), weights)
    return tuple(x.detach() for x in results), dict(zip(leaves, found, strict=True))


def assert_equal_to_the_loop(
    parallel: Function, loop: Function, arguments: Mapping[str, Tensor], tolerance: float = 1e-10
) -> None:
    """Finite, and within `tolerance` of the loop in float64, relative to each one's largest."""
    results, gradients = outputs_and_gradients(parallel, arguments)
    expected, expected_gradients = outputs_and_gradients(loop, arguments)
    for i, (x, y) in enumerate(zip(results, expected, strict=True)):
        _assert_near(f"result {i}", x, y, tolerance)
    for name, gradient in gradients.items():
        _assert_near(f"the gradient of {name}", gradient, expected_gradients[name], tolerance)


def _assert_near(what: str, x: Tensor, y: Tensor, tolerance: float) -> None:
    assert x.shape == y.shape, what
    assert x.dtype == y.dtype, what
    assert (torch.isfinite(x) == torch.isfinite(y)).all(), f"{what}: not finite elsewhere"
    assert (x[~torch.isfinite(x)] == y[~torch.isfinite(y)]).all(), f"{what}: NaN, or other infinity"
    x, y = x[torch.isfinite(x)], y[torch.isfinite(y)]
    largest = float(y.abs().max()) if y.numel() else 0.0
    error = float((x - y).abs().max()) if y.numel() else 0.0
    assert error <= tolerance * largest, f"{what}: off by {error} of {largest}"


def assert_as_exact_as_the_loop(
    parallel: Function, loop: Function, arguments: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    """In `dtype`, at most twice the loop's error and one rounding of float32.

    Root mean squares of the difference from the loop in float64. The loop's states are in float32
    at least, as generated code has them; its error may be the last rounding alone.
    """
    narrow = {name: x.to(dtype) for name, x in arguments.items()}
    exact = outputs_and_gradients(loop, {name: x.double() for name, x in narrow.items()})

    def wide_loop(**leaves: Tensor) -> Results:
        found = loop(**{name: x.float() for name, x in leaves.items()})
        return found[0].to(dtype), *found[1:]

    ours, theirs = (outputs_and_gradients(f, narrow) for f in (parallel, wide_loop))
    names = [*(f"result {i}" for i in range(len(ours[0]))), *(f"d{name}" for name in narrow)]
    for name, x, y, z in zip(names, *(_all(found) for found in (ours, theirs, exact)), strict=True):
        allowed = 2 * _rms(y.double() - z) + torch.finfo(torch.float32).eps * _rms(z)
        assert _rms(x.double() - z) <= allowed, name


def _all(found: tuple[Results, dict[str, Tensor]]) -> Sequence[Tensor]:
    return [*found[0], *found[1].values()]


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, Tensor):
                self.numel = max(self.numel, x.untyped_storage().nbytes() // x.element_size())
        return result
