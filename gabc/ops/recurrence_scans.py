"""Recurrences of single elements in parallel form, and what a state was one step before.

Authors write `scan`; `gabc.passes` puts these in its place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.recurrence import recurrence
from gabc.graph.nodes import Argument, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.static import Literal
from gabc.graph.types import TensorType
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import LOG_LENGTH, ZERO, Kept, Site, Work, copy, view
from gabc.ops.evaluated import operand, tensor
from gabc.ops.kinds import widest
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated


class _ElementScan(Primitive):
    """Two arguments that broadcast to [B, L, ...]; `initial` broadcasts to the state, [B, ...]."""

    internal = True
    pair: tuple[str, str]

    def shape(self, call: Call) -> TensorType:
        kind = widest(*(call.type(name).kind for name in self.pair))
        return TensorType(kind, call.broadcast(self.pair))

    def dependence(self, call: DependenceCall) -> Dependence:
        constant = ("initial",) if isinstance(call.args["initial"], Value) else ()
        return recurrence(call, self.pair, (), constant)

    @abstractmethod
    def step(self, h: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The state after one step, from the state before it."""

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        first, second = torch.broadcast_tensors(  # type: ignore[no-untyped-call]
            *(tensor(args, name) for name in self.pair)
        )
        h = torch.as_tensor(operand(args, "initial"), dtype=second.dtype, device=second.device)
        h = h.expand(second[:, 0].shape)
        states = []
        for t in range(second.shape[1]):
            h = self.step(h, first[:, t], second[:, t])
            states.append(h)
        return torch.stack(states, 1)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(self.pair)

    def stream(self, call: StreamCall) -> torch.Tensor:
        """One step by itself; more of them at once, from the state that was carried."""
        first, second = (tensor(call.args, name) for name in self.pair)
        initial = operand(call.args, "initial") if call.carried is None else call.carried[0]
        rank = max(first.dim(), second.dim())
        count = max(x.shape[1] for x in (first, second) if x.dim() == rank)
        if call.carried is not None and count == 1:
            at = [x[:, 0] if x.dim() == rank else x for x in (first, second)]
            states = self.step(call.carried[0], at[0], at[1]).unsqueeze(1)
        else:
            found = call.helper(self.name)(first, second, initial=initial)
            states = cast("torch.Tensor", found)
        call.carry(states[:, -1])
        return states

    def cost(self, site: Site) -> Work:
        """A tree of depth log2(L): each level combines pairs, half as many as the one before."""
        count = site.result
        return Work(
            pointwise=6 * count,
            pointwise_backward=6 * count if site.gradients() else ZERO,
            launches=4 * LOG_LENGTH,
            saves=tuple(site.operands()) + site.outputs if site.gradients() else (),
            extra_traffic=8 * count,
            keeps=(Kept(site.outputs[0], site.per_row(site.outputs[0], 1)),),
        )

    def lower(self, lowering: Lowering) -> Code:
        texts = [lowering.code(name).text for name in self.pair]
        if not is_number(lowering.argument("initial"), self.starts_at):
            texts.append(f"initial={lowering.code('initial').text}")
        return call_code(lowering.helper(self.name), *texts)

    starts_at: float


