"""`fingerprint`: what a design computes for one fixed input and fixed parameters."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from gabc.check.identity.canonical import parameter_order
from gabc.dims import Dim
from gabc.graph.instance import Instance, Stack
from gabc.graph.names import stack_parameters
from gabc.graph.nodes import Argument, ChildRef, Graph, Value
from gabc.graph.static import Apply, Literal, Ref, StaticList, evaluate
from gabc.ops import PRIMITIVES

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from gabc.ops.evaluated import Evaluated

VOCAB_SIZE = 61
LENGTH = 19
BATCH = 2
DIGITS = 7
"""Of the largest logit: far above float64's noise, far below what a changed constant changes."""


def fingerprint(stack: Stack, seed: int = 0) -> str:
    """A hash of the reference interpreter's logits, at the stack's own scale (choose a small one).

    Random parameters are dealt out in the order of the canonical form, so that neither names nor
    the order of members matter. Equal structural hashes give equal fingerprints; equal fingerprints
    of different hashes are strong evidence, and no proof, of equal functions.
    """
    import torch

    from gabc.runtime.reference import ReferenceModel

    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    width = stack.scale.D
    tokens = torch.randint(0, VOCAB_SIZE, (BATCH, LENGTH), generator=generator)
    parameters = {"embedding.weight": drawn(VOCAB_SIZE, width), "norm.weight": 1 + drawn(width) / 8}
    if not stack.head.tie:
        parameters["head.weight"] = drawn(VOCAB_SIZE, width)
    declared = list(stack_parameters(stack))
    attributes = {one.name: one.attribute for one in declared}
    for name, instance, parameter in parameter_order(stack):
        value = initial_value(parameter.init, instance, generator)
        if value.is_floating_point():
            value = value.to(torch.float64)
            value = value if parameter.is_buffer else value + drawn(*value.shape) / 8
        parameters[attributes[name]] = value
    unread = torch.Generator().manual_seed(seed)
    for one in declared:
        if one.attribute not in parameters:
            # No result depends on it, and the interpreter still looks it up.
            value = initial_value(one.parameter.init, one.instance, unread)
            parameters[one.attribute] = value.to(torch.float64)
    logits = ReferenceModel(stack, parameters)(tokens)
    scale = logits.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    rounded = torch.round(logits / scale * 10**DIGITS).to(torch.int64)
    return hashlib.sha256(rounded.numpy().tobytes()).hexdigest()[:32]


def initial_value(graph: Graph, instance: Instance, generator: Generator) -> Tensor:
    """A parameter's initial value, by the reference of each operation."""
    import torch

    values: dict[Value, Tensor] = {}

    def evaluated(argument: Argument) -> Evaluated:
        match argument:
            case Value():
                return values[argument]
            case Dim():
                return instance.size(argument)
            case Literal() | Ref() | Apply() | StaticList():
                return cast("Evaluated", evaluate(argument, instance.env))
            case tuple():
                return tuple(evaluated(part) for part in argument)
            case ChildRef():
                raise TypeError(f"the child {argument.name} in an initialiser")
        return argument

    for node in graph.nodes:
        args = {name: evaluated(argument) for name, argument in node.args.items()}
        args |= {"like": torch.empty((), dtype=torch.float64), "generator": generator}
        result = PRIMITIVES[node.op].reference(args)
        results = result if isinstance(result, tuple) else (result,)
        values.update(zip(node.outputs, results, strict=True))
    return values[graph.results[0]]
