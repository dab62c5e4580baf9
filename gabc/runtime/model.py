"""A design as a torch module: generated, executed, constructed."""

from __future__ import annotations

import torch
from torch import nn

from gabc.codegen.emit import VOCAB_SIZE, emit
from gabc.graph.instance import Stack
from gabc.passes import optimise
from gabc.runtime.load import load


def build(
    stack: Stack,
    *,
    vocab_size: int = VOCAB_SIZE,
    seed: int | None = 0,
    device: str | torch.device = "cpu",
    standalone: bool = False,
    optimised: bool = True,
) -> nn.Module:
    """The model of a design: tokens [B, L] -> logits [B, L, vocab_size], parameters in float32.

    Without `optimised` the graphs are compiled as they were written: every scan is a loop.

    Initial values depend on the seed and each parameter's name, not on the device; with `seed=None`
    (to load a checkpoint) they are left uninitialised.
    """
    if optimised:
        stack = optimise(stack)
    model = load(emit(stack, standalone=standalone, vocab_size=vocab_size))
    return model(vocab_size=vocab_size, seed=seed).to(device)
