"""A decoder beside the reference interpreter, which knows nothing of states."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from designs import stack_of
from torch import Tensor

from gabc.graph.instance import Stack
from gabc.graph.names import stack_parameters
from gabc.runtime.decode import Decoder, State
from gabc.runtime.reference import ReferenceModel

VOCAB = 31
TOLERANCE = 1e-10


def random_parameters(stack: Stack, seed: int = 3) -> dict[str, Tensor]:
    """Parameters that leave activations of the order of one, none of them zero, float64."""
    generator = torch.Generator().manual_seed(seed)
    width = stack.scale.D
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCAB, width)}
    if not stack.head.tie:
        shapes["head.weight"] = (VOCAB, width)
    shapes["norm.weight"] = (width,)
    for one in stack_parameters(stack):
        dims = one.parameter.type.dims
        shapes[one.attribute] = tuple(one.instance.size(dim) for dim in dims)
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        found[name] = noise * shape[-1] ** -0.5 if len(shape) > 1 else 0.5 + 0.3 * noise
    return found


def tokens_of(rows: int, length: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, (rows, length), generator=generator)


def in_blocks(decoder: Decoder, tokens: Tensor, sizes: Sequence[int]) -> tuple[Tensor, State]:
    """The logits at all positions, of blocks of these sizes one after another."""
    state = decoder.start(tokens.shape[0])
    parts = []
    for block in tokens.split(list(sizes), dim=1):
        logits, state = decoder(block, state)
        parts.append(logits)
    return torch.cat(parts, 1), state


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def assert_equals_whole(stack: Stack, decoded: Stack | None = None, length: int = 7) -> Decoder:
    """Whole, prefill and steps at every split, blocks of every kind, rows of unequal length.

    `decoded` is the stack that the decoder runs, where it is another with the same meaning.
    """
    parameters = random_parameters(stack)
    decoder = Decoder(decoded or stack, parameters, torch.float64)
    tokens = tokens_of(2, length)
    with torch.no_grad():
        expected = ReferenceModel(stack, parameters)(tokens)
    for split in range(1, length + 1):
        found, _ = in_blocks(decoder, tokens, [split, *[1] * (length - split)])
        assert_close(found, expected)
    assert_uneven(decoder, tokens, expected)
    return decoder


def assert_uneven(decoder: Decoder, tokens: Tensor, expected: Tensor) -> None:
    """Prompts of unequal length, steps and blocks after them: as each row alone."""
    length = tokens.shape[1]
    for first, second in ((1, length - 2), (length - 3, 2), (3, 3)):
        lengths = (first, second)
        prompts = [tokens[row, :n].tolist() for row, n in enumerate(lengths)]
        logits, state = decoder.prefill(prompts)
        for row, n in enumerate(lengths):
            assert_close(logits[row], expected[row, n - 1])
        step = torch.stack([tokens[row, n : n + 1] for row, n in enumerate(lengths)])
        stepped, after = decoder(step, state)
        for row, n in enumerate(lengths):
            assert_close(stepped[row, 0], expected[row, n])
        # The state before the step is still what it was: go on from it by two at once.
        block = torch.stack([tokens[row, n : n + 2] for row, n in enumerate(lengths)])
        blocked, _ = decoder(block, state)
        for row, n in enumerate(lengths):
            assert_close(blocked[row], expected[row, n : n + 2])
        again, _ = decoder(block[:, 1:], after)
        for row, n in enumerate(lengths):
            assert_close(again[row, 0], expected[row, n + 1])


def random_blocks(length: int, seed: int) -> list[int]:
    drawn = random.Random(seed)
    sizes: list[int] = []
    while sum(sizes) < length:
        sizes.append(min(drawn.choice((1, 1, 2, 3, 5, 8, 13)), length - sum(sizes)))
    return sizes


def unit(body: str, members: str = "", scale: str = "16x1") -> Stack:
    """A design of one block whose forward is `body`."""
    text = f"gab One\n\nunit One() {{\n{members}\n    forward(X) {{\n{body}\n    }}\n}}\n"
    return stack_of(text, scale)