class LinearScan(_ElementScan):
    name = "linear_scan"
    pair = ("a", "b")
    parameters = (
        Parameter("a", ArgKind.VALUE),
        Parameter("b", ArgKind.VALUE),
        Parameter("initial", ArgKind.TENSOR, Literal(0.0)),
    )
    doc = (
        "The scan h = a * h + b, element by element: h after each step (Mamba, HGRN, minGRU, LRU, "
        "RG-LRU, S4D)."
    )
    starts_at = 0.0

    def step(self, h: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first * h + second


class MaxPlusScan(_ElementScan):
    name = "max_plus_scan"
    pair = ("f", "i")
    parameters = (
        Parameter("f", ArgKind.VALUE),
        Parameter("i", ArgKind.VALUE),
        Parameter("initial", ArgKind.TENSOR, Literal(float("-inf"))),
    )
    doc = "The scan m = max(m + f, i), element by element: the stabiliser of the xLSTM."
    starts_at = float("-inf")

    def step(self, h: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.maximum(h + first, second)


class Previous(Primitive):
    name = "previous"
    parameters = (
        Parameter("x", ArgKind.VALUE),
        Parameter("initial", ArgKind.TENSOR, Literal(0.0)),
    )
    doc = "The states `x` [B, L, ...] one step earlier, `initial` before the first: [B, L, ...]."
    internal = True

    def shape(self, call: Call) -> TensorType:
        return call.type("x")

    def dependence(self, call: DependenceCall) -> Dependence:
        constant = ("initial",) if isinstance(call.args["initial"], Value) else ()
        return recurrence(call, ("x",), (), constant, delay=1)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x = tensor(args, "x")
        initial = torch.as_tensor(operand(args, "initial"), dtype=x.dtype, device=x.device)
        states = [initial.expand(x[:, 0].shape), *x.unbind(1)]
        return torch.stack(states[:-1], 1)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory(("x",))

    def stream(self, call: StreamCall) -> torch.Tensor:
        x = tensor(call.args, "x")
        if call.carried is not None:
            before = call.carried[0]
        else:
            initial = operand(call.args, "initial")
            before = torch.as_tensor(initial, dtype=x.dtype, device=x.device).expand(x[:, 0].shape)
        call.carry(x[:, -1])
        return torch.cat([before.unsqueeze(1), x[:, :-1]], dim=1)

    def cost(self, site: Site) -> Work:
        kept = Kept(site.outputs[0], site.per_row(site.outputs[0], 1))
        return replace(copy(site), keeps=(kept,))

    def lower(self, lowering: Lowering) -> Code:
        x = lowering.code("x").within(Precedence.ATOM)
        if not isinstance(lowering.argument("initial"), Value):
            zeros = "0, 0, " * (lowering.type("x").rank - 2)
            number = lowering.code("initial").text
            value = "" if number in ("0.0", "0") else f", value={number}"
            return call_code("F.pad", f"{x}[:, :-1]", f"({zeros}1, 0){value}")
        initial = lowering.code("initial").within(Precedence.ATOM)
        first = f"{initial}.expand_as({x}[:, 0]).unsqueeze(1)"
        return call_code("torch.cat", f"[{first}, {x}[:, :-1]]", "dim=1")


class Complex(Primitive):
    name = "complex"
    parameters = (Parameter("re", ArgKind.TENSOR), Parameter("im", ArgKind.TENSOR))
    doc = "The complex numbers with these real and imaginary parts, which broadcast."
    internal = True

    def shape(self, call: Call) -> TensorType:
        return TensorType("complex", call.broadcast(("re", "im")))

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        re, im = operand(args, "re"), operand(args, "im")
        return torch.as_tensor(re + im * 1j)

    def lower(self, lowering: Lowering) -> Code:
        wide = lowering.helper("f32")
        codes = {name: lowering.code(name).text for name in ("re", "im")}
        values = [name for name in codes if isinstance(lowering.argument(name), Value)]
        parts = [
            call_code(wide, code).text
            if name in values
            else call_code("torch.full_like", call_code(wide, codes[values[0]]).text, code).text
            for name, code in codes.items()
        ]
        return call_code("torch.complex", *parts)


class Part(Primitive):
    """`real` and `imag`."""

    parameters = (Parameter("x", ArgKind.VALUE), Parameter("like", ArgKind.VALUE))
    internal = True

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        self.doc = doc

    def shape(self, call: Call) -> TensorType:
        return call.type("x").with_kind("float")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        x = torch.view_as_real(tensor(args, "x"))
        return x[..., 0 if self.name == "real" else 1]

    def lower(self, lowering: Lowering) -> Code:
        x, like = (lowering.code(name).within(Precedence.ATOM) for name in ("x", "like"))
        return Code(f"{x}.{self.name}.to({like}.dtype)")


class Narrow(Primitive):
    name = "narrow"
    parameters = (Parameter("x", ArgKind.VALUE), Parameter("like", ArgKind.VALUE))
    doc = "`x` in the precision of `like`: what a scan returns that has computed in float32."
    internal = True

    def shape(self, call: Call) -> TensorType:
        return call.type("x")

    def dependence(self, call: DependenceCall) -> Dependence:
        return call.of("x")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        return tensor(args, "x").to(tensor(args, "like").dtype)

    def cost(self, site: Site) -> Work:
        return view(site)  # a cast only where the design runs in less than float32

    def lower(self, lowering: Lowering) -> Code:
        x, like = (lowering.code(name).within(Precedence.ATOM) for name in ("x", "like"))
        return Code(f"{x}.to({like}.dtype)")


def is_number(argument: object, number: float) -> bool:
    """Whether an argument is this literal number."""
    return (
        isinstance(argument, Literal)
        and isinstance(argument.value, (int, float))
        and argument.value == number
    )


PRIMITIVES: tuple[Primitive, ...] = (
    LinearScan(),
    MaxPlusScan(),
    Previous(),
    Complex(),
    Narrow(),
    Part("real", "The real parts, in the precision of `like`."),
    Part("imag", "The imaginary parts, in the precision of `like`."),
)
