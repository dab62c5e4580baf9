"""Groups as torch operators, for which the device chooses the implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import launch, plain
from .plain import as_tuple
from .spec import Fused, dtypes_of, shape_of

NAMESPACE = "gabc_generated"

DEFINED: dict[str, Fused] = {}
"""The groups registered in this process, by the names of their operators."""


def register(fused: Fused) -> Any:
    """The group as a torch operator, differentiable; the device chooses the implementation.

    The name ends with a hash of the group's text, so one registered before is the same.
    """
    if fused.name not in DEFINED:
        _Operators(fused).define()
        DEFINED[fused.name] = fused
    return getattr(getattr(torch.ops, NAMESPACE), fused.name).default


@dataclass(frozen=True)
class _Operators:
    """The forward of a group, (*operands, *numbers), and its backward, with gradients in front."""

    fused: Fused

    def define(self) -> None:
        fused = self.fused
        operands = [f"Tensor {operand.name}" for operand in fused.operands]
        operands += [f"float {name}" for name in fused.numbers]
        forward = torch.library.custom_op(
            f"{NAMESPACE}::{fused.name}",
            self._forward,
            mutates_args=(),
            device_types="cuda",
            schema=f"({', '.join(operands)}) -> {_returns(len(fused.results))}",
        )
        forward.register_kernel("cpu", self._forward_on_cpu)
        forward.register_fake(self._forward_fake)
        if not fused.varying:
            forward.register_autograd(self._nothing)
            return
        given = [f"Tensor grad_{place}" for place in range(len(fused.results))]
        backward = torch.library.custom_op(
            f"{NAMESPACE}::{fused.name}_backward",
            self._backward,
            mutates_args=(),
            device_types="cuda",
            schema=f"({', '.join(given + operands)}) -> {_returns(len(fused.varying))}",
        )
        backward.register_kernel("cpu", self._backward_on_cpu)
        backward.register_fake(self._backward_fake)
        forward.register_autograd(self._differentiate, setup_context=self._save)

    # ---------------------------------------------------------------- forward

    def _operands(self, args: Sequence[Any]) -> tuple[Sequence[Tensor], Sequence[float]]:
        count = len(self.fused.operands)
        return args[:count], args[count:]

    def _forward(self, *args: Any) -> Any:
        tensors, numbers = self._operands(args)
        return _results(_form(tensors).forward(self.fused, tensors, numbers))

    def _forward_on_cpu(self, *args: Any) -> Any:
        return _results(plain.forward(self.fused, *self._operands(args)))

    def _forward_fake(self, *args: Any) -> Any:
        tensors, _ = self._operands(args)
        shape = shape_of(tensors)
        dtypes = dtypes_of(self.fused, tensors)
        return _results(
            [
                tensors[0].new_empty((*shape[:-1], 1) if result.single else shape, dtype=dtype)
                for result, dtype in zip(self.fused.results, dtypes, strict=True)
            ]
        )

    # ---------------------------------------------------------------- backward

    def _backward(self, *args: Any) -> Any:
        given = len(self.fused.results)
        tensors, numbers = self._operands(args[given:])
        return _results(_form(tensors).gradients_of(self.fused, args[:given], tensors, numbers))

    def _backward_on_cpu(self, *args: Any) -> Any:
        given = len(self.fused.results)
        operands = self._operands(args[given:])
        return _results(plain.gradients_of(self.fused, args[:given], *operands))

    def _backward_fake(self, *args: Any) -> Any:
        tensors, _ = self._operands(args[len(self.fused.results) :])
        like = [tensors[place] for place in self.fused.varying]
        return _results([x.new_empty(x.shape) for x in like])

    def _nothing(self, ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """What `detach` has cut off may still be asked for a gradient."""
        return (None,) * (len(self.fused.operands) + len(self.fused.numbers))

    # The context of an autograd node has no type of its own in torch.
    def _save(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors, ctx.numbers = self._operands(inputs)
        ctx.save_for_backward(*tensors)

    def _differentiate(self, ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        backward = getattr(getattr(torch.ops, NAMESPACE), f"{self.fused.name}_backward")
        found = as_tuple(backward(*gradients, *ctx.saved_tensors, *ctx.numbers))
        result: list[Tensor | None] = [None] * (len(self.fused.operands) + len(ctx.numbers))
        for place, gradient in zip(self.fused.varying, found, strict=True):
            result[place] = gradient
        return tuple(result)


def _form(tensors: Sequence[Tensor]) -> ModuleType:
    """Triton; of float64, which float32 kernels cannot keep, plain torch."""
    return plain if any(x.dtype == torch.float64 for x in tensors) else launch


def _results(found: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return found[0] if len(found) == 1 else tuple(found)


def _returns(count: int) -> str:
    return "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
