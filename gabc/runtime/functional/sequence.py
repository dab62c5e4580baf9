"""Operations along the time axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shift(x: Tensor, steps: int, axis: int = 1) -> Tensor:
    """`x` moved `steps` >= 0 positions later along `axis`, zeros at the start; the length stays."""
    later_axes = x.dim() - 1 - axis
    steps = min(steps, x.shape[axis])
    return F.pad(x, (0, 0) * later_axes + (steps, -steps))


def causal_conv(
    x: Tensor, w: Tensor, bias: Tensor | None = None, dilation: int = 1, axis: int = 1
) -> Tensor:
    """Depthwise causal convolution along `axis`.

    x [..., L, *C], w [*C, K], bias [*C] -> [..., L, *C]; `w[..., K - 1]` multiplies the position
    itself.
    """
    taps = w.reshape(-1, 1, w.shape[-1])
    signal = x.reshape(-1, x.shape[axis], taps.shape[0]).transpose(1, 2)  # [N, C, L]
    past = (w.shape[-1] - 1) * dilation
    y = F.conv1d(
        F.pad(signal, (past, 0)),
        taps,
        None if bias is None else bias.flatten(),
        dilation=dilation,
        groups=taps.shape[0],
    )
    return y.transpose(1, 2).reshape(x.shape)


def long_conv(x: Tensor, h: Tensor, axis: int = 1) -> Tensor:
    """Causal convolution with a filter as long as the sequence, by FFT in float32 or better.

    x [..., L, *C], h [*C, L] -> [..., L, *C]; `h[..., j]` multiplies the position j steps back.
    """
    length = x.shape[axis]
    dtype = torch.promote_types(x.dtype, torch.float32)
    size = 2 * length  # room for the tail, which would otherwise wrap around to the start
    signal = torch.fft.rfft(x.to(dtype), size, dim=axis)
    response = torch.fft.rfft(h.to(dtype).movedim(-1, 0), size, dim=0)
    y: Tensor = torch.fft.irfft(signal * response, size, dim=axis)
    return y.narrow(axis, 0, length).to(x.dtype)


def blocks(x: Tensor, size: int, axis: int = 1, stride: int | None = None) -> Tensor:
    """`axis` of length L cut into [ceil(L / size), size]; beyond the end there are zeros.

    With a stride there are ceil(L / stride) blocks, and block n begins at `stride * n`.
    """
    later_axes = x.dim() - 1 - axis
    if stride is None:
        missing = -x.shape[axis] % size
        return torch.unflatten(F.pad(x, (0, 0) * later_axes + (0, missing)), axis, (-1, size))
    last = (x.shape[axis] - 1) // stride * stride
    missing = max(0, last + size - x.shape[axis])
    padded = F.pad(x, (0, 0) * later_axes + (0, missing))
    return padded.unfold(axis, size, stride).movedim(-1, axis + 1)


def causal_mask(a: Tensor) -> Tensor:
    """The bool mask [q, k] of the last two axes of `a`: True where key <= query."""
    return torch.ones(a.shape[-2:], dtype=torch.bool, device=a.device).tril()


def running_mean(x: Tensor, axis: int = 1) -> Tensor:
    """The mean over all positions up to and including each one, summed in float32 or better."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    count = torch.arange(1, x.shape[axis] + 1, device=x.device, dtype=dtype)
    later_axes = x.dim() - 1 - axis
    mean = x.cumsum(axis, dtype=dtype) / count.reshape(-1, *(1,) * later_axes)
    return mean.to(x.dtype)


def window_mean(x: Tensor, size: int, axis: int = 1) -> Tensor:
    """The mean over the last `size` positions, or over as many as there are."""
    length = x.shape[axis]
    size = min(size, length)
    dtype = torch.promote_types(x.dtype, torch.float32)
    signal = x.to(dtype).movedim(axis, -1)
    padded = F.pad(signal.reshape(-1, 1, length), (size - 1, 0))
    # Pooling, not a difference of two cumulative sums, which would lose digits as L grows.
    mean = F.avg_pool1d(padded, size, stride=1).reshape(signal.shape)
    count = torch.arange(1, length + 1, device=x.device, dtype=dtype).clamp(max=size)
    return (mean * (size / count)).movedim(-1, axis).to(x.dtype)
