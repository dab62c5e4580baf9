"""The operations of a unit, prepared once and run at every call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from gabc.check.streaming import Layout, NodePlan
from gabc.graph.instance import Instance
from gabc.graph.nodes import Argument, Node, Value
from gabc.graph.static import UnknownStatic
from gabc.ops import PRIMITIVES
from gabc.ops.evaluated import Evaluated
from gabc.ops.streaming import Memory
from gabc.runtime.decode.environment import evaluated, size_of
from gabc.runtime.decode.frame import Frame
from gabc.runtime.decode.lowered import helper, lowered
from gabc.runtime.decode.past import Carried, Unstarted, join
from gabc.runtime.decode.state import Key


class Step(ABC):
    """An operation at its place in the model."""

    @abstractmethod
    def run(self, frame: Frame) -> None: ...


class ParameterStep(Step):
    def __init__(self, value: Value, tensor: Tensor) -> None:
        self.value, self.tensor = value, tensor

    def run(self, frame: Frame) -> None:
        frame.values[self.value] = self.tensor


class CoalesceStep(Step):
    """`Z.key ?? default`."""

    def __init__(self, node: Node) -> None:
        self.output = node.output
        self.value = cast(Value, node.args["value"])
        self.default = cast(Value, node.args["default"])

    def run(self, frame: Frame) -> None:
        entry = frame.values.get(self.value)
        frame.values[self.output] = frame.values[self.default] if entry is None else entry


class PlainStep(Step):
    """Treats positions alike, and rows too: the compiled operation on the new positions."""

    def __init__(self, node: Node, instance: Instance, layouts: Mapping[Value, Layout]) -> None:
        self.node = node
        self.operation = lowered(node, instance)
        self.operands = list(dict.fromkeys(node.operands()))
        self.meets_rows = any(layouts[value].is_per_row for value in self.operands)
        self.makes_rows = any(layouts[value].is_per_row for value in node.outputs)
        self.is_pointwise = PRIMITIVES[node.op].keeps_mask
        clocks = [layouts[value].clock for value in (*self.operands, *node.outputs)]
        self.clock = max(clocks, default=1)

    def run(self, frame: Frame) -> None:
        if frame.current.is_even or not (self.meets_rows or self.makes_rows):
            self._compute(frame, [frame.values[value] for value in self.operands])
        elif not self.meets_rows:
            self._compute(frame, [frame.values[value] for value in self.operands])
            rows = len(frame.current.lengths)
            for value in self.node.outputs:
                if frame.is_hidden(value):
                    same = frame.values[value]
                    frame.values[value] = same.expand(rows, *same.shape)
        elif self.is_pointwise:
            output = self.node.output
            layout, rank = frame.layouts[output], output.type.rank
            operands = [self._aligned(frame, v, layout, rank) for v in self.operands]
            self._compute(frame, operands)
        else:
            by_row(frame, self, self.node.outputs)

    def _compute(self, frame: Frame, operands: list[Tensor]) -> None:
        sizes = frame.sizes
        if self.clock != 1:
            # As long as the blocks, the last one filled up.
            sizes = {**sizes, "L": frame.current.touched(self.clock) * self.clock}
        results = self.operation(operands, sizes, frame.current.like)
        for value, result in zip(self.node.outputs, results, strict=True):
            frame.values[value] = result

    @staticmethod
    def _aligned(frame: Frame, value: Value, output: Layout, rank: int) -> Tensor:
        """An operand as it broadcasts with others that have rows: its own go where theirs are."""
        x = frame.values[value]
        if not frame.is_hidden(value):
            return x
        missing = rank - (x.dim() - 1)
        if output.rows is None:
            return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:])
        place = output.rows - missing
        if place < 0:
            return x.reshape(x.shape[0], *(1,) * (-place - 1), *x.shape[1:])
        # The operand has a unit axis where the others have rows.
        return x.movedim(0, place).squeeze(place + 1)


class StreamStep(Step):
    """Works along time by its own rule and what it keeps."""

    def __init__(
        self, plan: NodePlan, instance: Instance, layouts: Mapping[Value, Layout], key: Key
    ) -> None:
        assert plan.memory is not None
        self.node, self.memory, self.key = plan.node, plan.memory, key
        self.clock = layouts[plan.node.output].clock
        self.primitive = PRIMITIVES[plan.node.op]
        self.args = Arguments(plan.node, instance, plan.memory)

    def run(self, frame: Frame) -> None:
        if (self.memory.by_row or self.clock != 1) and not frame.current.is_even:
            for name in self.args.reads:
                frame.extend(cast(Value, self.node.args[name]))
            by_row(frame, self, self.node.outputs, (self.key,))
            return
        if self.clock == 1 or self.memory.rings or self.memory.caches:
            results = self._results(Call(frame, self.args, self.key, self.clock))
        else:
            results = self._by_blocks(frame)
        for value, result in zip(self.node.outputs, results, strict=True):
            frame.define(value, result)

    def _results(self, call: Call) -> tuple[Tensor, ...]:
        found = self.primitive.stream(call)
        return found if isinstance(found, tuple) else (found,)

    def _call(self, frame: Frame, blocks: slice) -> Call:
        return Call(frame, self.args, self.key, self.clock, blocks)

    def _by_blocks(self, frame: Frame) -> tuple[Tensor, ...]:
        """What is carried on goes as far as blocks are full; the last one is computed again."""
        after = frame.current.after
        (full,), number = frame.current.settled(self.clock)[:1], frame.current.touched(self.clock)
        parts: list[tuple[Tensor, ...]] = []
        if self.key in frame.current.before:
            after[self.key] = frame.current.before[self.key]
        if full:
            parts.append(self._results(self._call(frame, slice(0, full))))
        if full < number:
            settled = after.get(self.key)
            parts.append(self._results(self._call(frame, slice(full, number))))
            after[self.key] = settled or Unstarted(len(frame.current.lengths))
        return tuple(torch.cat(same, 1) for same in zip(*parts, strict=True))


class Arguments:
    """The arguments of an operation along time; what does not change is evaluated once."""

    def __init__(self, node: Node, instance: Instance, memory: Memory) -> None:
        self.tensors: dict[str, Argument] = {}
        self.fixed: dict[str, Evaluated] = {}
        self.time = {name: node.args[name] for name in memory.time if node.args.get(name)}
        self.reads: dict[str, tuple[int | None, bool]] = {}
        for name, argument in node.args.items():
            if name in self.time:
                continue
            if _has_value(argument):
                self.tensors[name] = argument
                continue
            try:
                self.fixed[name] = evaluated(argument, {}, instance.env)
            except (KeyError, UnknownStatic):
                continue  # it depends on B, L or a dim of the call, which no rule reads
        for name, size in memory.rings.items():
            self.reads[name] = (size_of(size, instance.env), True)
        for name, most in memory.caches.items():
            self.reads[name] = (None if most is None else size_of(most, instance.env), False)
        if "axis" in self.fixed:
            self.fixed["axis"] = 1

    def at(self, frame: Frame) -> dict[str, Evaluated]:
        args = dict(self.fixed)
        for name, argument in self.tensors.items():
            args[name] = evaluated(argument, frame.values, frame.sizes)
        for name, value in self.time.items():
            args[name] = frame.rows_first(cast(Value, value))
        return args


def _has_value(argument: Argument) -> bool:
    if isinstance(argument, tuple):
        return any(map(_has_value, argument))
    return isinstance(argument, Value)


class Call:
    """A `gabc.ops.streaming.StreamCall` in a frame."""

    def __init__(
        self,
        frame: Frame,
        args: Arguments,
        key: Key,
        clock: int = 1,
        blocks: slice | None = None,
    ) -> None:
        """Operands count blocks of `clock` positions; `blocks` are those to compute, the first ones
        or those after what has been carried."""
        self.frame, self._args, self._key, self._clock = frame, args, key, clock
        self.args = args.at(frame)
        self._blocks = blocks
        if blocks is not None:
            for name, value in args.time.items():
                self.args[name] = frame.rows_first(cast(Value, value))[:, blocks]

    @property
    def start(self) -> int:
        return self.frame.current.start

    @property
    def positions(self) -> Tensor:
        positions = self.frame.current.positions(self._clock)
        return positions if self._blocks is None else positions[:, self._blocks]

    def past(self, name: str) -> Tensor:
        most, is_ring = self._args.reads[name]
        return self.frame.past(cast(Value, self._args.time[name]), most, is_ring)

    @property
    def carried(self) -> tuple[Tensor, ...] | None:
        rows = next((x.shape[0] for x in self._moving()), 1)
        if self._blocks is not None:
            settled = self.frame.current.after.get(self._key)
            return settled.tensors if isinstance(settled, Carried) else None
        kept = self.frame.current.kept(self._key, rows)
        return kept.tensors if isinstance(kept, Carried) else None

    def carry(self, *tensors: Tensor) -> None:
        self.frame.current.after[self._key] = Carried(tensors)

    def helper(self, name: str) -> Callable[..., object]:
        return helper(name)

    def _moving(self) -> Sequence[Tensor]:
        found = [self.args[name] for name in self._args.time]
        return [x for x in found if isinstance(x, Tensor)]


def by_row(frame: Frame, step: Step, outputs: Sequence[Value], keys: Sequence[Key] = ()) -> None:
    """Run a step for each row alone, and join the results and what is kept."""
    rows = range(len(frame.current.lengths))
    frames = [frame.row(row, keys) for row in rows]
    for one in frames:
        step.run(one)
    for value in outputs:
        parts = [one.values[value] for one in frames]
        layout = frame.layouts[value]
        if layout.rows is not None:
            frame.values[value] = torch.cat(parts, layout.rows)
        else:
            frame.values[value] = torch.stack(parts) if layout.is_per_row else parts[0]
    for key in keys:
        kept = [one.current.after[key] for one in frames if key in one.current.after]
        if kept:
            frame.current.after[key] = join(kept)
