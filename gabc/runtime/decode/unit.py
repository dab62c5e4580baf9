"""A unit at its place in the model, ready to go on with a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.check.streaming import NodeKind, NodePlan, UnitPlan
from gabc.graph.instance import Instance
from gabc.graph.names import attribute_names
from gabc.graph.nodes import ChildRef, Node, Value
from gabc.graph.static import StaticValue
from gabc.ops.verify import find_child
from gabc.runtime.decode.blocks import BlocksStep, UnblocksStep
from gabc.runtime.decode.environment import bound_sizes, in_place, rows_first
from gabc.runtime.decode.frame import Frame, Pass
from gabc.runtime.decode.past import Cache
from gabc.runtime.decode.regions import AttendStep, ScanStep
from gabc.runtime.decode.steps import (
    CoalesceStep,
    ParameterStep,
    PlainStep,
    Step,
    StreamStep,
)


class Names:
    """The model's parameters, and the names of the modules that blocks share."""

    def __init__(self, parameters: Mapping[str, Tensor], shared: Mapping[str, str]) -> None:
        self.parameters, self.shared = parameters, shared


class Place:
    """Where a unit is: `path` names its parameters, `state_path` what it keeps.

    Two blocks that share a module keep two states of it.
    """

    def __init__(self, names: Names, path: str, state_path: str, inside: str) -> None:
        self.names, self.path, self.state_path, self.inside = names, path, state_path, inside

    def parameter(self, instance: Instance, name: str) -> Tensor:
        return self.names.parameters[f"{self.path}.{attribute_names(instance)[name]}"]

    def child(self, instance: Instance, reference: ChildRef, call: int) -> Place:
        """`call` tells the calls of one child apart, each of which keeps a state of its own."""
        part = attribute_names(instance)[reference.name]
        if reference.index is not None:
            part = f"{part}.{reference.index}"
        inside = f"{self.inside}.{part}" if self.inside else part
        path = f"{self.path}.{part}"
        if instance.children[reference.name].is_shared:
            path = f"shared.{self.names.shared[inside]}"
        again = f"@{call + 1}" if call else ""
        return Place(self.names, path, f"{self.state_path}.{part}{again}", inside)


