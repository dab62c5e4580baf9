"""`attend` on the next positions of a sequence: their queries, the cached keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from gabc.ops.evaluated import integer, number, optional_number, optional_tensor, tensor
from gabc.ops.torch_lazy import F, torch

if TYPE_CHECKING:
    from gabc.ops.evaluated import Evaluated
    from gabc.ops.streaming import StreamCall


class KeptCall(Protocol):
    """What attention asks of a call: its arguments, and operands with what is kept of them."""

    @property
    def args(self) -> Mapping[str, Evaluated]: ...

    def past(self, name: str) -> torch.Tensor: ...


def stream_attention(call: StreamCall) -> torch.Tensor:
    """q [R, T, H, K] over k [R, N + T, G, K] and v [R, N + T, G, V] -> [R, T, H, V]."""
    q, k, v = tensor(call.args, "q"), call.past("k"), call.past("v")
    options = ("sinks", "softcap", "bias", "segments")
    if all(call.args.get(name) is None for name in options):
        return _fused(call, q, k, v)
    score = attention_scores(call, q, k)
    keep = kept_keys(call, q.shape[1], k.shape[1])
    return weighted_values(score, keep, v, optional_tensor(call.args, "sinks"))


def _fused(call: StreamCall, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """With nothing but a scale and a window. A single query sees all keys that are kept."""
    count, length = q.shape[1], k.shape[1]
    is_plain = count == length and call.args.get("window") is None
    keep = None if count == 1 or is_plain else kept_keys(call, count, length)
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=keep,
        is_causal=count > 1 and is_plain,
        scale=optional_number(call.args, "scale"),
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return y.transpose(1, 2)


def attention_scores(call: KeptCall, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Scores [R, H, T, N + T] with the scale, the cap and the bias."""
    scale, bias = optional_number(call.args, "scale"), optional_tensor(call.args, "bias")
    grouped = torch.unflatten(q, 2, (k.shape[2], -1))
    score = torch.einsum("bigrk,bjgk->bgrij", grouped, k).flatten(1, 2)
    score = score * (q.shape[-1] ** -0.5 if scale is None else scale)
    if call.args.get("softcap") is not None:
        softcap = number(call.args, "softcap")
        score = softcap * torch.tanh(score / softcap)
    return score if bias is None else score + bias


def kept_keys(call: KeptCall, count: int, length: int) -> torch.Tensor:
    """Which of the last `length` positions each of the last `count` may see.

    bool [T, N + T], or [R, 1, T, N + T] with segments.
    """
    device = tensor(call.args, "q").device
    key = torch.arange(length, device=device)
    distance = key[length - count :, None] - key
    keep = distance >= 0
    if call.args.get("window") is not None:
        keep = keep & (distance < integer(call.args, "window"))
    if call.args.get("segments") is not None:
        own, names = tensor(call.args, "segments"), call.past("segments")
        keep = keep & (own[:, None, :, None] == names[:, None, None, :])
    return keep


def weighted_values(
    score: torch.Tensor, keep: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor | None
) -> torch.Tensor:
    """The mean of v [R, N, G, V] by the softmax of score [R, H, T, N] where kept: [R, T, H, V].

    A query with no key left gives zeros.
    """
    score = score.to(torch.promote_types(score.dtype, torch.float32))
    score = score.masked_fill(~keep, torch.finfo(score.dtype).min)
    if sinks is not None:
        sink = sinks.to(score.dtype)[:, None, None].expand(*score.shape[:-1], 1)
        score = torch.cat([score, sink], dim=-1)
    weight = score.softmax(-1)[..., : keep.shape[-1]].masked_fill(~keep, 0.0)
    grouped = torch.unflatten(weight.to(v.dtype), 1, (v.shape[2], -1))
    return torch.einsum("bgrij,bjgv->bigrv", grouped, v).flatten(2, 3)
