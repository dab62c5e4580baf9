"""Operations with a body: `scan`, and `attend` with a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from gabc.check.streaming import NodePlan
from gabc.dims import Dim
from gabc.graph.instance import Instance
from gabc.graph.nodes import Region, Value
from gabc.graph.static import Static, evaluate
from gabc.ops.attention_blocks import sees_past_only
from gabc.ops.attention_stream import attention_scores, kept_keys, weighted_values
from gabc.ops.evaluated import Evaluated, optional_tensor, tensor
from gabc.runtime.decode.environment import evaluated, in_place, size_of
from gabc.runtime.decode.frame import Frame
from gabc.runtime.decode.past import Carried
from gabc.runtime.decode.state import Key
from gabc.runtime.decode.steps import Arguments, Call, Step, by_row


class ScanStep(Step):
    """A recurrence step by step, or chunk by chunk.

    A chunk that is not full is computed again with each of its positions, its end filled with
    copies of the last one, which a causal body cannot tell; the states move on when it is full.
    """

    def __init__(self, plan: NodePlan, instance: Instance, body: Sequence[Step], key: Key) -> None:
        region = plan.node.region
        assert region is not None
        self.node, self.region, self.body, self.key = plan.node, region, body, key
        self.env = instance.env
        self.sources = [
            v for v in cast(tuple[object, ...], plan.node.args["inputs"]) if isinstance(v, Value)
        ]
        chunk = plan.node.args.get("chunk")
        self.chunk = size_of(chunk, instance.env) if isinstance(chunk, Dim) else None

    def run(self, frame: Frame) -> None:
        needs_place = self.region.step is not None or self.chunk is not None
        if needs_place and not frame.current.is_even:
            if self.chunk is not None:
                for value in dict.fromkeys(self.sources):
                    frame.extend(value)
            by_row(frame, self, self.node.outputs, (self.key,))
            return
        states = self._states(frame)
        if self.chunk is None:
            results, states = self._by_position(frame, states)
        else:
            results, states = self._by_chunk(frame, states, self.chunk)
        frame.current.after[self.key] = Carried(tuple(states))
        for value, result in zip(self.node.outputs, results, strict=True):
            frame.values[value] = result

    def _by_position(self, frame: Frame, states: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        sources = [frame.values[value] for value in self.sources]
        parts: list[list[Tensor]] = [[] for _ in self.node.outputs]
        for place in range(frame.current.count):
            inputs = [source[:, place] for source in sources]
            found, states = self._body(frame, inputs, states, place)
            for part, result in zip(parts, found, strict=True):
                part.append(result)
        return [torch.stack(part, 1) for part in parts], states

    def _by_chunk(
        self, frame: Frame, states: list[Tensor], size: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        fill = frame.current.start % size
        sources = [frame.past(value, fill, is_ring=True) for value in self.sources]
        length = fill + frame.current.count
        parts: list[list[Tensor]] = [[] for _ in self.node.outputs]
        for start in range(0, length, size):
            inputs = [_filled(source[:, start : start + size], size) for source in sources]
            found, after = self._body(frame, inputs, states, start - fill)
            if start + size <= length:
                states = after
            for part, result in zip(parts, found, strict=True):
                part.append(result)
        return [torch.cat(part, 1)[:, fill:length] for part in parts], states

    def _body(
        self, frame: Frame, inputs: list[Tensor], states: list[Tensor], offset: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One step of the body; its values are named apart from those around it."""
        values = frame.values
        values.update(zip(self.region.inputs, inputs, strict=True))
        for carried, state in zip(self.region.carried, states, strict=True):
            values[carried.current] = state
        if self.region.step is not None:
            device = frame.current.like.device
            values[self.region.step] = torch.tensor(frame.current.start + offset, device=device)
        for step in self.body:
            step.run(frame)
        results = [values[value] for value in self.region.results]
        return results, [values[carried.next] for carried in self.region.carried]

    # ---------------------------------------------------------------- states

    def _states(self, frame: Frame) -> list[Tensor]:
        rows = len(frame.current.lengths)
        kept = frame.current.kept(self.key, rows)
        if isinstance(kept, Carried):
            return list(kept.tensors)
        return [self._initial(frame, c.current, c.initial) for c in self.region.carried]

    def _initial(self, frame: Frame, current: Value, initial: Value | Static) -> Tensor:
        sizes = {**self.env, **frame.sizes}
        shape = [size_of(dim, sizes) for dim in current.type.dims]
        like = frame.current.like
        kind = current.type.kind
        dtype = {"int": torch.int64, "bool": torch.bool, "complex": like.dtype.to_complex()}.get(
            kind, like.dtype
        )
        if isinstance(initial, Value):
            return frame.values[initial].to(dtype).expand(shape)
        number = evaluate(initial, sizes)
        assert isinstance(number, (int, float))
        return torch.full(shape, number, dtype=dtype, device=like.device)


