"""Causal softmax attention whose scores are edited: by FlexAttention, fused, or written out.

FlexAttention: Dong et al. 2024, arXiv 2412.05496.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from gabc.runtime.functional.attention import (
    attend,
    attend_grid,
    attend_indices,
    attend_logits,
    attend_mask,
    attend_scores,
    autocast_dtype,
)
from gabc.runtime.functional.attention_sinks import attend_with_sinks


def attend_edited(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edit: Callable[..., Tensor] | None = None,
    keep: Callable[..., Tensor] | None = None,
    *,
    adds: bool = False,
    mixes: bool = False,
    scale: float | None = None,
    window: int | None = None,
    sinks: Tensor | None = None,
    softcap: float | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """`attend` with scores that are changed, in the form that `edited_form` chooses.

    softcap: a score becomes `softcap * tanh(score / softcap)`; then `bias` is added. After that
    `edit(score, b, h, i, j)` is the new score of head h, query i and key j in batch row b, -inf to
    drop the key, and `keep(b, h, i, j)` tells whether the query sees the key. Both are written for
    one score; arrays that broadcast to [B, H, L, L] do as well, as indexing and arithmetic work on
    either. adds: `edit` only adds to the score. mixes: the functions need those arrays.
    """
    form = edited_form(q, v, softcap is None and (adds or edit is None), mixes)
    if form == "fused":
        indices = attend_grid(q)
        if edit is not None:
            nothing = q.new_zeros((), dtype=torch.promote_types(q.dtype, torch.float32))
            added = edit(nothing, *indices)
            bias = added if bias is None else bias + added
        run = attend if sinks is None else partial(attend_with_sinks, sinks=sinks)
        return run(
            q,
            k,
            v,
            scale=scale,
            window=window,
            bias=bias,
            segments=segments,
            keep=None if keep is None else keep(*indices),
        )
    edited = attend_flex_compiled if form == "flex" else attend_explicit
    return edited(
        q,
        k,
        v,
        edit,
        keep,
        scale=scale,
        window=window,
        sinks=sinks,
        softcap=softcap,
        bias=bias,
        segments=segments,
    )


def edited_form(
    q: Tensor, v: Tensor, only_adds: bool, mixes: bool
) -> Literal["flex", "fused", "explicit"]:
    """How attention with edited scores is computed: by the first of three rules that applies.

    flex: no scores in memory. Its kernels need a function of one score; on a CPU they have no
    gradient; they multiply in float16, bfloat16 or float32, by tiles of 16 at least, which beyond
    256 do not fit a processor. They add up what captured tensors get as gradients in any order, so
    not where determinism is asked for.
    fused: where the scores are only added to or left alone (`only_adds`), torch's fused attention
    takes the sum as a bias, which is as large as what it depends on: [L, L] for a function of i and
    j.
    explicit: all else, with the scores [B, H, L, L] in memory.
    """
    dtype = autocast_dtype(q)
    if (
        not mixes
        and q.device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16, torch.float32)
        and min(q.shape[-1], v.shape[-1]) >= 16
        and max(q.shape[-1], v.shape[-1]) <= 256
        and not torch.are_deterministic_algorithms_enabled()
    ):
        return "flex"
    return "fused" if only_adds else "explicit"


def attend_explicit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edit: Callable[..., Tensor] | None = None,
    keep: Callable[..., Tensor] | None = None,
    *,
    scale: float | None = None,
    window: int | None = None,
    sinks: Tensor | None = None,
    softcap: float | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """`attend_edited` with the scores [B, H, L, L] written out."""
    score = attend_logits(q, k, scale)
    if softcap is not None:
        score = softcap * torch.tanh(score / softcap)
    if bias is not None:
        score = score + bias
    indices = attend_indices(score)
    mask = attend_mask(q, window, segments, None if keep is None else keep(*indices))
    if edit is not None:
        score = edit(score, *indices)
        is_kept = score != -torch.inf
        mask = is_kept if mask is None else is_kept & mask
    return attend_scores(score, mask, v, sinks)


def attend_flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edit: Callable[..., Tensor] | None = None,
    keep: Callable[..., Tensor] | None = None,
    *,
    scale: float | None = None,
    window: int | None = None,
    sinks: Tensor | None = None,
    softcap: float | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """`attend_edited` by FlexAttention, which skips the blocks of 128 x 128 that a mask empties.

    Called as it is, uncompiled, it has the scores in memory as well. bias has rank 4. What `edit`
    captures and is to have a gradient must be no view, and be indexed once.
    """
    dtype, length = autocast_dtype(q), q.shape[1]

    def edited(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if bias is not None:
            places = zip((b, h, i, j), bias.shape, strict=True)
            score = score + bias[tuple(at if size > 1 else 0 * at for at, size in places)]
        return score if edit is None else edit(score, b, h, i, j)

    def kept(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        mask = i >= j
        if window is not None:
            mask = mask & (i - j < window)
        if segments is not None:
            mask = mask & (segments[b, i] == segments[b, j])
        return mask if keep is None else mask & keep(b, h, i, j)

    with torch.autocast(q.device.type, enabled=False):
        # The mask of blocks is as large as the mask: one for all rows and heads if they agree.
        rows, heads = (1, 1, *kept(*attend_grid(q)).shape)[-4:-2]
        y, aux = flex.flex_attention(
            q.to(dtype).transpose(1, 2),
            k.to(dtype).transpose(1, 2),
            v.to(dtype).transpose(1, 2),
            score_mod=edited,
            block_mask=flex.create_block_mask(kept, rows, heads, length, length, device=q.device),
            scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
            return_aux=flex.AuxRequest(lse=sinks is not None),
        )
        if sinks is not None:
            assert aux.lse is not None
            # exp(lse) is the denominator, to which a sink adds exp(sink).
            y = (y * torch.sigmoid(aux.lse - sinks[:, None])[..., None]).to(dtype)
    return y.transpose(1, 2)


@torch.compiler.disable(recursive=False)  # type: ignore[no-untyped-call, untyped-decorator]
def attend_flex_compiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edit: Callable[..., Tensor] | None = None,
    keep: Callable[..., Tensor] | None = None,
    *,
    scale: float | None = None,
    window: int | None = None,
    sinks: Tensor | None = None,
    softcap: float | None = None,
    bias: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """`attend_flex` compiled, always by itself: a model that is compiled has a break here.

    torch 2.13 gives no gradient to what a score function captures from inside the graph, or as a
    view (pytorch issue 162228). A function is compiled for each block of a design, in training and
    in evaluation, for one length and then for all: more often than torch allows by default.
    """
    if bias is not None:
        bias = bias[(None,) * (4 - bias.dim())].clone()
    with torch._dynamo.config.patch(recompile_limit=64):
        return compiled_flex()(
            q,
            k,
            v,
            edit,
            keep,
            scale=scale,
            window=window,
            sinks=sinks,
            softcap=softcap,
            bias=bias,
            segments=segments,
        )


@cache
def compiled_flex() -> Callable[..., Tensor]:
    """With `fullgraph`, as torch else runs the slow form, in silence, after many recompilations."""
    return torch.compile(attend_flex, fullgraph=True)
