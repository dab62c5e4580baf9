"""Norms of rows in Triton: settings, views of the operands, and the launch of both directions.

Operands are seen as [outer, heads, width], so heads cut from a wider projection need no copy, and a
weight per head is loaded like any other. Where nothing needs heads there is one.

Gradients of weight and bias use no atomics: each program of the backward sums the rows of one
slab and writes one line of partial sums, and a second kernel adds the lines in a fixed order. The
number of slabs depends on the shape alone, not on the device.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass
from itertools import pairwise

import torch
import triton
from torch import Tensor

from .launch import require_supported, slab_size, sum_slabs
from .norm_kernels import backward_kernel, forward_kernel


@dataclass(frozen=True)
class Tile:
    """Rows held by a program, and its warps."""

    rows: int
    warps: int


@dataclass(frozen=True)
class Settings:
    """Launch settings of one width: the columns of a tile, and a tile for each direction."""

    block: int
    forward: Tile
    backward: Tile


# Chosen from the compiler's register counts on sm_80 and sm_90; no setting was timed. A backward
# has few programs, two for a multiprocessor, so each has several rows in flight.
SETTINGS = (
    Settings(block=16, forward=Tile(64, 4), backward=Tile(128, 8)),
    Settings(block=32, forward=Tile(32, 4), backward=Tile(64, 8)),
    Settings(block=64, forward=Tile(16, 4), backward=Tile(32, 8)),
    Settings(block=128, forward=Tile(8, 4), backward=Tile(16, 8)),
    Settings(block=256, forward=Tile(4, 4), backward=Tile(8, 8)),
    Settings(block=512, forward=Tile(2, 4), backward=Tile(4, 8)),
    Settings(block=1024, forward=Tile(1, 4), backward=Tile(2, 8)),
    Settings(block=2048, forward=Tile(1, 4), backward=Tile(1, 8)),
    Settings(block=4096, forward=Tile(1, 8), backward=Tile(1, 16)),
    Settings(block=8192, forward=Tile(1, 16), backward=Tile(1, 16)),
    Settings(block=16384, forward=Tile(1, 32), backward=Tile(1, 32)),
)


def settings(norm: str, width: int) -> Settings:
    """The settings for rows of `width` elements. ValueError above the widest entry of the table."""
    for entry in SETTINGS:
        if width <= entry.block:
            return entry
    raise ValueError(
        f"the Triton {norm} holds a row in registers and stops at {SETTINGS[-1].block} columns, "
        f"got {width}: use implementation({norm!r}, 'reference') for this width"
    )


@dataclass(frozen=True)
class Form:
    """What distinguishes the norms and their gates: constants of the kernels."""

    norm: str
    activation: str = "silu"
    gate_first: bool = False

    def constants(self) -> dict[str, bool]:
        return {
            "CENTRED": self.norm == "layer_norm",
            "SILU": self.activation == "silu",
            "GATE_FIRST": self.gate_first,
        }


def forward(
    form: Form,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    gate: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor | None]:
    """The norm of `x + residual`, and that sum if there is a residual; contiguous."""
    require_supported(form.norm, x=x, weight=weight, bias=bias, gate=gate)
    width = x.shape[-1]
    chosen = settings(form.norm, width)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    h = None if residual is None else torch.empty_like(y)
    if not x.numel():
        return y, h
    views = split(x, weight if bias is None else bias, residual, gate)
    outer, heads, _ = views.x.shape
    with torch.cuda.device(x.get_device()):
        forward_kernel[(triton.cdiv(outer, chosen.forward.rows) * heads,)](
            views.x,
            views.others[0],
            None if weight is None else weight.contiguous(),
            None if bias is None else bias.contiguous(),
            views.others[1],
            y,
            h,
            *views.strides(),
            outer,
            heads,
            eps,
            PER_HEAD=views.per_head,
            **form.constants(),
            WIDTH=width,
            ROWS=chosen.forward.rows,
            BLOCK=chosen.block,
            num_warps=chosen.forward.warps,
        )
    return y, h


def backward(
    form: Form,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    gate: Tensor | None,
    dsum: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of `x`, `weight`, `bias` and `gate`; None for what is absent."""
    require_supported(form.norm, x=x, weight=weight, bias=bias, gate=gate)
    width = x.shape[-1]
    chosen = settings(form.norm, width)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dgate = None if gate is None else torch.empty(x.shape, dtype=gate.dtype, device=x.device)
    if not x.numel():
        return (
            dx,
            None if weight is None else torch.zeros_like(weight),
            None if bias is None else torch.zeros_like(bias),
            dgate,
        )
    views = split(x, weight if bias is None else bias, dy, gate, dsum)
    outer, heads, _ = views.x.shape
    # The heads share the slabs of the whole, so that there are as many lines as without heads.
    slab = slab_size(outer * heads, chosen.backward.rows)
    slabs = triton.cdiv(outer, slab)
    parts = (weight is not None) + (bias is not None)
    partial = torch.empty((slabs, heads, parts, width), dtype=torch.float32, device=x.device)
    with torch.cuda.device(x.get_device()):
        backward_kernel[(slabs * heads,)](
            views.x,
            views.others[0],
            None if weight is None else weight.contiguous(),
            None if bias is None else bias.contiguous(),
            views.others[1],
            views.others[2],
            dx,
            dgate,
            partial if parts else None,
            *views.strides(),
            outer,
            heads,
            slab,
            eps,
            PER_HEAD=views.per_head,
            **form.constants(),
            WIDTH=width,
            ROWS=chosen.backward.rows,
            BLOCK=chosen.block,
            num_warps=chosen.backward.warps,
        )
    return dx, *_affine_gradients(partial, weight, bias, views.per_head), dgate


