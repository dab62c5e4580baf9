"""The delta rule in Triton: launches. Chunks are prepared, walked over, and read, each at once.

Forward: `prepare` (scores, inverse, W, Z; parallel over chunks), `walk` (states and u; parallel
over heads and values), `outputs`. Backward: `prepare` again, `walk_back` (gradients of states and
of u), then gradients of scores, borders and operands, parallel over chunks. No atomics.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from ..launch import require_supported
from .chunks import chunk_count, chunk_steps
from .gradients import border_gradients_kernel, score_gradients_kernel, seen_gradients_kernel
from .operand_gradients import operand_gradients_by_key_kernel, operand_gradients_kernel
from .prepare import project_kernel, scores_kernel, solve_kernel
from .settings import STAGES, constants, settings, warps
from .tiles import HEAD, KEY, NONE
from .walk_back import walk_back_kernel
from .walks import outputs_kernel, walk_kernel

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _Call:
    """Contiguous operands of one call, and what follows from their sizes."""

    q: Tensor
    l: Tensor  # noqa: E741
    r: Tensor
    k: Tensor
    v: Tensor
    g: Tensor | None
    read_before: bool

    @property
    def decay(self) -> int:
        if self.g is None:
            return NONE
        return HEAD if self.g.ndim == 3 else KEY

    @property
    def rows(self) -> int:
        return self.k.shape[0] * self.k.shape[2]

    @property
    def state_shape(self) -> tuple[int, int, int, int]:
        return self.k.shape[0], self.k.shape[2], self.k.shape[3], self.v.shape[3]

    @property
    def chunks(self) -> int:
        return chunk_count(self.k.shape[1], self.k.shape[3])

    @property
    def tiles_of_keys(self) -> int:
        return int(triton.cdiv(self.k.shape[3], settings(self.k.shape[3]).tile))

    @property
    def tiles_of_values(self) -> int:
        return int(triton.cdiv(self.v.shape[3], settings(self.k.shape[3]).tile))

    @property
    def walks(self) -> int:
        """Programs of a walk: tiles of values of every head."""
        tiles = triton.cdiv(self.v.shape[3], settings(self.k.shape[3]).state_values)
        return self.rows * int(tiles)

    def scratch(self, *shape: int) -> Tensor:
        """[chunks of all heads, *shape] in float32."""
        lead = self.rows * self.chunks
        return torch.empty((lead, *shape), dtype=torch.float32, device=self.k.device)

    # A kernel has no type: triton ships none.
    def launch(
        self,
        kernel: Any,
        programs: int,
        *operands: Tensor | None,
        read_before: bool | None = None,
        **more: int,
    ) -> None:
        """A kernel takes its tensors, length, heads and chunks if it asks, then its constants."""
        if not programs:
            return
        _, length, heads, keys = self.k.shape
        before = self.read_before if read_before is None else read_before
        constant = constants(kernel.arg_names, keys, self.v.shape[3], self.decay, before) | more
        sizes = (length, heads, self.chunks) if "length" in kernel.arg_names else ()
        with torch.cuda.device(self.k.get_device()):
            kernel[(programs,)](
                *operands,
                *sizes,
                **constant,
                num_warps=warps(constant, keys),
                num_stages=STAGES,
            )


@dataclass(frozen=True)
class _Prepared:
    """since, to_end [.., C, K or 1] or None; scores [.., 5, C, C]; w [.., C, K]; z [.., C, V]."""

    since: Tensor | None
    to_end: Tensor | None
    scores: Tensor
    w: Tensor
    z: Tensor


def forward(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    read_before: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32 on a CUDA device."""
    call = _called(q, l, r, k, v, g, initial, read_before)
    parts = _prepared(call)
    o = v.new_empty(v.shape)
    final = torch.empty(call.state_shape, dtype=torch.float32, device=v.device)
    batch, heads, keys, values = call.state_shape
    states = final.new_empty((batch, heads, call.chunks, keys, values))
    u = torch.empty_like(parts.z)
    call.launch(
        walk_kernel, call.walks, call.r, call.k, call.v, parts.since, parts.to_end, parts.w,
        parts.z, None if initial is None else initial.contiguous(), states, u, final,
    )  # fmt: skip
    call.launch(
        outputs_kernel, call.rows * call.chunks * call.tiles_of_values, call.q, call.v,
        parts.since, parts.scores, states, u, o,
    )  # fmt: skip
    return o, final, states