class UnitRunner:
    """Runs one unit; `run` takes its arguments and the Z entries it reads, and gives its results,
    then the Z entries it writes."""

    def __init__(self, plan: UnitPlan, place: Place) -> None:
        self.plan, self.place = plan, place
        instance = plan.instance
        assert instance.graph is not None
        self.graph = instance.graph
        self.pasts = {v: (number, c) for number, (v, c) in enumerate(plan.pasts.items())}
        self._calls: dict[ChildRef, int] = {}
        self._number = len(self.pasts)
        self.steps = self._steps(plan.nodes)
        self.ends = [*self.graph.results, *(write.value for write in self.graph.z_writes)]
        self.inputs = [*self.graph.inputs, *(read.value for read in self.graph.z_reads)]

    def run(
        self,
        args: Sequence[Tensor],
        z: Sequence[Tensor | None],
        sizes: Mapping[str, StaticValue],
        current: Pass,
    ) -> list[Tensor]:
        if self.plan.is_recomputed and not current.is_whole:
            return self._recompute([*args, *z], sizes, current)
        return self._run([*args, *z], sizes, current)

    def _run(
        self, given: Sequence[Tensor | None], sizes: Mapping[str, StaticValue], current: Pass
    ) -> list[Tensor]:
        layouts = self.plan.layouts
        count = len(self.graph.inputs)
        args = [cast(Tensor, tensor) for tensor in given[:count]]
        hidden = [
            int(not current.is_even and layouts[value].is_per_row) for value in self.graph.inputs
        ]
        bound = bound_sizes(self.graph, args, hidden, sizes)
        frame = Frame(self.place.state_path, layouts, self.pasts, bound, current)
        for value, tensor in zip(self.inputs, given, strict=True):
            if tensor is not None:
                frame.values[value] = tensor
        for step in self.steps:
            step.run(frame)
        return [frame.values[value] for value in self.ends]

    # ---------------------------------------------------------------- from the start again

    def _recompute(
        self, given: Sequence[Tensor | None], sizes: Mapping[str, StaticValue], current: Pass
    ) -> list[Tensor]:
        """Keep the arguments, compute all positions and return the new ones.

        Rows that have had unequally many are computed one by one, so that none is filled up.
        """
        layouts = self.plan.layouts
        caches: dict[Value, Cache] = {}
        fixed: dict[Value, Tensor] = {}
        for number, (value, tensor) in enumerate(zip(self.inputs, given, strict=True)):
            if tensor is None:
                continue
            layout = layouts[value]
            if value not in self.plan.arguments:
                fixed[value] = tensor
                continue
            is_hidden = not current.is_even and layout.is_per_row
            x = rows_first(tensor, layout, is_hidden)
            key = (self.place.state_path, number)
            before = current.kept(key, x.shape[0])
            cache = before if isinstance(before, Cache) else Cache.empty(x, None)
            caches[value] = cache.extended(x)
            current.after[key] = caches[value]
        rows = len(current.lengths)
        groups: list[int | None] = [None] if current.is_even else list(range(rows))
        found = [self._group(row, caches, fixed, sizes, current) for row in groups]
        if current.is_even:
            return found[0]
        return [
            _joined([part[place] for part in found], value, self.plan)
            for place, value in enumerate(self.ends)
        ]

    def _group(
        self,
        row: int | None,
        caches: Mapping[Value, Cache],
        fixed: Mapping[Value, Tensor],
        sizes: Mapping[str, StaticValue],
        current: Pass,
    ) -> list[Tensor]:
        """The new positions of one row, or of all rows where they have equally many."""
        layouts = self.plan.layouts
        given: list[Tensor | None] = []
        for value in self.inputs:
            if value in caches:
                cache = caches[value]
                view = cache.view(None if cache.rows == 1 else row)
                given.append(in_place(view, layouts[value], False))
            elif value in fixed:
                rows = layouts[value].rows
                whole = fixed[value]
                is_cut = row is not None and rows is not None
                given.append(whole.narrow(rows or 0, row or 0, 1) if is_cut else whole)
            else:
                given.append(None)
        lengths = current.lengths if row is None else current.lengths[row : row + 1]
        total = lengths[0] + current.count
        whole_pass = Pass((0,) * len(lengths), total, current.like, True, {})
        bound = {**sizes, "B": len(lengths), "L": total}
        ends = self._run(given, bound, whole_pass)
        here = Pass(lengths, current.count, current.like, True, {})
        return [
            _last(end, layouts[value].time, here.touched(layouts[value].clock))
            for value, end in zip(self.ends, ends, strict=True)
        ]

    # ---------------------------------------------------------------- preparation

    def _steps(self, plans: Sequence[NodePlan]) -> list[Step]:
        return [self._step(plan) for plan in plans]

    def _step(self, plan: NodePlan) -> Step:
        node, instance = plan.node, self.plan.instance
        self._number += 1
        key = (self.place.state_path, self._number)
        match plan.kind:
            case NodeKind.CALL:
                return self._call(plan)
            case NodeKind.SCAN:
                return ScanStep(plan, instance, self._steps(plan.body), key)
            case NodeKind.ATTEND:
                return AttendStep(plan, instance, self._steps(plan.body), key)
            case NodeKind.STREAM:
                return StreamStep(plan, instance, self.plan.layouts, key)
            case NodeKind.BLOCKS:
                return BlocksStep(node, self.plan.layouts)
            case NodeKind.UNBLOCKS:
                return UnblocksStep(node, self.plan.layouts)
        if node.op == "param":
            name = cast(str, node.args["name"])
            return ParameterStep(node.output, self.place.parameter(instance, name))
        if node.op == "coalesce":
            return CoalesceStep(node)
        return PlainStep(node, instance, self.plan.layouts)

    def _call(self, plan: NodePlan) -> Step:
        reference = cast(ChildRef, plan.node.args["child"])
        instance = self.plan.instance
        child = find_child(instance, reference)
        number = self._calls.get(reference, 0)
        self._calls[reference] = number + 1
        place = self.place.child(instance, reference, number)
        if plan.child is None:
            has_bias = any(param.name == "bias" for param in child.params)
            bias = place.parameter(child, "bias") if has_bias else None
            return LinearStep(plan.node, place.parameter(child, "weight"), bias)
        return CallStep(plan.node, UnitRunner(plan.child, place))


class LinearStep(Step):
    def __init__(self, node: Node, weight: Tensor, bias: Tensor | None) -> None:
        (self.x,) = cast("tuple[Value, ...]", node.args["args"])
        self.output, self.weight, self.bias = node.output, weight, bias

    def run(self, frame: Frame) -> None:
        frame.values[self.output] = F.linear(frame.values[self.x], self.weight, self.bias)


class CallStep(Step):
    def __init__(self, node: Node, runner: UnitRunner) -> None:
        self.node, self.runner = node, runner
        self.args = cast("tuple[Value, ...]", node.args["args"])
        self.z = cast("tuple[Value | None, ...]", node.args.get("z", ()))

    def run(self, frame: Frame) -> None:
        args = [frame.values[value] for value in self.args]
        z = [None if value is None else frame.values.get(value) for value in self.z]
        results = self.runner.run(args, z, frame.sizes, frame.current)
        frame.values.update(zip(self.node.outputs, results, strict=True))


def _last(x: Tensor, time: int | None, count: int) -> Tensor:
    return x if time is None else x.narrow(time, x.shape[time] - count, count)


def _joined(parts: Sequence[Tensor], value: Value, plan: UnitPlan) -> Tensor:
    """The results of single rows, as an uneven pass has them."""
    layout = plan.layouts[value]
    if layout.rows is not None:
        return torch.cat(list(parts), layout.rows)
    return torch.stack(list(parts)) if layout.is_per_row else parts[0]