def _affine_gradients(
    partial: Tensor, weight: Tensor | None, bias: Tensor | None, per_head: bool
) -> tuple[Tensor | None, Tensor | None]:
    """[slabs, heads, parts, width] summed over slabs, and over heads unless they have their own."""
    slabs, heads, parts, width = partial.shape
    if not parts:
        return None, None
    lines = partial.view(slabs if per_head else slabs * heads, -1)
    if weight is None or bias is None:
        alone = weight if bias is None else bias
        assert alone is not None
        total = sum_slabs(lines, alone.dtype).view(alone.shape)
        return (total, None) if bias is None else (None, total)
    total = sum_slabs(lines, torch.float32).view(-1, parts, width)
    dweight, dbias = (part.reshape(weight.shape) for part in total.unbind(1))
    # Copies, since results of an operator may not share memory.
    return dweight.to(weight.dtype, copy=True), dbias.to(bias.dtype, copy=True)


def or_empty(gradient: Tensor | None, x: Tensor) -> Tensor:
    """A tensor without elements in place of None, which an operator cannot return."""
    return x.new_empty(0) if gradient is None else gradient


@dataclass(frozen=True)
class Views:
    """`x` and other operands as [outer, heads, width], their columns adjacent."""

    x: Tensor
    others: tuple[Tensor | None, ...]
    per_head: bool

    def strides(self) -> list[int]:
        """The strides of the leading dims of each operand; zeros for what is absent."""
        pairs = [(0, 0) if o is None else o.stride()[:2] for o in (self.x, *self.others)]
        return [stride for pair in pairs for stride in pair]


def split(x: Tensor, affine: Tensor | None, *others: Tensor | None) -> Views:
    """The views on which kernels run: with heads where the weight has them, or where that saves a
    copy and leaves at least as many rows as heads, since a tile is rows of one head."""
    width = x.shape[-1]
    per_head = affine is not None and affine.ndim == 2
    heads = x.shape[-2] if per_head else 1
    if not per_head and x.ndim > 2 and x.numel() >= x.shape[-2] ** 2 * width:
        given = [operand for operand in (x, *others) if operand is not None]
        copies = {kept: sum(not _is_view(operand, kept) for operand in given) for kept in (1, 2)}
        heads = x.shape[-2] if copies[2] < copies[1] else 1
    kept = 1 if heads == 1 else 2

    def viewed(operand: Tensor) -> Tensor:
        whole = operand if _is_view(operand, kept) else operand.contiguous()
        return whole.reshape(-1, heads, width)

    return Views(viewed(x), tuple(None if o is None else viewed(o) for o in others), per_head)


def _is_view(x: Tensor, kept: int) -> bool:
    """Whether all dims but the last `kept` fold into one without a copy, with adjacent columns."""
    leading = list(zip(x.shape, x.stride(), strict=True))[: x.ndim - kept]
    long = [(size, stride) for size, stride in leading if size != 1]
    folds = all(outer == size * inner for (_, outer), (size, inner) in pairwise(long))
    return folds and (x.stride(-1) == 1 or x.shape[-1] == 1)