def backward(
    do: Tensor,
    dfinal: Tensor,
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    states: Tensor,
    read_before: bool,
) -> Gradients:
    """As `reference.backward`, for float16, bfloat16 and float32 on a CUDA device."""
    call = _called(q, l, r, k, v, g, initial, read_before)
    parts, do = _prepared(call), do.contiguous()
    dv = v.new_empty(v.shape)
    dinitial = None if initial is None else initial.new_empty(initial.shape)
    keys, size = k.shape[3], chunk_steps(k.shape[3])
    dstates, du = torch.empty_like(states), torch.empty_like(parts.z)
    call.launch(
        walk_back_kernel, call.walks, do, dfinal.contiguous(), call.q, call.r, parts.since,
        parts.to_end, parts.scores, parts.w, dstates, du, dinitial,
    )  # fmt: skip
    u, solved = torch.empty_like(du), torch.empty_like(du)
    dscores = call.scratch(4, size, size)
    tiles, every = call.tiles_of_keys, call.rows * call.chunks
    # A decay of heads is summed over tiles of keys, after which come the scores.
    by_tile = call.scratch(0) if call.decay != HEAD else _by_tile(call, tiles + 2, size)
    call.launch(
        score_gradients_kernel, every, do, call.k, call.v, parts.to_end, parts.scores, parts.w,
        parts.z, states, dstates, du, u, solved, dscores, dv,
    )  # fmt: skip
    for place, (slot, before) in enumerate(((0, True), (2, read_before))):
        call.launch(
            seen_gradients_kernel, every, call.g, parts.scores, dscores,
            by_tile[tiles + place] if call.decay == HEAD else None, read_before=before, SLOT=slot,
        )  # fmt: skip
    borders = call.scratch(4, size, keys)
    dkept = None if g is None else call.scratch(keys)
    call.launch(
        border_gradients_kernel, every * tiles, do, call.v, u, solved, states, dstates, borders,
        dkept,
    )  # fmt: skip
    dq, dl, dr, dk, dg = _operand_gradients(call, parts, dscores, borders, dkept, by_tile)
    return dq, dl, dr, dk, dv, dg, v.new_empty(0) if dinitial is None else dinitial


def _operand_gradients(
    call: _Call,
    parts: _Prepared,
    dscores: Tensor,
    borders: Tensor,
    dkept: Tensor | None,
    by_tile: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of q, l, r, k and the gates; the last is without elements if there are none."""
    dq, dl, dr, dk = (x.new_empty(x.shape) for x in (call.q, call.l, call.r, call.k))
    programs = call.rows * call.chunks * call.tiles_of_keys
    if call.g is None or call.decay == HEAD:
        call.launch(
            operand_gradients_kernel, programs, call.q, call.l, call.r, call.k, parts.since,
            parts.to_end, dscores, borders, dkept, dq, dl, dr, dk,
            by_tile if call.decay == HEAD else None,
        )  # fmt: skip
        return dq, dl, dr, dk, call.v.new_empty(0) if call.g is None else _summed(by_tile, call.g)
    dg = call.g.new_empty(call.g.shape)
    given = (call.r, call.k, call.g, parts.since, parts.to_end, dscores, borders, dkept)
    partial = torch.empty_like(borders[:, :3], memory_format=torch.contiguous_format)
    call.launch(
        operand_gradients_by_key_kernel, programs, call.l, *given, partial, dl, None, None, None,
        read_before=True, SLOT=0,
    )  # fmt: skip
    call.launch(
        operand_gradients_by_key_kernel, programs, call.q, *given, partial, dq, dr, dk, dg, SLOT=2
    )
    return dq, dl, dr, dk, dg


def _called(
    q: Tensor,
    l: Tensor,  # noqa: E741
    r: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    initial: Tensor | None,
    read_before: bool,
) -> _Call:
    require_supported("delta_rule", q=q, l=l, r=r, k=k, v=v, log_decay=g, initial=initial)
    settings(k.shape[3])
    q, l, r, k, v = (x.contiguous() for x in (q, l, r, k, v))  # noqa: E741
    return _Call(q, l, r, k, v, None if g is None else g.contiguous(), read_before)


def _prepared(call: _Call) -> _Prepared:
    keys, values, size = call.k.shape[3], call.v.shape[3], chunk_steps(call.k.shape[3])
    decays: tuple[Tensor | None, Tensor | None] = (None, None)
    if call.decay != NONE:
        width = keys if call.decay == KEY else 1
        decays = (call.scratch(size, width), call.scratch(size, width))
    parts = _Prepared(
        *decays, call.scratch(5, size, size), call.scratch(size, keys), call.scratch(size, values)
    )
    chunks = call.rows * call.chunks
    keys_and_gates = (call.r, call.k, call.g)
    call.launch(
        scores_kernel, chunks, call.l, *keys_and_gates, parts.since, parts.to_end, parts.scores,
        read_before=True, SLOT=0,
    )  # fmt: skip
    call.launch(scores_kernel, chunks, call.q, *keys_and_gates, None, None, parts.scores, SLOT=2)
    call.launch(solve_kernel, chunks, parts.scores)
    call.launch(project_kernel, chunks, call.l, call.v, parts.since, parts.scores, parts.w, parts.z)
    return parts


def _by_tile(call: _Call, count: int, size: int) -> Tensor:
    shape = (count, call.rows * call.chunks, size)
    return torch.empty(shape, dtype=torch.float32, device=call.k.device)


def _summed(by_tile: Tensor, g: Tensor) -> Tensor:
    """[tiles, chunks of all heads, C] to g's [B, L, H], in a fixed order."""
    batch, length, heads = g.shape
    by_step = by_tile.sum(0).reshape(batch, heads, -1)[:, :, :length]
    return by_step.transpose(1, 2).to(g.dtype).contiguous()
