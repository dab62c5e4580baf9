"""One unit of the library and another implementation of it: weights copied, results compared.

Parameters are drawn in the other implementation and copied into the compiled unit. Outputs, the
gradient in the input and the gradients in all parameters are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from designs import stack_of
from torch import Tensor, nn

from gabc.graph.instance import Stack
from gabc.runtime.model import build

from .weights import stream_of

Tensors = Mapping[str, Tensor]
Pick = Callable[[Tensors], Tensor]
"""Selects, cuts or permutes: linear, so that it carries gradients across as it does weights."""


@dataclass(frozen=True)
class Mirrored:
    """A weight that is 1 minus the other's: its gradient has the other sign."""

    name: str


Copies = Mapping[str, str | Pick | Mirrored]
"""For each parameter of the unit, where it is found in the other implementation."""


def compiled(call: str, *imports: str, width: int, layers: int = 1, layer: int = 0) -> nn.Module:
    """One call as the block of a design, X [B, L, width] -> [B, L, width], at one of its layers.

    `call` is as `MambaMixer(expand=2)`, an import as `ssm import MambaMixer`. Parameters are named
    as in the unit.
    """
    model = build(_design(call, imports, width, layers), vocab_size=8)
    return model.get_submodule(f"blocks.{layer}").double()


def compiled_stack(call: str, *imports: str, width: int, layers: int) -> nn.Module:
    """Blocks X + call(X) one after another, parameters named `blocks.0.m.wq.weight`."""
    return stream_of(_design(call, imports, width, layers, "X + m(X)")).double()


def _design(
    call: str, imports: tuple[str, ...], width: int, layers: int, result: str = "m(X)"
) -> Stack:
    lines = "\n".join(f"from std.{module}" for module in imports)
    text = f"gab P\n{lines}\nunit P() {{ m = {call} forward(X) {{ return {result} }} }}\n"
    return stack_of(text, f"{width}x{layers}")


def drawn(module: nn.Module, scale: float = 0.3, seed: int = 0) -> nn.Module:
    """The module with random parameters, at no special value, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * noise)
    return module.eval()


def input_of(width: int, length: int, dtype: torch.dtype) -> Tensor:
    """A random input [2, length, width]."""
    generator = torch.Generator().manual_seed(length)
    return torch.randn(2, length, width, generator=generator, dtype=torch.float64).to(dtype)


def disagreement(
    ours: nn.Module,
    theirs: Callable[[Tensor], Tensor],
    parameters: Tensors,
    copies: Copies,
    x: Tensor,
) -> dict[str, float]:
    """How far outputs and gradients are apart, relative to the largest element of each tensor.

    `theirs` maps [B, L, D] to [B, L, D] by `parameters`, which require gradients. Every parameter
    of the unit must be in `copies`.
    """
    own = {name.removeprefix("m."): p for name, p in ours.named_parameters()}
    assert own.keys() == copies.keys(), own.keys() ^ copies.keys()
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(_value(copies[name], parameters, parameter))
    x_theirs, x_ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    y_theirs, y_ours = theirs(x_theirs), ours(x_ours)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    (y_theirs * weights).sum().backward()
    (y_ours * weights).sum().backward()
    slopes = {name: _slope(parameter) for name, parameter in parameters.items()}
    pairs = {"input": (_slope(x_ours), _slope(x_theirs))}
    for name, parameter in own.items():
        expected = _value(copies[name], slopes, parameter, is_slope=True)
        pairs[name] = (_slope(parameter), expected)
    # A gradient that cancels to zero is held against the size of the others.
    floor = 1e-3 * max(expected.abs().max().item() for _, expected in pairs.values())
    slope_errors = {n: relative(actual, wanted, floor) for n, (actual, wanted) in pairs.items()}
    return {"output": relative(y_ours, y_theirs), **slope_errors}


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _value(
    copy: str | Pick | Mirrored, tensors: Tensors, like: Tensor, is_slope: bool = False
) -> Tensor:
    match copy:
        case str():
            found = tensors[copy]
        case Mirrored(name):
            found = -tensors[name] if is_slope else 1.0 - tensors[name]
        case _:
            found = copy(tensors)
    assert found.numel() == like.numel(), (copy, found.shape, like.shape)
    return found.reshape(like.shape)


def relative(actual: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """The largest difference over the largest expected element, or over `floor` if that is more."""
    assert torch.isfinite(expected).all()
    assert torch.isfinite(actual).all()
    largest = max(expected.abs().max().item(), floor)
    return (actual - expected).abs().max().item() / largest
