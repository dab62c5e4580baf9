"""Which implementation of a kernel runs: by name when asked, else by device, and never another.

Each kernel `gabc.kernels.NAME` has two modules that define the same functions: `reference`, plain
torch, says what they mean; `triton` is the fused form. Neither imports the other.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

REFERENCE, TRITON = "reference", "triton"


def kernels() -> tuple[str, ...]:
    """The names of all kernels: the folders beside this file that register operators."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/op.py")))


def implementation(kernel: str, name: str) -> ModuleType:
    """The implementation of a kernel called `reference` or `triton`.

    ModuleNotFoundError if it is `triton` and triton is not installed; ValueError for another name.
    """
    if name not in (REFERENCE, TRITON):
        raise ValueError(f"{kernel} has the implementations 'reference' and 'triton', not {name!r}")
    if name == TRITON and importlib.util.find_spec("triton") is None:
        raise ModuleNotFoundError(
            f"the Triton {kernel} needs the package triton, which is not installed: "
            "pip install 'gabc[gpu]'",
            name="triton",
        )
    return importlib.import_module(f"gabc.kernels.{kernel}.{name}")


def for_cuda(kernel: str, x: Tensor) -> ModuleType:
    """Triton; of float64 and complex128, which the float32 kernels cannot keep, the reference."""
    is_wide = x.dtype in (torch.float64, torch.complex128)
    return implementation(kernel, REFERENCE if is_wide else TRITON)


def for_device(kernel: str, x: Tensor) -> ModuleType:
    """The reference on a CPU, else `for_cuda`."""
    return implementation(kernel, REFERENCE) if x.device.type == "cpu" else for_cuda(kernel, x)


def broadcasts_to(x: Tensor, shape: Sequence[int]) -> bool:
    """Whether `x.expand(shape)` exists."""
    pairs = zip(reversed(x.shape), reversed(shape), strict=False)
    return x.ndim <= len(shape) and all(size in (1, full) for size, full in pairs)


def described(x: Tensor) -> str:
    """A tensor in an error message."""
    return f"{tuple(x.shape)} {x.dtype} on {x.device}"


def widened(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is that: what references compute in."""
    return x if x.dtype == torch.float64 else x.float()


def autocasted(x: Tensor) -> Tensor:
    """`x` as a product takes it under autocast: in its dtype, unless `x` is float64."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device))
