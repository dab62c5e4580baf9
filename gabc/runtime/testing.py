"""`run_test`: the facts of a test, looked at in float64 by the reference interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gabc.check.testing import SCALE, TestProgram
from gabc.check.testing_facts import (
    Close,
    Decided,
    Dependence,
    Everywhere,
    Fact,
    Finite,
    Operand,
    SameShape,
    Shape,
)
from gabc.dims import Dim
from gabc.graph.instance import Head, Stack
from gabc.graph.names import stack_parameters
from gabc.graph.nodes import Value

if TYPE_CHECKING:
    from torch import Generator, Tensor

BATCH, LENGTH = 2, 33
"""Not a multiple of the usual sizes of blocks and chunks."""

NOISE = 0.1
"""The standard deviation of what is added to every parameter before a dependence is looked at."""

MAGNITUDES = (1.0, 8.0)
"""Of inputs whose change is looked at. Gates that saturate at one may be open at another."""

DEPENDENCE_TOLERANCE = 1e-9
"""Relative: what a change does not reach may still be summed in another order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fact. `left` and `right` are what was compared, at the place `where`."""

    fact: Fact
    holds: bool
    left: str = ""
    right: str = ""
    where: str = ""


def run_test(program: TestProgram, seed: int = 0) -> list[Outcome]:
    """The outcome of every fact of a test, in order. Needs torch.

    Inputs are standard normal, of B = 2 and L = 33. Parameters have their initial values, drawn
    from the seed and the parameter's name below the child of the test: two units whose parameters
    have the same names and shapes have the same parameters. Facts of dependence are about all
    values of the parameters, so noise is added to these before.
    """
    return _Run(program, seed).outcomes()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A fact's truth and what shows it."""

    is_true: bool
    left: str = ""
    right: str = ""
    where: str = ""


