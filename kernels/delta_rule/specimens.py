"""The kernels of the delta rule as they are launched, for compilation without a GPU."""

from __future__ import annotations

from typing import Any

from ..specimens import Specimen
from .gradients import border_gradients_kernel, score_gradients_kernel, seen_gradients_kernel
from .operand_gradients import operand_gradients_by_key_kernel, operand_gradients_kernel
from .prepare import project_kernel, scores_kernel, solve_kernel
from .settings import STAGES, constants, warps
from .tiles import HEAD, KEY, NONE
from .walk_back import walk_back_kernel
from .walks import outputs_kernel, walk_kernel

OPERANDS = frozenset(
    f"{d}{name}_ptr" for name in ("q", "l", "r", "k", "v", "g", "o", "x") for d in ("", "d")
)
"""In the dtype of the operands; scratch and states are float32."""

DECAYS = frozenset({"g_ptr", "since_ptr", "to_end_ptr", "dkept_ptr", "dg_ptr"})
KINDS = {NONE: "none", HEAD: "head", KEY: "key"}

FORWARD = (scores_kernel, project_kernel, walk_kernel, outputs_kernel)
BACKWARD = (walk_back_kernel, score_gradients_kernel, border_gradients_kernel)


def specimens() -> tuple[Specimen, ...]:
    """128 keys and values: in bf16 with the decay of keys, which takes the most, in float32 with
    that of heads; then the walks with the least and the most keys, and what has no decay."""
    by_key = (*FORWARD, *BACKWARD, operand_gradients_by_key_kernel)
    by_head = (*FORWARD, *BACKWARD, seen_gradients_kernel, operand_gradients_kernel)
    walks = (walk_kernel, walk_back_kernel)
    return (
        *(_specimen(kernel, "bf16", 128, KEY) for kernel in by_key),
        *(_specimen(kernel, "fp32", 128, HEAD) for kernel in by_head),
        *(_specimen(kernel, "fp16", 64, KEY) for kernel in (scores_kernel, *walks)),
        *(_specimen(kernel, "bf16", 256, KEY) for kernel in walks),
        *(_specimen(kernel, "fp32", 5, HEAD) for kernel in walks),
        _specimen(solve_kernel, "bf16", 128, NONE),
        _specimen(operand_gradients_kernel, "bf16", 128, NONE),
    )


def _specimen(kernel: Any, dtype: str, width: int, decay: int) -> Specimen:
    chosen = constants(kernel.arg_names, width, width, decay, False)
    if "SLOT" in kernel.arg_names:
        chosen["SLOT"] = 2
    arguments = {
        name: f"*{dtype if name in OPERANDS else 'fp32'}"
        for name in kernel.arg_names
        if name.endswith("_ptr") and not (decay == NONE and name in DECAYS)
    }
    arguments |= {name: "i32" for name in ("length", "heads", "chunks") if name in kernel.arg_names}
    name = f"{kernel.__name__.removesuffix('_kernel')} {KINDS[decay]} {dtype} {width}"
    return Specimen(
        name, kernel, arguments, chosen, warps(chosen, width), STAGES, _may_spill(kernel, width)
    )


def _may_spill(kernel: Any, width: int) -> bool:
    """Two registers of a walk of 256 keys, and on sm_80 four of the gradients by key: with 4 and
    with 8 warps some spill, and a state in smaller parts would need more than four of them."""
    return width == 256 or kernel is operand_gradients_by_key_kernel
