"""The kernels of linear attention as they are launched, for compilation without a GPU."""

from __future__ import annotations

from typing import Any

import torch

from ..specimens import Specimen
from .chunks import CHANNEL, HEAD, NO_DECAY
from .scores import scores_kernel
from .sides import decayed_side_kernel, plain_side_kernel
from .triton import Settings, settings
from .walk import walk_kernel

WIDTH = 128
LONG, STEP = 1024, 1
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
KINDS = {"none": NO_DECAY, "head": HEAD, "channel": CHANNEL}


def specimens() -> tuple[Specimen, ...]:
    """128 keys and values, read before the update: every decay in bf16, those of a head and of a
    channel (a key or a value) in the other dtypes, and what a step of decoding launches."""
    return (
        *(_scores("bf16", kind) for kind in KINDS),
        *(_plain_side("bf16", kind) for kind in KINDS),
        *(_decayed_side("bf16", kind) for kind in KINDS),
        *(_walk("bf16", kind, back=False) for kind in KINDS),
        *(_walk(dtype, "channel", back=True) for dtype in DTYPES),
        *(_decayed_side(dtype, kind) for dtype in ("fp16", "fp32") for kind in ("head", "channel")),
        *(_scores(dtype, kind) for dtype in ("fp16", "fp32") for kind in ("head", "channel")),
        *(_plain_side(dtype, kind) for dtype in ("fp16", "fp32") for kind in ("head", "channel")),
        _walk("bf16", "channel", back=False, length=STEP),
        _scores("bf16", "channel", length=STEP),
        _plain_side("bf16", "channel", length=STEP),
    )


def _strides(*names: str) -> dict[str, str]:
    return {f"{name}_{axis}": "i32" for name in names for axis in ("batch", "step", "head")}


def _sizes() -> dict[str, str]:
    return dict.fromkeys(("length", "heads", "chunks"), "i32")


def _chosen(dtype: str, kind: str, length: int = LONG) -> Settings:
    return settings(DTYPES[dtype], KINDS[kind], length)


def _specimen(
    name: str,
    kernel: Any,  # triton.JITFunction has no type
    arguments: dict[str, str],
    constants: dict[str, object],
    dtype: str,
    kind: str,
    length: int = LONG,
) -> Specimen:
    chosen = _chosen(dtype, kind, length)
    warps = chosen.gradient_warps if kernel is decayed_side_kernel else chosen.warps
    if kind != "none":
        arguments["g_ptr"] = "*fp32"
    constants = {
        "KIND": KINDS[kind],
        "BEFORE": 1,
        "X": WIDTH,
        "STEPS": chosen.steps,
        "BLOCK_X": chosen.tile,
        "PRECISION": chosen.outputs,
    } | constants
    aligned = frozenset(n for n in arguments if n.endswith(("_batch", "_step", "_head")))
    name = f"{name} {dtype} {kind}{' decoding' if length == STEP else ''}"
    return Specimen(name, kernel, arguments, constants, warps, divisible=aligned)


def _walk(dtype: str, kind: str, *, back: bool, length: int = LONG) -> Specimen:
    chosen = _chosen(dtype, kind, length)
    arguments = {"y_ptr": f"*{dtype}", "w_ptr": f"*{dtype}", "initial_ptr": f"*{dtype}"}
    arguments |= {"states_ptr": "*fp32", "last_ptr": "*fp32"} | _strides("y", "w", "g") | _sizes()
    places = ("initial_batch", "initial_head", "initial_row", "initial_column")
    arguments |= dict.fromkeys((*places, "last_row", "last_column"), "i32")
    constants: dict[str, object] = {
        "REVERSE": back,
        "W": WIDTH,
        "BLOCK_X": chosen.state_tile,
        "BLOCK_W": chosen.state_tile,
        "STEPS": chosen.stride,
        "STRIDES": chosen.steps // chosen.stride,
        "PRECISION": chosen.states,
    }
    name = "walk back" if back else "walk"
    return _specimen(name, walk_kernel, arguments, constants, dtype, kind, length)


def _scores(dtype: str, kind: str, length: int = LONG) -> Specimen:
    """With a bonus; of a head's decay with the gradient of the gates instead."""
    arguments = {"x_ptr": f"*{dtype}", "y_ptr": f"*{dtype}", "scores_ptr": "*fp32"}
    arguments |= _strides("x", "y", "g") | _sizes()
    if kind == "head":
        arguments |= {"other_ptr": "*fp32", "dg_ptr": "*fp32"}
    else:
        arguments["bonus_ptr"] = f"*{dtype}"
    return _specimen("scores", scores_kernel, arguments, {"OWN": True}, dtype, kind, length)


def _plain_side(dtype: str, kind: str, length: int = LONG) -> Specimen:
    arguments = {"x_ptr": f"*{dtype}", "w_ptr": f"*{dtype}", "out_ptr": f"*{dtype}"}
    arguments |= {"scores_ptr": "*fp32", "states_ptr": "*fp32"} | _strides("x", "w", "g")
    constants: dict[str, object] = {
        "WRITES": True,
        "W": WIDTH,
        "BLOCK_W": _chosen(dtype, kind).tile,
    }
    return _specimen(
        "plain side", plain_side_kernel, arguments | _sizes(), constants, dtype, kind, length
    )


def _decayed_side(dtype: str, kind: str) -> Specimen:
    """With all gradients."""
    operands = ("x", "y", "z", "w")
    arguments = {f"{name}_ptr": f"*{dtype}" for name in (*operands, "bonus", "dx", "dy")}
    states = ("scores", "states", "gradients", "dbonus", *(["dg"] if kind != "none" else []))
    arguments |= {f"{name}_ptr": "*fp32" for name in states}
    arguments |= _strides(*operands, "g") | _sizes() | {"batches": "i32"}
    constants: dict[str, object] = {"W": WIDTH, "BLOCK_W": _chosen(dtype, kind).tile}
    return _specimen("decayed side", decayed_side_kernel, arguments, constants, dtype, kind)
