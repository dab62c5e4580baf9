"""A design and another implementation, with the same weights, as functions of the stream.

Both are run as a stack of blocks, X [B, L, D] to [B, L, D]; embedding, final norm and head are left
out. What is compared is the output, its gradient in X, and its gradient in every parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gabc.check.report import check
from gabc.elaborate.scales import parse_scale
from gabc.graph.instance import Stack
from gabc.runtime.model import build
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DESIGNS = Path(__file__).resolve().parent / "designs"
"""Architectures that `examples/` has not, written for the comparison."""

Map = Callable[[Tensor], Tensor]
"""A linear map from a parameter over there to one of the design; gradients go the same way."""

Stacked = Callable[[Tensor], Tensor]
"""A stack of blocks: X [B, L, D] -> [B, L, D]."""


def same(tensor: Tensor) -> Tensor:
    return tensor


def transposed(tensor: Tensor) -> Tensor:
    return tensor.mT


def rows(start: int, stop: int) -> Map:
    return lambda tensor: tensor[start:stop]


@dataclass(frozen=True)
class Origin:
    """Where a parameter of the design comes from: a parameter over there, and a part of it."""

    name: str
    part: Map = same
    is_mirrored: bool = False
    """Whether the design has 1 minus it: its gradient has the other sign."""

    def value(self, theirs: Tensor) -> Tensor:
        return 1.0 - self.part(theirs) if self.is_mirrored else self.part(theirs)

    def slope(self, theirs: Tensor) -> Tensor:
        return -self.part(theirs) if self.is_mirrored else self.part(theirs)


Origins = Mapping[str, Origin]
"""By the design's name of the parameter, `blocks.0.attn.wq.weight`."""


@dataclass(frozen=True)
class Measured:
    """The output and the gradients of one side."""

    output: Tensor
    gradients: Mapping[str, Tensor]


class DoubleForFloat(TorchFunctionMode):
    """Wherever float32 is asked for, float64 is given.

    transformers computes norms, softmax and rotations in float32 whatever the dtype of the input;
    in float64 the two sides can be told apart from rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is Tensor.float:
            func = Tensor.double
        return func(*map(_doubled, args), **{k: _doubled(v) for k, v in (kwargs or {}).items()})


def _doubled(argument: object) -> object:
    return torch.float64 if argument is torch.float32 else argument


@contextmanager
def in_double() -> Iterator[None]:
    """float64 by default, and in place of float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with DoubleForFloat():
            yield
    finally:
        torch.set_default_dtype(before)


class _Through(nn.Module):
    """In place of an embedding: hands the stream on, and as a tied head it is the identity."""

    weight: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(width))

    def forward(self, X: Tensor) -> Tensor:
        return X


def path_of(name: str) -> Path:
    own = DESIGNS / f"{name}.gab"
    return own if own.exists() else EXAMPLES / f"{name}.gab"


@cache
def text_of(name: str, **sizes: float | str) -> str:
    """A design of `examples/` or `designs/`, with other defaults of its root unit's sizes."""
    text = path_of(name).read_text(encoding="utf-8")
    for hyper, value in sizes.items():
        default = rf"\b{hyper}: (int|dim|float) = (?:[^,()\n]|\([^)]*\))+"
        text, found = re.subn(default, rf"{hyper}: \1 = {value}", text)
        assert found == 1, f"{name} has no hyperparameter {hyper}"
    return text


def stack_of(name: str, scale: str, **sizes: float | str) -> Stack:
    """A design of `examples/` or `designs/` at a scale such as `64x2`."""
    source = Source(f"{name}.gab", text_of(name, **sizes))
    report = check(source, scales=(parse_scale(scale),))
    assert report.ok, [diagnostic.message for diagnostic in report.diagnostics]
    return report.stacks[scale]


def stream_of(stack: Stack) -> nn.Module:
    """The compiled blocks, X [B, L, D] -> [B, L, D], with the design's scaling and cap."""
    width = stack.scale.D
    model = build(stack, vocab_size=width)
    model.embedding = _Through(width)
    model.norm = nn.Identity()
    if hasattr(model, "head"):
        model.head = _Through(width)
    return model


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, none of them at a special value: matrices keep the size of what they map."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            is_weight_of_norm = parameter.ndim < 2 and bool((parameter == 1).all())
            scale = 0.3 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5
            parameter.copy_(scale * noise + (1.0 if is_weight_of_norm else 0.0))
    return module


def input_of(width: int, length: int = 13, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, width, generator=generator, dtype=torch.float64)


def measure(function: Stacked, X: Tensor, parameters: Mapping[str, Tensor]) -> Measured:
    """Output, and the gradients of a fixed random combination of it in X and the parameters."""
    X = X.clone().requires_grad_()
    output = function(X)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    leaves = {"X": X, **parameters}
    found = torch.autograd.grad((output * weights).sum(), list(leaves.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    return Measured(output.detach(), gradients)


def measure_design(
    model: nn.Module, X: Tensor, state: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> Measured:
    """The compiled design with the given parameters; each of its own must be among them."""
    parameters = dict(model.named_parameters())
    assert parameters.keys() == state.keys(), parameters.keys() ^ state.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            assert parameter.shape == state[name].shape, name
            parameter.copy_(state[name])
        for name, buffer in buffers.items():
            model.get_buffer(name).copy_(buffer)
    return measure(model, X, parameters)


@dataclass
class Other:
    """The other side: a module, how to run its blocks, and which parameter is which."""

    module: nn.Module
    run: Stacked
    origins: Origins
    unused: frozenset[str] = field(default_factory=frozenset)
    """Its parameters that its blocks do not have: embeddings, final norms."""
    buffers: Mapping[str, str] = field(default_factory=dict)
    """Buffers that are no constants, by the design's name."""

    def state(self) -> dict[str, Tensor]:
        parameters = dict(self.module.named_parameters())
        taken = {origin.name for origin in self.origins.values()}
        assert taken | self.unused == parameters.keys(), (taken | self.unused) ^ parameters.keys()
        return {n: o.value(parameters[o.name].detach()) for n, o in self.origins.items()}

    def constants(self) -> dict[str, Tensor]:
        return {name: self.module.get_buffer(theirs) for name, theirs in self.buffers.items()}

    def measure(self, X: Tensor) -> Measured:
        """With gradients by the design's names of the parameters."""
        found = measure(self.run, X, dict(self.module.named_parameters()))
        gradients = {n: o.slope(found.gradients[o.name]) for n, o in self.origins.items()}
        return Measured(found.output, {"X": found.gradients["X"], **gradients})


def worst(expected: Measured, actual: Measured) -> float:
    """The largest difference of an element, relative to the largest element of its tensor.

    A gradient that cancels to zero is held against the size of the others.
    """
    assert expected.gradients.keys() == actual.gradients.keys()
    largest = max(float(g.abs().max()) for g in expected.gradients.values())
    pairs = [(expected.output, actual.output, 0.0)]
    pairs += [(g, actual.gradients[n], 1e-3 * largest) for n, g in expected.gradients.items()]
    differences = []
    for wanted, found, floor in pairs:
        assert wanted.shape == found.shape
        assert torch.isfinite(wanted).all()
        assert torch.isfinite(found).all()
        scale = max(float(wanted.abs().max()), floor)
        differences.append(float((wanted - found).abs().max()) / scale)
    return max(differences)