def _filled(piece: Tensor, size: int) -> Tensor:
    missing = size - piece.shape[1]
    return piece if not missing else torch.cat([piece, *[piece[:, -1:]] * missing], 1)


class AttendStep(Step):
    """Attention whose scores and mask a block edits."""

    def __init__(self, plan: NodePlan, instance: Instance, body: Sequence[Step], key: Key) -> None:
        region = plan.node.region
        assert region is not None
        self.node, self.region, self.body, self.key = plan.node, region, body, key
        self.env = instance.env
        self.memory = plan.memory
        if plan.memory is not None:
            self.args = Arguments(plan.node, instance, plan.memory)
        self.looked_up = _looked_up(region)

    def run(self, frame: Frame) -> None:
        if self.memory is not None and not frame.current.is_even:
            for name in self.args.reads:
                frame.extend(cast(Value, self.node.args[name]))
            for value in self.looked_up:
                if value in frame.pasts:
                    frame.extend(value)
            by_row(frame, self, self.node.outputs)
            return
        call = self._call(frame)
        q, k, v = tensor(call.args, "q"), call.past("k"), call.past("v")
        score = attention_scores(call, q, k)
        keep = kept_keys(call, q.shape[1], k.shape[1])
        start = 0
        if self.memory is not None:
            query = cast(Value, self.node.args["q"])
            start = frame.current.start // frame.layouts[query].clock
        values = frame.values
        b, h, i, j = _grid(score, start)
        seen = torch.minimum(i, j) if sees_past_only(self.region) else j
        values.update(zip(self.region.inputs, (score, b, h, i, seen), strict=True))
        captured = {v: values[v] for v in self.looked_up if v in frame.pasts}
        for value in captured:
            whole = frame.past(value, None, is_ring=False)
            values[value] = in_place(whole, frame.layouts[value], frame.is_hidden(value))
        for step in self.body:
            step.run(frame)
        values.update(captured)
        results = [values[value] for value in self.region.results]
        if len(results) > 1:
            keep = keep & results[1]
        y = weighted_values(results[0], keep, v, optional_tensor(call.args, "sinks"))
        values[self.node.output] = y

    def _call(self, frame: Frame) -> Call | _AllAtHand:
        if self.memory is not None:
            return Call(frame, self.args, self.key)
        env = {**self.env, **frame.sizes}
        return _AllAtHand(
            {name: evaluated(part, frame.values, env) for name, part in self.node.args.items()}
        )


@dataclass(frozen=True, slots=True)
class _AllAtHand:
    """A call of attention with all its positions."""

    args: Mapping[str, Evaluated]

    def past(self, name: str) -> Tensor:
        return tensor(self.args, name)


def _grid(score: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """b, h, i, j for score [R, H, T, N], whose queries begin at `start`."""
    rows, heads, count, length = score.shape
    end = start + count
    ranges = ((0, rows), (0, heads), (start, end), (end - length, end))
    b, h, i, j = (torch.arange(*ends, device=score.device) for ends in ranges)
    return b[:, None, None, None], h[:, None, None], i[:, None], j


def _looked_up(region: Region) -> list[Value]:
    """What the block reads by position."""
    tables = [node.args["x"] for node in region.nodes if node.op == "lookup"]
    return list(dict.fromkeys(value for value in tables if isinstance(value, Value)))
