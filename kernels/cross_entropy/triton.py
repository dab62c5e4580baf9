"""Cross-entropy in Triton: the loss in one pass over the vocabulary, its gradient in a second.

The forward keeps a running maximum and a running sum of exponentials (Milakov and Gimelshein 2018,
arXiv:1805.02867), so the logits are read once and probabilities are never stored. The backward
recomputes them from the logits and the logsumexp, element by element, so that it may write its
result over the logits.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch import as_rows, require_supported
from .options import Options


@dataclass(frozen=True)
class Settings:
    """Launch settings of one vocabulary: the columns and rows of a tile, and its warps."""

    block: int
    rows: int
    warps: int


# Chosen from the compiler's register counts on sm_80 and sm_90, where nothing spills; larger
# vocabularies take several tiles of the last entry. No setting was timed.
SETTINGS = (
    Settings(block=64, rows=16, warps=4),
    Settings(block=256, rows=4, warps=4),
    Settings(block=1024, rows=2, warps=4),
    Settings(block=4096, rows=1, warps=8),
)


def settings(vocabulary: int) -> Settings:
    """The settings for rows of `vocabulary` elements."""
    return next((entry for entry in SETTINGS if vocabulary <= entry.block), SETTINGS[-1])


def forward(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("cross_entropy", logits=logits, target=target)
    logits_rows = as_rows(logits)
    rows, vocabulary = logits_rows.shape
    chosen = settings(vocabulary)
    loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    lse = torch.empty_like(loss)
    if rows:
        with torch.cuda.device(logits.get_device()):
            forward_kernel[(triton.cdiv(rows, chosen.rows),)](
                logits_rows,
                target.contiguous(),
                loss,
                lse,
                logits_rows.stride(0),
                rows,
                vocabulary,
                options.ignore_index,
                options.label_smoothing,
                options.z_loss,
                options.softcap,
                SMOOTHED=options.label_smoothing > 0.0,
                ROWS=chosen.rows,
                BLOCK=chosen.block,
                num_warps=chosen.warps,
            )
    return loss, lse


def backward(
    dloss: Tensor,
    dlse: Tensor | None,
    logits: Tensor,
    target: Tensor,
    lse: Tensor,
    options: Options,
    overwrite: bool,
) -> Tensor:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device.

    ValueError if `logits` is to be overwritten and its columns are not adjacent.
    """
    require_supported("cross_entropy", logits=logits, target=target)
    if overwrite and logits.stride(1) != 1:
        raise ValueError(
            "the Triton cross_entropy overwrites logits whose columns are adjacent, got strides "
            f"{logits.stride()}: make them contiguous first"
        )
    logits_rows = as_rows(logits)
    rows, vocabulary = logits_rows.shape
    chosen = settings(vocabulary)
    dlogits = logits
    if not overwrite:
        dlogits = torch.empty((rows, vocabulary), dtype=logits.dtype, device=logits.device)
    if rows:
        grid = (triton.cdiv(rows, chosen.rows), triton.cdiv(vocabulary, chosen.block))
        with torch.cuda.device(logits.get_device()):
            backward_kernel[grid](
                dloss.contiguous(),
                None if dlse is None else dlse.contiguous(),
                logits_rows,
                target.contiguous(),
                lse,
                dlogits,
                logits_rows.stride(0),
                dlogits.stride(0),
                rows,
                vocabulary,
                options.ignore_index,
                options.label_smoothing,
                options.z_loss,
                options.softcap,
                ROWS=chosen.rows,
                BLOCK=chosen.block,
                num_warps=chosen.warps,
            )
    return dlogits


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """By exponentials away from zero, where `1 - exp` would cancel by its Taylor series.

    At 0.5 the first term that is left out is 1e-8 of the value.
    """
    s = tl.where(tl.abs(x) < 0.5, x * x, 0.0)
    series = 21844.0 / 6081075.0 - s * (929569.0 / 638512875.0)
    series = -1382.0 / 155925.0 + s * series
    series = 62.0 / 2835.0 + s * series
    series = -17.0 / 315.0 + s * series
    series = 2.0 / 15.0 + s * series
    series = -1.0 / 3.0 + s * series
    e = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - e) / (1.0 + e)
    return tl.where(tl.abs(x) < 0.5, x + x * (s * series), tl.where(x < 0.0, -far, far))


@triton.jit
def tanh_slope(x: tl.tensor) -> tl.tensor:
    """`1 - tanh^2(x)`, which would cancel where tanh is near 1."""
    e = tl.exp(-2.0 * tl.abs(x))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


