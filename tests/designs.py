"""Designs for tests: GAB text to a stack, and parameters for it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gabc.codegen.emit import VOCAB_SIZE
from gabc.diagnostics.model import Diagnostics
from gabc.elaborate.modules import Loader
from gabc.elaborate.scales import parse_scale
from gabc.elaborate.stack import elaborate_stack
from gabc.graph.instance import Stack
from gabc.ops.verify import verify
from gabc.runtime.model import build
from gabc.syntax.source import Source

EXAMPLES = Path(__file__).parent.parent / "examples"


def stack_of(text: str, scale: str = "16x2", path: str = "design.gab") -> Stack:
    """The stack of a design that must be free of errors; every graph in it is verified."""
    diagnostics = Diagnostics()
    source = Source(path, text)
    module = Loader(diagnostics).load(source, None)
    stack = None
    if not diagnostics.has_errors:
        stack = elaborate_stack(module, parse_scale(scale), diagnostics, {path: text})
    assert stack is not None, [(d.code, d.message, str(d.span)) for d in diagnostics.found]
    for block in stack.blocks:
        for _, instance in block.walk():
            if instance.graph is not None:
                verify(instance.graph, instance)
    return stack


def example(name: str, scale: str = "64x2") -> Stack:
    """A design of `examples/`."""
    return stack_of((EXAMPLES / f"{name}.gab").read_text(encoding="utf-8"), scale, f"{name}.gab")


def count_parameters(stack: Stack, vocab_size: int = VOCAB_SIZE) -> int:
    """The trained numbers of the compiled model, without allocating them."""
    with torch.device("meta"):
        model = build(stack, vocab_size=vocab_size, seed=None, device="meta")
    return sum(parameter.numel() for parameter in model.parameters())


def randomise(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Give every parameter and buffer small random values, none of them zero; returns them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.add_(0.1 * noise.to(tensor.dtype))
    return tensors
