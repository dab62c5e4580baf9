"""The reference interpreter: the meaning of a design, in plain torch, one operation after another.

Everything else the compiler produces is compared with it. A `scan` is a loop over time, a child is
a call, nothing is fused, and every primitive is its `reference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gabc.dims import Dim
from gabc.graph.instance import Instance, Stack
from gabc.graph.names import attribute_names, shared_keys
from gabc.graph.nodes import Argument, ChildRef, Graph, Node, Region, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList, StaticValue, evaluate
from gabc.graph.types import B, Kind, L
from gabc.ops import PRIMITIVES
from gabc.ops.attention_blocks import sees_past_only
from gabc.ops.evaluated import Evaluated

Sizes: TypeAlias = Mapping[str, int]

NORM_EPS = 1e-5
"""Of the layer norm before the head."""


class ReferenceModel:
    """A design with its parameters, callable on tokens [B, L] (int64); returns logits [B, L, V].

    `parameters` are named as in the compiled module: `embedding.weight`, `blocks.0.attn.wq.weight`,
    `shared.<path>.weight`, `norm.weight`, and `head.weight` where the head is not tied. Buffers are
    among them. They take part in autograd as they are; `dtype` is that of new tensors (constants,
    states) and must be that of the parameters.
    """

    def __init__(
        self,
        stack: Stack,
        parameters: Mapping[str, Tensor],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.stack = stack
        self.parameters = parameters
        self.dtype = dtype
        self.like = parameters["embedding.weight"].new_empty((), dtype=dtype)
        """A tensor with the dtype and device of new ones."""
        self.shared = shared_keys(stack)
        self.losses: dict[str, Tensor] = {}
        """The auxiliary losses of the last call, summed over units by name."""

    def __call__(self, tokens: Tensor) -> Tensor:
        with _default_dtype(self.dtype):
            return self._logits(tokens)

    def _logits(self, tokens: Tensor) -> Tensor:
        head = self.stack.head
        embedding = self.parameters["embedding.weight"]
        X = embedding[tokens]
        if head.embed_scale is not None:
            X = X * head.embed_scale
        self.losses = {}
        z: dict[str, Tensor] = {}
        for layer in range(len(self.stack.blocks)):
            X, z = self._block(layer, X, z)
        deviation = X - X.mean(-1, keepdim=True)
        X = deviation / torch.sqrt(deviation.square().mean(-1, keepdim=True) + NORM_EPS)
        X = X * self.parameters["norm.weight"]
        logits = X @ (embedding if head.tie else self.parameters["head.weight"]).T
        if head.logit_cap is not None:
            logits = head.logit_cap * torch.tanh(logits / head.logit_cap)
        return logits

    def block(
        self, layer: int, X: Tensor, z: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One block: X [B, L, D] and the Z entries before it to the same after it."""
        with _default_dtype(self.dtype):
            return self._block(layer, X, z)

    def _block(
        self, layer: int, X: Tensor, z: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        instance = self.stack.blocks[layer]
        graph = _graph(instance)
        unit = _Unit(self, instance, f"blocks.{layer}", "")
        sizes = {"B": X.shape[0], "L": X.shape[1]}
        reads = [z.get(read.key) for read in graph.z_reads]
        results = unit.run([X], reads, sizes)
        written = results[len(graph.results) :]
        keys = [write.key for write in graph.z_writes]
        return results[0], {**z, **dict(zip(keys, written, strict=True))}


@dataclass
class _Unit:
    """One instance: `path` names its parameters, `inside` is its place in the block."""

    model: ReferenceModel
    instance: Instance
    path: str
    inside: str

    def parameter(self, name: str) -> Tensor:
        return self.model.parameters[f"{self.path}.{attribute_names(self.instance)[name]}"]

    def child(self, reference: ChildRef) -> _Unit:
        children = self.instance.children[reference.name]
        part = attribute_names(self.instance)[reference.name]
        if reference.index is not None:
            part = f"{part}.{reference.index}"
        inside = f"{self.inside}.{part}" if self.inside else part
        path = f"{self.path}.{part}"
        if children.is_shared:
            path = f"shared.{self.model.shared[inside]}"
        return _Unit(self.model, children.instances[reference.index or 0], path, inside)

    def run(self, args: list[Tensor], z: list[Tensor | None], sizes: Sizes) -> tuple[Tensor, ...]:
        """Results, then the Z entries written. `sizes` are B and L of the caller."""
        if self.instance.unit is None:
            weight = self.parameter("weight")
            has_bias = any(param.name == "bias" for param in self.instance.params)
            return (F.linear(args[0], weight, self.parameter("bias") if has_bias else None),)
        graph = _graph(self.instance)
        frame = _Frame(self, {**self.instance.env, **_bound(graph, args, sizes)})
        frame.bind(graph.inputs, args)
        for read, value in zip(graph.z_reads, z, strict=True):
            if value is not None:
                frame.values[read.value] = value
        frame.run(graph.nodes)
        for name, loss in graph.losses:
            total = self.model.losses.get(name)
            value = frame.values[loss]
            self.model.losses[name] = value if total is None else total + value
        written = tuple(write.value for write in graph.z_writes)
        return tuple(frame.values[value] for value in graph.results + written)


@dataclass
class _Frame:
    """A call of a unit: the values of its static names and of its tensors."""

    unit: _Unit
    env: dict[str, StaticValue]
    values: dict[Value, Tensor] = field(default_factory=dict)

    def bind(self, names: tuple[Value, ...], tensors: list[Tensor]) -> None:
        self.values.update(zip(names, tensors, strict=True))

    def run(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            for value, result in zip(node.outputs, self._node(node), strict=True):
                self.values[value] = result

    def _node(self, node: Node) -> tuple[Tensor, ...]:
        match node.op:
            case "param":
                return (self.unit.parameter(cast(str, node.args["name"])),)
            case "coalesce":
                value, default = node.args["value"], node.args["default"]
                assert isinstance(value, Value)
                assert isinstance(default, Value)
                return (self.values.get(value, self.values[default]),)
            case "call":
                return self._call(node)
            case "scan":
                return self._scan(node)
            case "attend" if node.region is not None:
                return (self._attend(node, node.region),)
        primitive = PRIMITIVES[node.op]
        args = {name: self._evaluate(argument) for name, argument in node.args.items()}
        if primitive.creates:
            args["like"] = self.unit.model.like
        result = primitive.reference(args)
        return result if isinstance(result, tuple) else (result,)

    def _evaluate(self, argument: Argument) -> Evaluated:
        match argument:
            case Value():
                return self.values[argument]
            case Dim():
                return self._size(argument)
            case Literal() | Ref() | Apply() | StaticList():
                return cast("Evaluated", evaluate(argument, self.env))
            case tuple():
                return tuple(self._evaluate(part) for part in argument)
            case ChildRef():
                raise TypeError(f"the child {argument.name} is no argument of a primitive")
        return argument

    def _size(self, dim: Dim) -> int:
        size = dim.evaluate(_numbers(self.env))
        if size.denominator != 1:
            raise ValueError(f"{dim} is {size} here")
        return size.numerator

    def _call(self, node: Node) -> tuple[Tensor, ...]:
        reference, args, z = node.args["child"], node.args["args"], node.args.get("z", ())
        assert isinstance(reference, ChildRef)
        assert isinstance(args, tuple)
        assert isinstance(z, tuple)
        inputs = [self.values[arg] for arg in args if isinstance(arg, Value)]
        entries = [self.values.get(entry) if isinstance(entry, Value) else None for entry in z]
        sizes: dict[str, int] = {
            name: cast(int, self.env[name]) for name in ("B", "L") if name in self.env
        }
        return self.unit.child(reference).run(inputs, entries, sizes)

    # ------------------------------------------------------------------------------- scan

    def _scan(self, node: Node) -> tuple[Tensor, ...]:
        region, inputs, chunk = node.region, node.args["inputs"], node.args.get("chunk")
        assert region is not None
        assert isinstance(inputs, tuple)
        sources = [value for value in inputs if isinstance(value, Value)]
        length = cast(int, self.env["L"])
        step = self._size(chunk) if isinstance(chunk, Dim) else 1
        states = [self._initial(c.current, c.initial) for c in region.carried]
        parts: list[list[Tensor]] = [[] for _ in node.outputs]
        for start in range(0, length, step):
            frame = _Frame(self.unit, self.env, dict(self.values))
            for outer, inner in zip(sources, region.inputs, strict=True):
                size = None if chunk is None else step
                frame.values[inner] = _piece(self.values[outer], start, size)
            frame.bind(tuple(carried.current for carried in region.carried), states)
            if region.step is not None:
                frame.values[region.step] = torch.tensor(start, device=self._device(sources))
            frame.run(region.nodes)
            states = [frame.values[carried.next] for carried in region.carried]
            for part, result in zip(parts, region.results, strict=True):
                part.append(frame.values[result])
        if chunk is None:
            return tuple(torch.stack(part, 1) for part in parts)
        return tuple(torch.cat(part, 1)[:, :length] for part in parts)

    def _initial(self, current: Value, initial: Value | Static) -> Tensor:
        value = self._evaluate(initial)
        if not isinstance(value, Tensor):
            value = torch.tensor(value, dtype=self._dtype(current.type.kind))
        return value.expand([self._size(dim) for dim in current.type.dims])

    def _dtype(self, kind: Kind) -> torch.dtype:
        match kind:
            case "float":
                return self.unit.model.dtype
            case "complex":
                return self.unit.model.dtype.to_complex()
            case "int":
                return torch.int64
            case "bool":
                return torch.bool

    def _device(self, values: list[Value]) -> torch.device:
        return self.values[values[0]].device

    # ----------------------------------------------------------------------------- attend

    def _attend(self, node: Node, region: Region) -> Tensor:
        """Softmax attention whose scores and mask the body edits; causality is always added.

        What the arguments ask for (`softcap`, `bias`) is done to the scores before the body, which
        is evaluated for keys up to the query: see `gabc.ops.attention_blocks`.
        """
        args = {name: self._evaluate(argument) for name, argument in node.args.items()}
        q, k, v = (cast(Tensor, args[name]) for name in ("q", "k", "v"))
        length, heads = q.shape[1], q.shape[2]
        group = heads // k.shape[2]
        k, v = k.repeat_interleave(group, dim=2), v.repeat_interleave(group, dim=2)
        scale, softcap, bias = args.get("scale"), args.get("softcap"), args.get("bias")
        score = torch.einsum("blhk,bmhk->bhlm", q, k)
        score = score * (q.shape[-1] ** -0.5 if scale is None else cast(float, scale))
        if softcap is not None:
            score = cast(float, softcap) * torch.tanh(score / cast(float, softcap))
        if bias is not None:
            score = score + cast(Tensor, bias)
        grid = [
            torch.arange(size, device=q.device).reshape([-1 if i == axis else 1 for i in range(4)])
            for axis, size in enumerate((q.shape[0], heads, length, length))
        ]
        frame = _Frame(self.unit, self.env, dict(self.values))
        b, h, i, j = grid
        seen = torch.minimum(i, j) if sees_past_only(region) else j
        frame.bind(region.inputs, [score, b, h, i, seen])
        frame.run(region.nodes)
        results = [frame.values[value] for value in region.results]
        allowed = _allowed(args, i, j)
        if len(results) > 1:
            allowed = allowed & results[1]
        return _softmax_mean(results[0], allowed, v, cast("Tensor | None", args.get("sinks")))


def _allowed(args: Mapping[str, Evaluated], i: Tensor, j: Tensor) -> Tensor:
    """Which keys j a query i may see, broadcasting to [B, H, L, L]."""
    allowed = j <= i
    window, segments = args.get("window"), args.get("segments")
    if window is not None:
        allowed = allowed & (i - j < cast(int, window))
    if segments is not None:
        name = cast(Tensor, segments)
        allowed = allowed & (name[:, None, :, None] == name[:, None, None, :])
    return allowed


def _softmax_mean(score: Tensor, allowed: Tensor, v: Tensor, sinks: Tensor | None) -> Tensor:
    """The mean of v [B, L, H, V] weighted by the softmax of score [B, H, L, L] where allowed.

    `sinks` [H] are logits that join the denominator. A row without any allowed key gives zeros.
    """
    score = torch.where(allowed, score, float("-inf"))
    peak = score.amax(-1, keepdim=True)
    if sinks is not None:
        peak = torch.maximum(peak, sinks[:, None, None])
    peak = peak.clamp(min=torch.finfo(score.dtype).min).detach()
    weight = torch.exp(score - peak)
    total = weight.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + torch.exp(sinks[:, None, None] - peak)
    weight = weight / torch.where(total == 0, torch.ones_like(total), total)
    return torch.einsum("bhlm,bmhv->blhv", weight, v)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What references make from numbers alone has the interpreter's precision, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _piece(tensor: Tensor, start: int, size: int | None) -> Tensor:
    """What one step of a scan sees of an argument [B, L, ...]: a position, or a chunk of `size`.

    The last chunk is filled up with copies of the last position, which a causal body cannot tell.
    """
    if size is None:
        return tensor[:, start]
    piece = tensor[:, start : start + size]
    missing = size - piece.shape[1]
    return torch.cat([piece, *[piece[:, -1:]] * missing], 1)


def _bound(graph: Graph, args: list[Tensor], sizes: Sizes) -> dict[str, int]:
    """The dims that the call binds, B and L; these are the caller's where no argument has them."""
    bound = dict(sizes)
    for name, dim in (("B", B), ("L", L)):
        for value, tensor in zip(graph.inputs, args, strict=True):
            if dim in value.type.dims:
                bound[name] = tensor.shape[value.type.dims.index(dim)]
                break
    for call_dim in graph.call_dims:
        bound[call_dim.name] = args[call_dim.argument].shape[call_dim.axis]
    return bound


def _numbers(env: Mapping[str, StaticValue]) -> dict[str, int]:
    """The names that can stand in a dim; a decimal stands for the decimal number."""
    numbers: dict[str, int] = {}
    for name, value in env.items():
        if isinstance(value, float):
            numbers[name] = cast(int, Fraction(repr(value)))
        elif isinstance(value, int) and not isinstance(value, bool):
            numbers[name] = value
    return numbers


def _graph(instance: Instance) -> Graph:
    if instance.graph is None:
        raise ValueError(f"{instance.name} has no graph: the design was not elaborated in full")
    return instance.graph
