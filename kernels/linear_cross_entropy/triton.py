"""Cross-entropy of a linear head on a GPU: cuBLAS's products and cross-entropy's kernels, in turn.

The idea of Liger's fused linear cross-entropy (Hsu et al. 2024, arXiv:2410.10989): a chunk of
logits is computed, becomes its own gradient in place, and is multiplied at once into the gradients
of both factors, so that no logits outlive their chunk and the backward has nothing to recompute.
Cut Cross Entropy (Wijmans et al. 2025, arXiv:2411.09009) keeps the logits on the chip, and computes
them a second time in the backward.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..cross_entropy import triton as cross_entropy
from ..cross_entropy.options import Options
from ..launch import require_supported
from .chunks import chunks

# Rows of logits begin at multiples of so many elements.
PITCH = 64

# Tile of the last multiplication, by the gradient of the loss.
BLOCK, WARPS = 1024, 4


def forward(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    options: Options,
    rows: int,
    needs_hidden: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    h, w = hidden, weight.to(hidden.dtype)
    require_supported("linear_cross_entropy", hidden=h, weight=w, target=target)
    count, device = len(h), h.device
    losses = torch.empty(count, dtype=torch.float32, device=device)
    dhidden = torch.empty(h.shape if needs_hidden else 0, dtype=h.dtype, device=device)
    start = torch.empty if count else torch.zeros
    dweight = start(w.shape if needs_weight else 0, dtype=torch.float32, device=device)
    # cuBLAS is slow on rows that are not aligned, as those of 50,257 classes would be.
    pitch = triton.cdiv(len(w), PITCH) * PITCH
    buffer = torch.empty((min(rows, count), pitch), dtype=h.dtype, device=device)[:, : len(w)]
    ones = torch.ones(len(buffer), dtype=torch.float32, device=device)
    for chunk in chunks(count, rows):
        logits = buffer[: chunk.stop - chunk.start]
        torch.mm(h[chunk], w.t(), out=logits)
        losses[chunk], lse = cross_entropy.forward(logits, target[chunk], options)
        if needs_hidden or needs_weight:
            one = ones[: len(logits)]
            cross_entropy.backward(one, None, logits, target[chunk], lse, options, True)
        if needs_hidden:
            torch.mm(logits, w, out=dhidden[chunk])
        if needs_weight:
            _add_product(dweight, logits.t(), h[chunk], is_first=chunk.start == 0)
    return losses.sum(), dhidden, dweight


def backward(
    dtotal: Tensor, dhidden: Tensor, dweight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    require_supported("linear_cross_entropy", dhidden=dhidden, dweight=dweight)
    return _scaled(dhidden, dtotal, dhidden.dtype), _scaled(dweight, dtotal, dtype)


def _add_product(total: Tensor, a: Tensor, b: Tensor, is_first: bool) -> None:
    """`total += a @ b` in float32, and `total = a @ b` at first."""
    if a.dtype != torch.float32 and not a.is_cuda:
        # Torch has products of 16-bit operands with a float32 result for CUDA only; this is how
        # they run in Triton's interpreter.
        a, b = a.float(), b.float()
    if a.dtype == torch.float32:
        total.addmm_(a, b, beta=0 if is_first else 1)
    elif is_first:
        torch.mm(a, b, out_dtype=torch.float32, out=total)
    else:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)


def _scaled(x: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """`x * scale` in `dtype`, rounded once: torch rounds a scale on the GPU to the dtype of x."""
    y = torch.empty(x.shape, dtype=dtype, device=x.device)
    if x.numel():
        with torch.cuda.device(x.get_device()):
            scale_kernel[(triton.cdiv(x.numel(), BLOCK),)](
                x, scale, y, x.numel(), BLOCK=BLOCK, num_warps=WARPS
            )
    return y


@triton.jit(do_not_specialize=["count"])
def scale_kernel(
    x_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    y_ptr: tl.tensor,
    count: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    x = tl.load(x_ptr + place, mask=place < count, other=0.0).to(tl.float32)
    y = x * tl.load(scale_ptr).to(tl.float32)
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=place < count)