class _Run:
    def __init__(self, program: TestProgram, seed: int) -> None:
        self.program = program
        self.seed = seed
        self.initial = self._parameters(0.0)
        self.values = self._values(self.initial, self._inputs("first"))

    def outcomes(self) -> list[Outcome]:
        found: list[Outcome] = []
        for fact in self.program.facts:
            seen = self._seen(fact)
            holds = seen.is_true is fact.expected
            found.append(Outcome(fact, holds, seen.left, seen.right, seen.where))
        return found

    # ---------------------------------------------------------------- running

    def _drawn(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers that depend on the seed and the name only."""
        import torch

        return torch.randn(tuple(shape), generator=self._generator(name), dtype=torch.float64)

    def _generator(self, name: str) -> Generator:
        import torch

        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def _stack(self) -> Stack:
        program = self.program
        return Stack(program.title, SCALE, (program.instance,), Head(), program.test.span)

    def _parameters(self, noise: float) -> dict[str, Tensor]:
        """Every parameter and buffer by its name in the reference interpreter."""
        import torch

        from gabc.runtime.fingerprint import initial_value

        found = {"embedding.weight": torch.zeros(1, SCALE.D, dtype=torch.float64)}
        for one in stack_parameters(self._stack()):
            key = _below_the_child(one.name)
            value = initial_value(one.parameter.init, one.instance, self._generator(key))
            if value.is_floating_point():
                value = value.to(torch.float64)
                if noise and not one.parameter.is_buffer:
                    value = value + noise * self._drawn(f"noise of {key}", value.shape)
            found[one.attribute] = value
        return found

    def _inputs(self, draw: str, magnitude: float = 1.0) -> list[Tensor]:
        return [
            magnitude * self._drawn(f"{draw} input {index}", self._sizes(value.type.dims))
            for index, value in enumerate(self.program.randoms)
        ]

    def _values(
        self, parameters: Mapping[str, Tensor], inputs: Sequence[Tensor]
    ) -> dict[Value, Tensor]:
        """The values that facts are about."""
        import torch

        from gabc.runtime.reference import ReferenceModel

        model = ReferenceModel(self._stack(), parameters)
        stream = torch.zeros(BATCH, LENGTH, SCALE.D, dtype=torch.float64)
        entries = {f"in.{index}": tensor for index, tensor in enumerate(inputs)}
        with torch.no_grad():
            _, z = model.block(0, stream, entries)
        outcomes = self.program.outcomes
        return {value: z[f"out.{index}"] for index, value in enumerate(outcomes)}

    def _sizes(self, dims: Sequence[Dim]) -> list[int]:
        runtime = {"B": Dim.const(BATCH), "L": Dim.const(LENGTH)}
        return [self.program.instance.size(dim.substitute(runtime)) for dim in dims]

    # ---------------------------------------------------------------- facts

    def _seen(self, fact: Fact) -> _Seen:
        match fact.claim:
            case Decided(is_true):
                return _Seen(is_true, str(is_true).lower())
            case SameShape(left, right):
                shapes = self._shape(left), self._shape(right)
                return _Seen(shapes[0] == shapes[1], str(shapes[0]), str(shapes[1]))
            case Close():
                return self._close(fact.claim)
            case Everywhere():
                return self._everywhere(fact.claim)
            case Finite(value):
                tensor = self.values[value]
                return _first(tensor.isfinite(), tensor, None)
            case Dependence():
                return self._dependence(fact.claim)

    def _shape(self, shape: Shape) -> list[int]:
        """Of a tensor as it was computed; the sizes written beside it are evaluated."""
        if isinstance(shape, Value):
            return list(self.values[shape].shape)
        return self._sizes(shape)

    def _tensor(self, operand: Operand) -> Tensor:
        import torch

        if isinstance(operand, Value):
            return self.values[operand]
        return torch.tensor(operand, dtype=torch.float64)

    def _close(self, claim: Close) -> _Seen:
        import torch

        left, right = self._tensor(claim.left), self._tensor(claim.right)
        if left.dim() == 0:
            left = left.expand_as(right)
        elif right.dim() == 0:
            right = right.expand_as(left)
        agrees = left == right
        if claim.tolerance is not None:
            size = 1.0 + torch.maximum(left.abs(), right.abs())
            agrees = agrees | ((left - right).abs() <= claim.tolerance * size)
        return _first(agrees, left, right)

    def _everywhere(self, claim: Everywhere) -> _Seen:
        import torch

        truth = self.values[claim.truth]
        if claim.left is None or claim.right is None:
            return _first(truth, truth, None)
        sides = self._tensor(claim.left), self._tensor(claim.right)
        return _first(truth, *(torch.broadcast_to(side, truth.shape) for side in sides))

    def _dependence(self, claim: Dependence) -> _Seen:
        parameters = self._parameters(NOISE)
        for magnitude in MAGNITUDES:
            inputs = self._inputs("first", magnitude)
            before = self._values(parameters, inputs)[claim.result]
            for kept, changed in self._changes(claim, inputs, magnitude):
                after = self._values(parameters, changed)[claim.result]
                is_kept = _kept(claim, before, kept)
                same = (before - after).abs() <= DEPENDENCE_TOLERANCE * (1.0 + before.abs())
                seen = _first(same | ~is_kept, before, after)
                if not seen.is_true:
                    # `depends` is true of what the others are false of.
                    return _Seen(claim.kind == "depends", seen.left, seen.right, seen.where)
        return _Seen(claim.kind != "depends")

    def _changes(
        self, claim: Dependence, inputs: Sequence[Tensor], magnitude: float
    ) -> list[tuple[range, list[Tensor]]]:
        """The positions of the result that may not change, and inputs changed behind them."""
        index = self.program.randoms.index(claim.source)
        fresh = self._inputs("second", magnitude)[index]
        axis, source = claim.source_axis, inputs[index]
        changes: list[tuple[range, list[Tensor]]] = []
        if claim.kind == "depends":
            kept_positions = [range(0)]
        elif claim.kind == "is_causal":
            kept_positions = [range(last + 1) for last in (0, 1, 2, LENGTH // 2, LENGTH - 2)]
        else:
            kept_positions = [range(row, row + 1) for row in range(BATCH)]
        for kept in kept_positions:
            tensor = fresh.clone()
            if kept:
                part = source.narrow(axis, kept.start, len(kept))
                tensor.narrow(axis, kept.start, len(kept)).copy_(part)
            changes.append((kept, [*inputs[:index], tensor, *inputs[index + 1 :]]))
        return changes


def _kept(claim: Dependence, result: Tensor, kept: range) -> Tensor:
    """Where the result may not change: everywhere, for `depends`, which hopes for the contrary."""
    import torch

    where = torch.zeros_like(result, dtype=torch.bool)
    if claim.kind == "depends":
        return ~where
    where.narrow(claim.result_axis, kept.start, len(kept)).fill_(True)
    return where


def _first(agrees: Tensor, left: Tensor, right: Tensor | None) -> _Seen:
    """The first element of which something does not hold, or the first of all."""
    wrong = (~agrees).nonzero()
    is_true = len(wrong) == 0
    index = tuple(int(i) for i in (wrong[0] if len(wrong) else [0] * agrees.dim()))
    if agrees.numel() == 0:
        return _Seen(is_true)
    where = f"[{', '.join(map(str, index))}]" if index else ""
    if len(wrong) > 1:
        where += f" and {len(wrong) - 1:,} more"
    shown = "" if right is None else repr(right[index].item())
    return _Seen(is_true, repr(left[index].item()), shown, where)


def _below_the_child(name: str) -> str:
    """`blocks.0.attn.wq.weight` is `wq.weight`, whatever the test calls the unit."""
    parts = name.replace("/", ".").split(".")
    return ".".join(parts[3:] if parts[0] == "blocks" else parts[2:])
