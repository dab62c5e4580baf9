"""Linear attention in Triton: states between chunks, scores within them, outputs from both.

Three launches forward, six backward (seven with a decay for each value) and sums of parts, all of
them float32 inside: `walk_kernel` goes over the chunks and keeps the state before each (its
gradient after each, going back), `scores_kernel` computes what steps of one chunk see of each
other, `plain_side_kernel` and `decayed_side_kernel` the outputs or gradients of one chunk. Names
and formulas are those of `reference.py`; there, a decay for each value is one for each key with the
roles of the operands exchanged.

The states are not kept for the backward but walked again: they are K V / STEPS numbers a step.
No atomics: what several programs add to is written in parts, which are summed in a fixed order.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ..launch import adjacent, require_supported, strides, sum_slabs
from .chunks import CHANNEL, HEAD, NO_DECAY
from .scores import scores_kernel
from .sides import decayed_side_kernel, plain_side_kernel
from .walk import walk_kernel

WIDEST = 256
"""Keys and values of a head: wider ones are untested."""


@dataclass(frozen=True)
class Settings:
    """Steps of a chunk and of a stride of the walk, the widest tile of keys or values (of a state
    in the walk: `state_tile`), warps (of `decayed_side_kernel`: `gradient_warps`), and how products
    are computed.

    States are float32 results and want float32 products; outputs are rounded to the dtype.
    """

    steps: int
    stride: int
    tile: int
    state_tile: int
    warps: int
    gradient_warps: int
    states: str
    outputs: str


def settings(dtype: torch.dtype, kind: int, length: int) -> Settings:
    """By dtype and kind of decay; a length of at most 16 (a step of decoding) has short chunks.

    Chosen by the compiler's register counts on sm_80 and sm_90. No setting was timed.
    """
    states, outputs = {
        torch.float32: ("ieee", "ieee"),
        torch.float16: ("tf32x3", "tf32x3"),
        torch.bfloat16: ("tf32x3", "tf32"),
    }[dtype]
    steps = 32 if kind == CHANNEL or dtype == torch.float16 else 64
    steps = 16 if length <= 16 else steps
    tile = 16 if kind == CHANNEL and dtype == torch.float16 else 32
    return Settings(steps, min(steps, 32), tile, 32, 4, 8, states, outputs)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    _require_supported(q, k, v, log_decay, initial, bonus)
    q, k, v = adjacent(q), adjacent(k), adjacent(v)
    run = _Launch.of(q, log_decay, decay, read_before)
    last = torch.empty((*_heads(q), q.shape[3], v.shape[3]), dtype=torch.float32, device=q.device)
    o = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    with torch.cuda.device(v.get_device()):
        if decay == "value":
            states = run.walk(v, k, _swapped(initial), last.mT, back=False)
            run.decayed_side(None, v, q, None, None, run.scores(q, k, NO_DECAY), states, dx=o)
        else:
            states = run.walk(k, v, initial, last, back=False)
            run.plain_side(q, v, run.scores(q, k, run.kind, bonus, own=not read_before), states, o)
    return o, last


def backward(
    do: Tensor,
    dlast: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
    decay: str,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    _require_supported(q, k, v, log_decay, initial, bonus)
    do, q, k, v = adjacent(do), adjacent(q), adjacent(k), adjacent(v)
    is_value = decay == "value"
    x, y, z, w = (do, v, q, k) if is_value else (q, k, do, v)
    run = _Launch.of(q, log_decay, decay, read_before)
    dtype = torch.float32 if initial is None else initial.dtype
    dinitial = torch.empty(dlast.shape, dtype=dtype, device=q.device)
    unread = torch.empty(dlast.shape, dtype=torch.float32, device=q.device)
    first, after, last, before = initial, dlast, unread, dinitial
    if is_value:
        first, after, last, before = _swapped(initial), dlast.mT, unread.mT, dinitial.mT
    dq, dk, dv = (torch.empty(i.shape, dtype=i.dtype, device=i.device) for i in (q, k, v))
    dx, dy, dw = (None, dv, dk) if is_value else (dq, dk, dv)
    dg = run.empty_gate_gradient(x.shape[3])
    dbonus = None
    if bonus is not None:
        lines = (q.shape[0] * run.chunks, bonus.numel())
        dbonus = torch.empty(lines, dtype=torch.float32, device=q.device)
    with torch.cuda.device(q.get_device()):
        states = run.walk(y, w, first, last, back=False)
        gradients = run.walk(x, z, after, before, back=True)
        scores = run.scores(x, y, run.kind, bonus, own=not read_before)
        run.plain_side(y, z, scores, gradients, dw, writes=True)
        if is_value:
            run.plain_side(x, w, scores, states, dq)
        kind = NO_DECAY if run.kind == CHANNEL else run.kind
        parts = (scores, dg[-1]) if dg is not None and run.kind == HEAD else None
        plain = run.scores(z, w, kind, own=True, gates=parts)
        run.decayed_side(
            x, y, z, w, bonus, plain, states, gradients, dx=dx, dy=dy, dg=dg, dbonus=dbonus
        )
        none = q.new_empty(0)
        return (
            dq,
            dk,
            dv,
            none if dg is None or log_decay is None else _summed(dg, log_decay),
            none if initial is None else dinitial,
            none
            if dbonus is None or bonus is None
            else sum_slabs(dbonus, bonus.dtype).view(bonus.shape),
        )


@dataclass(frozen=True)
class _Launch:
    """The kernels over the chunks of one set of operands."""

    gates: Tensor | None
    kind: int
    is_before: bool
    batch: int
    length: int
    heads: int
    chosen: Settings

    @staticmethod
    def of(q: Tensor, log_decay: Tensor | None, decay: str, read_before: bool) -> "_Launch":
        gates, kind = None, NO_DECAY
        if log_decay is not None:
            kind = HEAD if decay == "head" else CHANNEL
            gates = log_decay.unsqueeze(-1) if kind == HEAD else adjacent(log_decay)
        batch, length, heads, _ = q.shape
        chosen = settings(q.dtype, kind, length)
        return _Launch(gates, kind, read_before, batch, length, heads, chosen)

    @property
    def chunks(self) -> int:
        return -(-self.length // self.chosen.steps)

    def _tile(self, width: int) -> int:
        return _tile(width, self.chosen.tile)

    def walk(
        self, y: Tensor, w: Tensor, initial: Tensor | None, last: Tensor, *, back: bool
    ) -> Tensor:
        """States before each chunk, or their gradients after each: [B * H, chunks, X, W]."""
        x_width, w_width = y.shape[3], w.shape[3]
        pairs = self.batch * self.heads
        shape = (pairs, self.chunks, x_width, w_width)
        states = torch.empty(shape, dtype=torch.float32, device=y.device)
        x_tile, w_tile = (_tile(i, self.chosen.state_tile) for i in (x_width, w_width))
        tiles = triton.cdiv(x_width, x_tile) * triton.cdiv(w_width, w_tile)
        if pairs:
            walk_kernel[(pairs * tiles,)](
                *(y, w, self.gates, initial, states, last),
                *(*strides(y), *strides(w), *strides(self.gates)),
                *((0, 0, 0, 0) if initial is None else initial.stride()),
                *last.stride()[2:],
                *(self.length, self.heads, self.chunks),
                KIND=self.kind,
                BEFORE=int(self.is_before),
                REVERSE=back,
                X=x_width,
                W=w_width,
                STEPS=self.chosen.stride,
                STRIDES=self.chosen.steps // self.chosen.stride,
                BLOCK_X=x_tile,
                BLOCK_W=w_tile,
                PRECISION=self.chosen.states,
                num_warps=self.chosen.warps,
            )
        return states

    def scores(
        self,
        x: Tensor,
        y: Tensor,
        kind: int,
        bonus: Tensor | None = None,
        *,
        own: bool = True,
        gates: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """x_t . D_ts y_s [B * H, chunks, STEPS, STEPS]; `gates` are the other pair's scores and
        where their part of the gradient of a head's decay goes."""
        width, steps = x.shape[3], self.chosen.steps
        pairs = self.batch * self.heads
        shape = (pairs, self.chunks, steps, steps)
        scores = torch.empty(shape, dtype=torch.float32, device=x.device)
        if scores.numel():
            scores_kernel[(pairs * self.chunks,)](
                *(x, y, self.gates, bonus, scores, *(gates or (None, None))),
                *(*strides(x), *strides(y), *strides(self.gates)),
                *(self.length, self.heads, self.chunks),
                KIND=kind,
                BEFORE=int(self.is_before),
                OWN=own,
                X=width,
                STEPS=steps,
                BLOCK_X=self._tile(width),
                PRECISION=self.chosen.outputs,
                num_warps=self.chosen.warps,
            )
        return scores

    def plain_side(
        self,
        x: Tensor,
        w: Tensor,
        scores: Tensor,
        states: Tensor,
        out: Tensor,
        *,
        writes: bool = False,
    ) -> None:
        """scores w + (x since) S into `out` [B, L, H, W]; with `writes` the other way round."""
        x_width, w_width = x.shape[3], w.shape[3]
        w_tile = self._tile(w_width)
        programs = self.batch * self.heads * self.chunks * triton.cdiv(w_width, w_tile)
        if programs:
            plain_side_kernel[(programs,)](
                *(x, w, self.gates, scores, states, out),
                *(*strides(x), *strides(w), *strides(self.gates)),
                *(self.length, self.heads, self.chunks),
                KIND=self.kind,
                BEFORE=int(self.is_before),
                WRITES=writes,
                X=x_width,
                W=w_width,
                STEPS=self.chosen.steps,
                BLOCK_X=self._tile(x_width),
                BLOCK_W=w_tile,
                PRECISION=self.chosen.outputs,
                num_warps=self.chosen.warps,
            )

    def decayed_side(
        self,
        x: Tensor | None,
        y: Tensor,
        z: Tensor,
        w: Tensor | None,
        bonus: Tensor | None,
        scores: Tensor,
        states: Tensor,
        gradients: Tensor | None = None,
        *,
        dx: Tensor | None,
        dy: Tensor | None = None,
        dg: Tensor | None = None,
        dbonus: Tensor | None = None,
    ) -> None:
        """What x and y, which decay, are derived to; without `gradients` only dx."""
        x_width, w_width = y.shape[3], z.shape[3]
        x_tile = self._tile(x_width)
        programs = self.batch * self.heads * self.chunks * triton.cdiv(x_width, x_tile)
        if programs:
            decayed_side_kernel[(programs,)](
                *(x, y, z, w, self.gates, bonus, scores, states, gradients, dx, dy, dg, dbonus),
                *(*strides(x), *strides(y), *strides(z), *strides(w), *strides(self.gates)),
                *(self.batch, self.length, self.heads, self.chunks),
                KIND=self.kind,
                BEFORE=int(self.is_before),
                X=x_width,
                W=w_width,
                STEPS=self.chosen.steps,
                BLOCK_X=x_tile,
                BLOCK_W=self._tile(w_width),
                PRECISION=self.chosen.outputs,
                num_warps=self.chosen.gradient_warps,
            )

    def empty_gate_gradient(self, width: int) -> Tensor | None:
        """[B, L, H, X] for a channel's decay; for a head's [tiles + 1, B, L, H], in parts."""
        if self.gates is None:
            return None
        rows, device = (self.batch, self.length, self.heads), self.gates.device
        if self.kind == CHANNEL:
            return torch.empty((*rows, width), dtype=self.gates.dtype, device=device)
        parts = triton.cdiv(width, self._tile(width)) + 1
        return torch.empty((parts, *rows), dtype=torch.float32, device=device)


