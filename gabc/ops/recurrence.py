"""Recurrences of matrices in parallel form. Authors write `scan`; `gabc.passes` puts these there.

All of S [B, H, K, V], which decays (in log space: nothing is multiplied up), is written
by an outer product and read by a contraction of its keys. `gabc.ops.recurrence_scans` has the
recurrences of single elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dependence.recurrence import recurrence
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import Site, Work
from gabc.ops.evaluated import flag, optional_tensor, tensor, text
from gabc.ops.recurrence_cost import delta_rule_cost, linear_attention_cost
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_OPTIONS = (
    Parameter("log_decay", ArgKind.VALUE, None),
    Parameter("decay", ArgKind.TEXT, "head"),
    Parameter("read_before", ArgKind.FLAG, False),
    Parameter("initial", ArgKind.VALUE, None),
)


class _MatrixRecurrence(Primitive):
    """`vectors` [B, L, H, K] and `v` [B, L, H, V]; a decay broadcasts to [B, L, H], or with `decay`
    "key" or "value" to [B, L, H, K] or [B, L, H, V]; without one the state does not decay. The
    state starts at zero, or at `initial`, which broadcasts to [B, H, K, V]. Gives [B, L, H, V]."""

    internal = True
    vectors: tuple[str, ...]

    def shape(self, call: Call) -> TensorType:
        batch, length, heads, keys = call.type("q").dims
        values = call.type("v").dims[3]
        message = f"`{self.name}` is given parts that do not fit"
        for name in (*self.vectors, "v"):
            width = values if name == "v" else keys
            wanted = (batch, length, heads, width)
            for found, expected in zip(call.type(name).dims, wanted, strict=True):
                call.require_equal(found, expected, message, name)
        return TensorType("float", (batch, length, heads, values))

    def dependence(self, call: DependenceCall) -> Dependence:
        carried = tuple(name for name in (*self.vectors, "v") if name != "q")
        delay = 1 if call.flag("read_before") else 0
        return recurrence(call, (*carried, "log_decay"), ("q",), ("initial",), delay=delay)

    def step(
        self, S: torch.Tensor, decay: torch.Tensor, at: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The state after a step; `at` has the vectors of its position, `decay` is [B, H, K, V]."""
        return decay * S + at["k"].unsqueeze(-1) * at["v"].unsqueeze(-2)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        q, v = tensor(args, "q"), tensor(args, "v")
        decay = _factor(args, q, v)
        names = (*self.vectors, "v")
        shape = (q.shape[0], *q.shape[2:], v.shape[-1])
        initial = optional_tensor(args, "initial")
        S = q.new_zeros(shape) if initial is None else initial.expand(shape)
        outputs = []
        for t in range(q.shape[1]):
            at = {name: tensor(args, name)[:, t] for name in names}
            after = self.step(S, decay[:, t], at)
            read = S if flag(args, "read_before") else after
            outputs.append((at["q"].unsqueeze(-1) * read).sum(-2))
            S = after
        return torch.stack(outputs, 1)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        return Memory((*self.vectors, "v", "log_decay"))

    def stream(self, call: StreamCall) -> torch.Tensor:
        """One step by itself; more of them in chunks, from the state that was carried."""
        S = optional_tensor(call.args, "initial") if call.carried is None else call.carried[0]
        names = (*self.vectors, "v")
        operands = [tensor(call.args, name) for name in names]
        v = operands[-1]
        if v.shape[1] > 1 or S is None or call.carried is None:
            found = call.helper(f"{self.name}_state")(
                *operands,
                optional_tensor(call.args, "log_decay"),
                decay=text(call.args, "decay"),
                read_before=flag(call.args, "read_before"),
                initial=S,
            )
            y, S = cast("tuple[torch.Tensor, torch.Tensor]", found)
            call.carry(S)
            return y
        at = {name: x[:, 0].to(S.dtype) for name, x in zip(names, operands, strict=True)}
        after = self.step(S, _step_factor(call.args), at)
        call.carry(after)
        read = S if flag(call.args, "read_before") else after
        y = at["q"].unsqueeze(-2) @ read
        return y.transpose(-2, -3).to(v.dtype)

    def lower(self, lowering: Lowering) -> Code:
        texts = [lowering.code(name).text for name in (*self.vectors, "v")]
        texts.append(lowering.code("log_decay").text if lowering.given("log_decay") else "None")
        decay = lowering.argument("decay")
        if lowering.given("log_decay") and decay != "head":
            texts.append(f'decay="{decay}"')
        if lowering.argument("read_before"):
            texts.append("read_before=True")
        if lowering.given("initial"):
            texts.append(f"initial={lowering.code('initial').text}")
        return call_code(lowering.helper(self.name), *texts)


def _factor(args: Mapping[str, Evaluated], q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """What the state is multiplied by: [B, L, H, K, V], expanded."""
    shape = (*q.shape, v.shape[-1])
    log_decay = optional_tensor(args, "log_decay")
    if log_decay is None:
        return q.new_ones(()).expand(shape)
    match text(args, "decay"):
        case "head":
            log_decay = log_decay[..., None, None]
        case "key":
            log_decay = log_decay[..., None]
        case _:
            log_decay = log_decay[..., None, :]
    return log_decay.exp().expand(shape)


def _step_factor(args: Mapping[str, Evaluated]) -> torch.Tensor:
    """What the state [R, H, K, V] is multiplied by at a single position; it broadcasts."""
    log_decay = optional_tensor(args, "log_decay")
    if log_decay is None:
        return torch.ones(())
    kind = text(args, "decay")
    if log_decay.dim() == (3 if kind == "head" else 4):
        log_decay = log_decay[:, 0]
    match kind:
        case "head":
            return log_decay.exp()[..., None, None]
        case "key":
            return log_decay.exp()[..., None]
    return log_decay.exp()[..., None, :]


class LinearAttention(_MatrixRecurrence):
    name = "linear_attention"
    vectors = ("q", "k")
    parameters = (
        Parameter("q", ArgKind.VALUE),
        Parameter("k", ArgKind.VALUE),
        Parameter("v", ArgKind.VALUE),
        *_OPTIONS,
    )
    doc = (
        "The scan S = exp(g) * S + k v^T, o = q^T S: linear attention with decay (RetNet, Mamba-2, "
        "GLA, RWKV-6, mLSTM), read after the update or before it."
    )

    def cost(self, site: Site) -> Work:
        return linear_attention_cost(site)


class DeltaRule(_MatrixRecurrence):
    name = "delta_rule"
    vectors = ("q", "l", "r", "k")
    parameters = (
        Parameter("q", ArgKind.VALUE),
        Parameter("l", ArgKind.VALUE),
        Parameter("r", ArgKind.VALUE),
        Parameter("k", ArgKind.VALUE),
        Parameter("v", ArgKind.VALUE),
        *_OPTIONS,
    )
    doc = (
        "The scan S = exp(g) * S + r (l^T S) + k v^T, o = q^T S, where l reads the state before it "
        "decays: the delta rule (DeltaNet, Gated DeltaNet, KDA, RWKV-7)."
    )

    def step(
        self, S: torch.Tensor, decay: torch.Tensor, at: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        old = (at["l"].unsqueeze(-1) * S).sum(-2)
        return super().step(S, decay, at) + at["r"].unsqueeze(-1) * old.unsqueeze(-2)

    def cost(self, site: Site) -> Work:
        return delta_rule_cost(site)


PRIMITIVES: tuple[Primitive, ...] = (LinearAttention(), DeltaRule())
