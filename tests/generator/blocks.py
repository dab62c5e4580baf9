"""A design's first block on a random stream, interpreted and compiled."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gabc.codegen.emit import emit
from gabc.graph.instance import Stack
from gabc.graph.nodes import Node
from gabc.ops.verify import verify
from gabc.runtime.load import load
from gabc.runtime.reference import ReferenceModel

from .compare import Run, differentiate


def block_nodes(stack: Stack, *ops: str) -> list[Node]:
    """The operations of the block, or those called `ops`, once its graph is verified."""
    graph = stack.blocks[0].graph
    assert graph is not None
    verify(graph, stack.blocks[0])
    return [node for node in graph.nodes if not ops or node.op in ops]


def model_of(stack: Stack) -> nn.Module:
    return load(emit(stack, standalone=False, vocab_size=8))(vocab_size=8, seed=1).double()


def leaves_of(stack: Stack, length: int, factor: float = 1.5) -> dict[str, Tensor]:
    """The block's parameters, `factor` times their initial values, and an input X."""
    generator = torch.Generator().manual_seed(length)
    state = {
        name.removeprefix("blocks.0."): factor * tensor
        for name, tensor in model_of(stack).state_dict().items()
        if name.startswith("blocks.")
    }
    shape = (2, length, stack.scale.D)
    state["X"] = torch.randn(shape, generator=generator, dtype=torch.float64)
    return state


def interpreted(stack: Stack, state: Mapping[str, Tensor]) -> Run:
    """The block's output, and gradients in its input and parameters, by the interpreter."""

    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        named = {f"blocks.0.{name}": tensor for name, tensor in leaves.items() if name != "X"}
        reference = ReferenceModel(stack, {**named, "embedding.weight": leaves["X"]})
        return {"X": reference.block(0, leaves["X"], {})[0]}

    return differentiate(forward, state)


def compiled(stack: Stack, state: Mapping[str, Tensor]) -> Run:
    """The same by the generated module."""
    block = model_of(stack).get_submodule("blocks.0")

    def forward(leaves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        parameters = {name: tensor for name, tensor in leaves.items() if name != "X"}
        return {"X": torch.func.functional_call(block, parameters, (leaves["X"],), strict=True)}

    return differentiate(forward, state)