def _tile(width: int, most: int) -> int:
    return min(most, max(16, 1 << (width - 1).bit_length()))


def _summed(dg: Tensor, log_decay: Tensor) -> Tensor:
    """The parts of the gradient of a head's decay, in the order in which they are stored."""
    if dg.shape == log_decay.shape:
        return dg
    return sum_slabs(dg.flatten(1), log_decay.dtype).view(log_decay.shape)


def _require_supported(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial: Tensor | None,
    bonus: Tensor | None,
) -> None:
    require_supported("linear_attention", q=q, k=k, v=v, log_decay=log_decay, initial=initial)
    require_supported("linear_attention", bonus=bonus)
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            "the Triton linear_attention takes q, k and v of one dtype, got "
            f"{q.dtype}, {k.dtype} and {v.dtype}: call gabc.kernels.linear_attention, which "
            "promotes them"
        )
    widest = max(q.shape[3], v.shape[3])
    if widest > WIDEST:
        raise ValueError(
            f"the Triton linear_attention takes heads of up to {WIDEST} keys and values, got "
            f"{widest}: use more heads, or implementation('linear_attention', 'reference')"
        )


def _heads(x: Tensor) -> tuple[int, int]:
    return x.shape[0], x.shape[2]


def _swapped(state: Tensor | None) -> Tensor | None:
    return None if state is None else state.mT
