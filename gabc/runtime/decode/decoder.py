"""A design as a decoder: logits at the next positions, and the state to go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.check.streaming import StackPlan, plan_stack
from gabc.graph.instance import Stack
from gabc.graph.names import shared_keys
from gabc.graph.static import StaticValue
from gabc.runtime.decode.frame import Pass
from gabc.runtime.decode.past import Cache
from gabc.runtime.decode.state import State
from gabc.runtime.decode.unit import Names, Place, UnitRunner

NORM_EPS = 1e-5
"""Of the layer norm before the head."""

_TOKENS = ("", 0)


class Decoder:
    """A design with its parameters: `logits, state = decoder(tokens, state)`.

    `parameters` are named as in the compiled module; they and `dtype`, that of new tensors, must
    agree. The stack is one that is proved causal: an operation that has no streaming form is
    computed again from the start of the sequence, which is right for no other.

        state = decoder.start(2)
        logits, state = decoder(prompts, state)  # [2, T] -> [2, T, V]
        logits, state = decoder(chosen, state)  # [2, 1] -> [2, 1, V]
    """

    def __init__(
        self, stack: Stack, parameters: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> None:
        if dtype.itemsize < torch.float32.itemsize:
            raise ValueError(f"a decoder keeps its states in float32 at least, not in {dtype}")
        self.plan: StackPlan = plan_stack(stack)
        self.head = stack.head
        self.embedding = parameters["embedding.weight"]
        self.norm = parameters["norm.weight"]
        self.output = self.embedding if stack.head.tie else parameters["head.weight"]
        self.like = self.embedding.new_empty((), dtype=dtype)
        names = Names(parameters, shared_keys(stack))
        self.blocks = [
            UnitRunner(plan, Place(names, f"blocks.{layer}", f"blocks.{layer}", ""))
            for layer, plan in enumerate(self.plan.blocks)
        ]

    def start(self, batch: int = 1) -> State:
        """The state before the first token."""
        return State((0,) * batch, {})

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The logits [B, T, V] at T >= 1 next tokens [B, T] (int64) of each row, and the new state.

        Rows may have had unequally many tokens. All T tokens are real: there is no padding.

        Raises:
            ValueError: the shapes do not fit the state.
        """
        if tokens.dim() != 2 or tokens.shape[0] != len(state.lengths) or not tokens.shape[1]:
            raise ValueError(
                f"tokens {list(tokens.shape)} do not go on with a state of "
                f"{len(state.lengths)} rows: give [B, T] with T >= 1"
            )
        if state.is_even or tokens.shape[1] == 1:
            return self._next(tokens, state)
        return self._by_length(tokens, state)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, State]:
        """The logits [B, V] after each prompt, and the state; prompts may differ in length.

        Prompts of one length are computed together and nothing is padded.

        Raises:
            ValueError: a prompt is empty.
        """
        if not prompts or not all(prompts):
            raise ValueError("every prompt needs at least one token")
        device = self.embedding.device
        logits: dict[int, Tensor] = {}
        states: dict[int, State] = {}
        for length in sorted({len(prompt) for prompt in prompts}):
            rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
            tokens = torch.tensor([list(prompts[row]) for row in rows], device=device)
            found, state = self(tokens, self.start(len(rows)))
            for place, row in enumerate(rows):
                logits[row], states[row] = found[place, -1], state.select([place])
        order = range(len(prompts))
        return torch.stack([logits[r] for r in order]), State.join([states[r] for r in order])

    def _by_length(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Several tokens for rows that have had unequally many: row by row."""
        parts = [
            self._next(tokens[row : row + 1], state.select([row])) for row in range(len(tokens))
        ]
        return torch.cat([logits for logits, _ in parts]), State.join([s for _, s in parts])

    def _next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        count = tokens.shape[1]
        lengths = tuple(length + count for length in state.lengths)
        if self.plan.hindrance is not None:
            return self._from_the_start(tokens, state, lengths)
        current = Pass(state.lengths, count, self.like, False, state.kept)
        logits = self._logits(tokens, current)
        return logits, State(lengths, current.after)

    def _from_the_start(
        self, tokens: Tensor, state: State, lengths: tuple[int, ...]
    ) -> tuple[Tensor, State]:
        """The whole model on all tokens so far; they are what is kept."""
        before = state.kept.get(_TOKENS)
        cache = before if isinstance(before, Cache) else Cache.empty(tokens, None)
        cache = cache.extended(tokens)
        groups: list[int | None] = [None] if state.is_even else list(range(len(lengths)))
        parts: list[Tensor] = []
        for row in groups:
            seen = cache.view(row)
            whole = Pass((0,) * seen.shape[0], seen.shape[1], self.like, True, {})
            parts.append(self._logits(seen, whole)[:, seen.shape[1] - tokens.shape[1] :])
        return torch.cat(parts), State(lengths, {_TOKENS: cache})

    def _logits(self, tokens: Tensor, current: Pass) -> Tensor:
        head = self.head
        X = F.embedding(tokens, self.embedding)
        if head.embed_scale is not None:
            X = X * head.embed_scale
        sizes: dict[str, StaticValue] = {"B": X.shape[0], "L": X.shape[1]}
        z: dict[str, Tensor] = {}
        for block in self.blocks:
            graph = block.graph
            reads = [z.get(read.key) for read in graph.z_reads]
            results = block.run([X], reads, sizes, current)
            X = results[0]
            written = results[len(graph.results) :]
            z.update(zip((write.key for write in graph.z_writes), written, strict=True))
        X = F.layer_norm(X, X.shape[-1:], self.norm, eps=NORM_EPS)
        logits = F.linear(X, self.output)
        if head.logit_cap is not None:
            logits = head.logit_cap * torch.tanh(logits / head.logit_cap)
        return logits