@triton.jit(do_not_specialize=["rows", "ignore_index"])
def forward_kernel(
    logits_ptr: tl.tensor,
    target_ptr: tl.tensor,
    loss_ptr: tl.tensor,
    lse_ptr: tl.tensor,
    stride: tl.tensor,
    rows: tl.tensor,
    vocabulary: tl.tensor,
    ignore_index: tl.tensor,
    smoothing: tl.tensor,
    z_loss: tl.tensor,
    softcap: tl.tensor | None,
    SMOOTHED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    smoothing = tl.cast(smoothing, tl.float32)  # Inductor passes a Python float as float64
    z_loss = tl.cast(z_loss, tl.float32)
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64))[:, None]
    in_rows = row < rows
    maximum = tl.full((ROWS, 1), float("-inf"), tl.float32)
    total = tl.zeros((ROWS, 1), dtype=tl.float32)
    summed = tl.zeros((ROWS, 1), dtype=tl.float32)
    for start in range(0, vocabulary, BLOCK):
        column = (start + tl.arange(0, BLOCK)).to(tl.int64)[None, :]
        mask = in_rows & (column < vocabulary)
        z = tl.load(logits_ptr + row * stride + column, mask=mask, other=0.0).to(tl.float32)
        if softcap is not None:
            cap = tl.cast(softcap, tl.float32)
            z = cap * tanh(z / cap)
        if SMOOTHED:
            summed += tl.sum(z if softcap is None else tl.where(mask, z, 0.0), 1, keep_dims=True)
        z = tl.where(mask, z, float("-inf"))
        raised = tl.maximum(maximum, tl.max(z, 1, keep_dims=True))
        # While all logits are -inf, nothing is to be subtracted from them.
        shift = tl.where(raised == float("-inf"), 0.0, raised)
        total = total * tl.exp(maximum - shift) + tl.sum(tl.exp(z - shift), 1, keep_dims=True)
        maximum = raised
    target = tl.load(target_ptr + row, mask=in_rows, other=0).to(tl.int64)
    ignored = target == ignore_index
    known = (target >= 0) & (target < vocabulary)
    lse = tl.where(ignored | known, maximum + tl.log(total), float("nan"))
    at_target_ptr = logits_ptr + row * stride + target
    at_target = tl.load(at_target_ptr, mask=in_rows & known, other=0.0).to(tl.float32)
    if softcap is not None:
        cap = tl.cast(softcap, tl.float32)
        at_target = cap * tanh(at_target / cap)
    loss = lse - (1.0 - smoothing) * at_target
    if SMOOTHED:
        loss -= smoothing * (summed / vocabulary)
    if z_loss != 0.0:
        loss += z_loss * lse * lse
    tl.store(loss_ptr + row, tl.where(ignored, 0.0, loss), mask=in_rows)
    tl.store(lse_ptr + row, lse, mask=in_rows)


@triton.jit(do_not_specialize=["rows", "ignore_index"])
def backward_kernel(
    dloss_ptr: tl.tensor,
    dlse_ptr: tl.tensor | None,
    logits_ptr: tl.tensor,
    target_ptr: tl.tensor,
    lse_ptr: tl.tensor,
    dlogits_ptr: tl.tensor,
    stride: tl.tensor,
    out_stride: tl.tensor,
    rows: tl.tensor,
    vocabulary: tl.tensor,
    ignore_index: tl.tensor,
    smoothing: tl.tensor,
    z_loss: tl.tensor,
    softcap: tl.tensor | None,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One tile a program; the logits and their gradient may be the same memory."""
    smoothing = tl.cast(smoothing, tl.float32)  # Inductor passes a Python float as float64
    z_loss = tl.cast(z_loss, tl.float32)
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64))[:, None]
    column = (tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK).to(tl.int64))[None, :]
    in_rows = row < rows
    mask = in_rows & (column < vocabulary)
    target = tl.load(target_ptr + row, mask=in_rows, other=0).to(tl.int64)
    lse = tl.load(lse_ptr + row, mask=in_rows, other=0.0)
    dloss = tl.load(dloss_ptr + row, mask=in_rows, other=0.0).to(tl.float32)
    ignored = target == ignore_index
    dloss = tl.where(ignored, 0.0, dloss)
    slope = tl.where(ignored, 0.0, dloss * (1.0 + 2.0 * z_loss * lse))
    if dlse_ptr is not None:
        slope += tl.load(dlse_ptr + row, mask=in_rows, other=0.0).to(tl.float32)
    z = tl.load(logits_ptr + row * stride + column, mask=mask, other=0.0).to(tl.float32)
    bend = 1.0
    if softcap is not None:
        cap = tl.cast(softcap, tl.float32)
        bend = tanh_slope(z / cap)
        z = cap * tanh(z / cap)
    dz = slope * tl.exp(z - lse) - dloss * smoothing / vocabulary
    dz -= tl.where(column == target, dloss * (1.0 - smoothing), 0.0)
    # A row without a gradient has none whatever its logits are.
    dz = tl.where((slope == 0.0) & (dloss == 0.0), 0.0, dz * bend)
    dlogits = dz.to(dlogits_ptr.dtype.element_ty)
    tl.store(dlogits_ptr + row * out_stride + column, dlogits, mask=mask)
