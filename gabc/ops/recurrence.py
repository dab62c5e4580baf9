"""Recurrences in parallel form. Authors write `scan`; `gabc.passes` puts these in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gabc.dependence.attention import linear_attention
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dims import Dim
from gabc.graph.pycode import Code
from gabc.graph.types import ONE, TensorType
from gabc.ops.base import ArgKind, Call, Lowering, Parameter, Primitive, call_code
from gabc.ops.cost import ZERO, Kept, Site, Work
from gabc.ops.evaluated import flag, tensor
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.base import Evaluated


class LinearAttention(Primitive):
    name = "linear_attention"
    parameters = (
        Parameter("q", ArgKind.VALUE),
        Parameter("k", ArgKind.VALUE),
        Parameter("v", ArgKind.VALUE),
        Parameter("log_decay", ArgKind.VALUE),
        Parameter("per_key", ArgKind.FLAG, False),
        Parameter("read_before", ArgKind.FLAG, False),
    )
    doc = (
        "The scan S = exp(g) * S + k v^T, o = q^T S: linear attention with decay (RetNet, Mamba-2, "
        "GLA, RWKV-6), read after the update or before it."
    )
    internal = True

    def shape(self, call: Call) -> TensorType:
        batch, length, heads, _ = call.type("q").dims
        return TensorType("float", (batch, length, heads, call.type("v").dims[3]))

    def dependence(self, call: DependenceCall) -> Dependence:
        return linear_attention(call)

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        q, k, v = tensor(args, "q"), tensor(args, "k"), tensor(args, "v")
        decay = tensor(args, "log_decay").exp()
        if not flag(args, "per_key"):
            decay = decay.unsqueeze(-1)
        decay = decay.expand(k.shape)
        S = k.new_zeros(k.shape[0], *k.shape[2:], v.shape[-1])
        outputs = []
        for t in range(k.shape[1]):
            after = decay[:, t].unsqueeze(-1) * S + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            read = S if flag(args, "read_before") else after
            outputs.append((q[:, t].unsqueeze(-1) * read).sum(-2))
            S = after
        return torch.stack(outputs, 1)

    def cost(self, site: Site) -> Work:
        """Of the chunked form: matrix products inside chunks, a loop over the chunks' states."""
        q, k, v, decay = (site.value(name) for name in ("q", "k", "v", "log_decay"))
        batch, length, heads, width = site.dims(k)
        values = site.dims(v)[-1]
        per_key = bool(site.args["per_key"])
        size = Dim.apply("min", Dim.const(16 if per_key else 64), length)
        count = Dim.apply("ceil", length / size)
        rows = batch * heads * count
        scores = rows * size * size
        state = rows * width * values
        decays = scores * (width if per_key else ONE)
        inside, update = 2 * scores * values, 2 * rows * size * width * values
        over_keys = 2 * scores * width
        # The state before the first chunk is zero and needs no gradient.
        carried = 2 * update - update / count
        # A single chunk's final state is read by no one.
        is_read = Dim.apply("min", count - 1, ONE)
        gradients = [site.has_gradient(value) for value in (q, k, v, decay)]
        read, written, mixed, decayed = gradients
        products = (
            over_keys * ((read or written) + decayed if per_key else read + written)
            + inside * ((read or written or decayed) + mixed)
            + update * is_read * ((written or decayed) + mixed)
        )
        moved = rows * size * (4 * width + values)  # q, k, v by chunk; q and k with their decays
        between = 3 * decays * size  # [.., t, s] of one term for each step between them
        kept = decays * (1 + per_key) + scores * (2 if decayed and not per_key else 1)
        return Work(
            matmul=over_keys + inside + 2 * update,
            matmul_backward=products + carried if any(gradients) else ZERO,
            pointwise=between + 5 * decays + 3 * state + rows * size * width * 2,
            pointwise_backward=between + 10 * decays + 6 * state,
            launches=Dim.const(36) + 4 * count,
            saved=kept + state + moved,
            extra_traffic=2 * between + 6 * decays + 4 * state + 2 * moved,
            keeps=(Kept(site.outputs[0], heads * width * values),),
        )

    def lower(self, lowering: Lowering) -> Code:
        texts = [lowering.code(name).text for name in ("q", "k", "v", "log_decay")]
        for name in ("per_key", "read_before"):
            if lowering.argument(name):
                texts.append(f"{name}=True")
        return call_code(lowering.helper("linear_attention"), *texts)


PRIMITIVES: tuple[Primitive, ...] = (LinearAttention(),)
