"""`attend`: causal softmax attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.dependence.attention import attention
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Dependence
from gabc.dims import Dim
from gabc.graph.nodes import Argument
from gabc.graph.pycode import Code
from gabc.graph.types import TensorType
from gabc.ops.attention_stream import stream_attention
from gabc.ops.base import (
    ArgKind,
    Call,
    Lowering,
    Parameter,
    Primitive,
    call_code,
)
from gabc.ops.cost import ZERO, Kept, Site, Work
from gabc.ops.evaluated import integer, number, optional_number, optional_tensor, tensor
from gabc.ops.kinds import require_kind
from gabc.ops.streaming import Memory, StreamCall
from gabc.ops.torch_lazy import torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated

_FUSED = ("scale", "window", "sinks", "bias", "segments")
"""The options that the fused kernel knows; bias and masks as one tensor added to the scores."""


def _option(name: str, kind: ArgKind) -> Parameter:
    return Parameter(name, kind, None, keyword_only=True)


class Attend(Primitive):
    name = "attend"
    parameters = (
        Parameter("q", ArgKind.VALUE),
        Parameter("k", ArgKind.VALUE),
        Parameter("v", ArgKind.VALUE),
        _option("scale", ArgKind.NUMBER),
        _option("window", ArgKind.DIM),
        _option("sinks", ArgKind.VALUE),
        replace(_option("softcap", ArgKind.NUMBER), is_positive=True),
        _option("bias", ArgKind.VALUE),
        _option("segments", ArgKind.VALUE),
    )
    doc = (
        "Causal softmax attention: `q` [B, L, H, K], `k` [B, L, G, K], `v` [B, L, G, V] to "
        "[B, L, H, V]. G divides H, and query head h reads key head h // (H / G). `scale` is "
        "K ** -0.5 if left out; `window` keeps the last positions only; `softcap` s makes the "
        "scores s * tanh(score / s); `bias` is added to them and broadcasts to [B, H, L, L]; "
        "`sinks` [H] are logits that join the denominator; `segments` [B, L] keeps a position to "
        "its own segment."
    )

    def shape(self, call: Call) -> TensorType:
        q, k, v = (require_kind(call, name, "float") for name in ("q", "k", "v"))
        for name, type_, shape in (("q", q, "H, K"), ("k", k, "G, K"), ("v", v, "G, V")):
            if type_.rank != 4:
                raise call.fail(
                    "GAB0202",
                    f"`attend` needs `{name}` as [B, L, {shape}], and it is {type_}",
                    at=name,
                    help='give it a head axis: `rearrange(x, "b l (h k) -> b l h k", h=H)`, or '
                    "`x[:, :, None]` for a single head",
                )
        for name, type_, same in (("k", k, (0, 1, 3)), ("v", v, (0, 1))):
            for axis in same:
                left, right = q.dims[axis], type_.dims[axis]
                message = (
                    f"`attend` is given q {q} and {name} {type_}: `{left}` and `{right}` differ"
                )
                call.require_equal(left, right, message, name)
        message = f"`attend` is given k {k} and v {v}: `{k.dims[2]}` and `{v.dims[2]}` differ"
        call.require_equal(k.dims[2], v.dims[2], message, "v")
        heads, groups = q.dims[2], k.dims[2]
        message = f"`attend` has {heads} query heads, which {groups} key heads do not divide"
        call.require_divides(groups, heads, message, "k")
        self._check_options(call, q)
        return q.with_dims((*q.dims[:3], v.dims[3]))

    def dependence(self, call: DependenceCall) -> Dependence:
        return attention(call)

    def _check_options(self, call: Call, q: TensorType) -> None:
        batch, length, heads, _ = q.dims
        if call.given("window") and call.dim("window").symbols() & {"B", "L"}:
            raise call.fail(
                "GAB0207",
                f"the window `{call.dim('window')}` depends on B or L",
                at="window",
                help="a window is a size of the configuration; leave it out to see all the past",
            )
        wanted = {"sinks": (heads,), "segments": (batch, length)}
        for name, dims in wanted.items():
            if not call.given(name):
                continue
            type_ = require_kind(call, name, "float" if name == "sinks" else "int")
            shape = TensorType(type_.kind, dims)
            message = f"`{name}` of this `attend` is {shape}, not {type_}"
            if type_.rank != len(dims):
                raise call.fail("GAB0202", message, at=name)
            for left, right in zip(type_.dims, dims, strict=True):
                call.require_equal(left, right, message, name)
        if call.given("bias"):
            bias = require_kind(call, "bias", "float")
            scores = TensorType("float", (batch, heads, length, length))
            message = f"`bias` {bias} does not broadcast to the scores, {scores}"
            if bias.rank > 4:
                raise call.fail("GAB0202", message, at="bias")
            for left, right in zip(reversed(bias.dims), reversed(scores.dims), strict=False):
                if not left.is_one:
                    call.require_equal(left, right, message, "bias")

    def reference(self, args: Mapping[str, Evaluated]) -> torch.Tensor:
        q, k, v = (tensor(args, name) for name in ("q", "k", "v"))
        heads, groups = q.shape[2], k.shape[2]
        keep = _kept(args, q)
        results = []
        for head in range(heads):
            group = head // (heads // groups)
            score = _score(args, q[:, :, head], k[:, :, group], head)
            results.append(_weighted(args, score, keep, v[:, :, group], head))
        return torch.stack(results, dim=2)

    def memory(self, args: Mapping[str, Argument]) -> Memory:
        """Keys and values are cached; a window reads one position less than it is wide."""
        window = args.get("window")
        most = window - 1 if isinstance(window, Dim) else None
        kept = ("k", "v") if args.get("segments") is None else ("k", "v", "segments")
        return Memory(("q", *kept), caches=dict.fromkeys(kept, most), by_row=True)

    def stream(self, call: StreamCall) -> torch.Tensor:
        return stream_attention(call)

    def cost(self, site: Site) -> Work:
        """Of the fused kernel, or of the explicit form where an option or the block needs it.

        Both run all L^2 scores, as torch's counter has it, masked or not; what a window leaves out
        is `skipped`. A bias that is learned makes torch keep the scores, fused or not.
        """
        q, k, v = (site.value(name) for name in ("q", "k", "v"))
        batch, length, heads, _ = site.dims(q)
        given = [p.name for p in self.parameters[3:] if site.args.get(p.name) is not None]
        form = _form(site, given)
        fused = form == "fused"
        window = site.args.get("window")
        kept, unseen = length, ZERO  # unseen: the keys that a query has, and a window leaves out
        if isinstance(window, Dim):
            kept = Dim.apply("min", site.resolve(window) - 1, length)
            unseen = length - Dim.apply("min", site.resolve(window), length)
        past = [Kept(value, site.per_row(value, 1) * kept) for value in (k, v)]
        segments = site.optional("segments")
        if segments is not None:
            past.append(Kept(segments, kept))
        positions, width, values = length, site.dims(q)[3], site.dims(v)[3]
        copies = ZERO
        if "sinks" in given and form != "explicit":  # q, k, v and y with a sink: see `with_sink`
            positions = length + 1
            wide = Dim.apply("ceil_to", width + 2, Dim.const(8))
            width, values = wide, wide if values == width else values
            copies = batch * positions * ((heads + site.dims(k)[2]) * (width + values))
        rows = batch * heads * positions
        scores = rows * positions
        over_keys, over_values = 2 * scores * width, 2 * scores * values
        matmul = over_keys + over_values
        is_masked = not {"window", "bias", "segments"}.isdisjoint(given) or "block" in site.args
        mask = positions * positions if is_masked else ZERO
        gradients = [site.has_gradient(value) for value in (q, k, v)]
        if fused:  # its backward gives all three gradients or none
            gradients = [any(gradients)] * 3
        # The fused backward computes the scores once more.
        backward = over_keys * (sum(gradients[:2]) + fused) + over_values * (1 + gradients[2])
        needs_grad = any(gradients)
        saved = {"fused": rows + mask, "learned": scores + mask, "explicit": 3 * scores}
        operands = (q, k, v, *site.outputs)[: 4 if fused else 3]
        return Work(
            matmul=matmul,
            matmul_backward=backward if needs_grad else ZERO,
            pointwise=5 * scores,
            pointwise_backward=8 * scores if needs_grad else ZERO,
            skipped=rows * unseen * (2 * width + 2 * values + 5),
            launches=Dim.const((8 if is_masked else 1) if fused else 12),
            saves=operands if needs_grad and copies.is_zero else (),
            saved=saved[form] + copies if needs_grad else ZERO,
            extra_traffic=ZERO if fused else 12 * scores,
            keeps=tuple(past),
        )

    def lower(self, lowering: Lowering) -> Code:
        codes = [lowering.code(name).text for name in ("q", "k", "v")]
        given = [p.name for p in self.parameters[3:] if lowering.given(p.name)]
        options = [f"{name}={lowering.code(name).text}" for name in given]
        fused = "attend_with_sinks" if "sinks" in given else "attend"
        is_fused = all(name in _FUSED for name in given)
        helper = lowering.helper(fused if is_fused else "attend_edited")
        return call_code(helper, *codes, *options)


def _form(site: Site, given: Sequence[str]) -> str:
    """How the compiled form runs: see `gabc.graph.scores.block_form`."""
    form = str(site.args.get("block", "fused"))
    if form == "explicit" or any(name not in _FUSED for name in given):
        return "explicit"
    bias = site.optional("bias")
    return "learned" if bias is not None and site.has_gradient(bias) else form


def _kept(args: Mapping[str, Evaluated], q: torch.Tensor) -> torch.Tensor:
    """Which keys each query sees: bool [B, L, L]."""
    position = torch.arange(q.shape[1], device=q.device)
    distance = position[:, None] - position[None, :]
    keep = (distance >= 0).expand(q.shape[0], -1, -1)
    if args["window"] is not None:
        keep = keep & (distance < integer(args, "window"))
    segments = optional_tensor(args, "segments")
    if segments is not None:
        keep = keep & (segments[:, :, None] == segments[:, None, :])
    return keep


def _score(
    args: Mapping[str, Evaluated], q: torch.Tensor, k: torch.Tensor, head: int
) -> torch.Tensor:
    """One head's scores: q [B, L, K], k [B, L, K] -> [B, L, L]."""
    scale = optional_number(args, "scale")
    score = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if args["softcap"] is not None:
        softcap = number(args, "softcap")
        score = softcap * torch.tanh(score / softcap)
    bias = optional_tensor(args, "bias")
    if bias is not None:
        bias = bias.reshape((1,) * (4 - bias.dim()) + tuple(bias.shape))
        score = score + bias[:, head if bias.shape[1] > 1 else 0]
    return score


def _weighted(
    args: Mapping[str, Evaluated],
    score: torch.Tensor,
    keep: torch.Tensor,
    v: torch.Tensor,
    head: int,
) -> torch.Tensor:
    """One head's result: the softmax over the kept keys written out. v [B, L, V] -> [B, L, V]."""
    sinks = optional_tensor(args, "sinks")
    lowest = torch.finfo(score.dtype).min
    peak = torch.where(keep, score, lowest).amax(-1, keepdim=True).detach()
    if sinks is not None:
        peak = torch.maximum(peak, sinks[head].detach())
    weight = torch.where(keep, torch.exp(torch.where(keep, score - peak, 0.0)), 0.0)
    total = weight.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + torch.exp(sinks[head] - peak)
    # What is not kept is not read, so that nothing infinite in it can leak through `0 * inf`.
    values = torch.where(keep.unsqueeze(-1), v.unsqueeze(1), 0.0)
    return ((weight / total).unsqueeze(-1) * values).sum(2)


PRIMITIVES: tuple[Primitive, ...] = (Attend(),)
