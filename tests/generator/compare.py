"""Two ways to run a design, compared in outputs and in all gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gabc.graph.instance import Stack
from gabc.runtime.reference import ReferenceModel

TOLERANCE = 1e-10
"""In float64, relative to the largest element of each tensor."""


@dataclass(frozen=True)
class Run:
    """Results and gradients by name. A gradient of zeros stands for one that torch leaves out."""

    outputs: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]


def drawn_state(
    model: nn.Module, seed: int, noise: float = 0.1, scale: float = 1.0
) -> dict[str, Tensor]:
    """The model's parameters and buffers in float64; noise moves parameters off special values."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: tensor.detach().double() for name, tensor in model.state_dict().items()}
    for name, parameter in sorted(model.named_parameters()):
        standard = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        state[name] = scale * state[name] + noise * standard
    return state


def tokens_of(length: int, vocab_size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(vocab_size, (batch, length), generator=generator)


def weighted(outputs: Mapping[str, Tensor]) -> Tensor:
    """A fixed random combination of all elements: what the gradients are taken of."""
    generator = torch.Generator().manual_seed(1)
    parts = [
        (output * torch.rand(output.shape, generator=generator, dtype=torch.float64)).sum()
        for _, output in sorted(outputs.items())
    ]
    return torch.stack(parts).sum()


def differentiate(
    function: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    state: Mapping[str, Tensor],
) -> Run:
    """Outputs of the function of the tensors in `state`, and their gradients in all float ones."""
    leaves = {name: tensor.clone() for name, tensor in state.items()}
    wanted = [name for name, leaf in leaves.items() if leaf.is_floating_point()]
    for name in wanted:
        leaves[name].requires_grad_()
    outputs = function(leaves)
    total = weighted({name: y for name, y in outputs.items() if y.requires_grad})
    found = torch.autograd.grad(total, [leaves[name] for name in wanted], allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaves[name]) if gradient is None else gradient
        for name, gradient in zip(wanted, found, strict=True)
    }
    return Run({name: output.detach() for name, output in outputs.items()}, gradients)


def run_reference(stack: Stack, state: Mapping[str, Tensor], tokens: Tensor) -> Run:
    """The interpreter in float64."""

    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        model = ReferenceModel(stack, leaves)
        return {"logits": model(tokens)}

    return differentiate(forward, state)


def run_compiled(model: nn.Module, state: Mapping[str, Tensor], tokens: Tensor) -> Run:
    """The generated module in float64."""
    model = model.double()

    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"logits": torch.func.functional_call(model, dict(leaves), (tokens,))}

    return differentiate(forward, state)


def differences(expected: Run, actual: Run, tolerance: float = TOLERANCE) -> list[str]:
    """What differs beyond the tolerance, one line each."""
    # Cancellation leaves rounding in a gradient that is zero: it is measured by the largest one.
    largest = max((_size(g) for g in expected.gradients.values()), default=0.0)
    return [
        *_compare("output", expected.outputs, actual.outputs, 0.0, tolerance),
        *_compare("gradient", expected.gradients, actual.gradients, 1e-3 * largest, tolerance),
    ]


def _size(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _compare(
    what: str,
    expected: Mapping[str, Tensor],
    actual: Mapping[str, Tensor],
    floor: float,
    tolerance: float,
) -> list[str]:
    lines = []
    for name, wanted in expected.items():
        found = actual.get(name)
        if found is None:
            lines.append(f"{what} of {name} is missing")
        elif found.shape != wanted.shape:
            lines.append(f"{what} of {name} is {tuple(found.shape)}, not {tuple(wanted.shape)}")
        elif not torch.isfinite(wanted).all():
            lines.append(f"{what} of {name} is not finite in the reference")
        else:
            error, scale = _size(found - wanted), max(_size(wanted), floor)
            # Written so that a NaN is a difference.
            if not error <= tolerance * scale:
                lines.append(f"{what} of {name} differs by {error:.3g}, largest {scale:.3g}")
    return lines
