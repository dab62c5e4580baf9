"""The kernels of cross-entropy as they are launched, for compilation without a GPU."""

from __future__ import annotations

from ..specimens import Specimen
from .triton import SETTINGS, backward_kernel, forward_kernel, settings


def specimens() -> tuple[Specimen, ...]:
    """50,257 classes in every dtype, with all options and with none; then every tile in bf16."""
    vocabularies = [entry.block - 5 for entry in SETTINGS[:-1]]
    return (
        *(_forward(dtype, 50257, True) for dtype in ("bf16", "fp16", "fp32")),
        *(_backward(dtype, 50257, True) for dtype in ("bf16", "fp16", "fp32")),
        _forward("bf16", 32000, False),
        _backward("bf16", 32000, False),
        *(_forward("bf16", vocabulary, True) for vocabulary in vocabularies),
        *(_backward("bf16", vocabulary, True) for vocabulary in vocabularies),
    )


COMMON = {
    "target_ptr": "*i64",
    "lse_ptr": "*fp32",
    "stride": "i32",
    "rows": "i32",
    "vocabulary": "i32",
    "ignore_index": "i32",
    "smoothing": "fp32",
    "z_loss": "fp32",
}


def _forward(dtype: str, vocabulary: int, has_all: bool) -> Specimen:
    arguments = COMMON | {"logits_ptr": f"*{dtype}", "loss_ptr": "*fp32"}
    return _specimen("forward", dtype, vocabulary, has_all, arguments, {"SMOOTHED": has_all})


def _backward(dtype: str, vocabulary: int, has_all: bool) -> Specimen:
    logits = f"*{dtype}"
    arguments = COMMON | {"logits_ptr": logits, "dlogits_ptr": logits, "dloss_ptr": "*fp32"}
    arguments |= {"out_stride": "i32"}
    if has_all:
        arguments |= {"dlse_ptr": "*fp32"}
    return _specimen("backward", dtype, vocabulary, has_all, arguments, {})


def _specimen(
    direction: str,
    dtype: str,
    vocabulary: int,
    has_all: bool,
    arguments: dict[str, str],
    constants: dict[str, object],
) -> Specimen:
    chosen = settings(vocabulary)
    if has_all:
        arguments |= {"softcap": "fp32"}
    return Specimen(
        f"{direction} {dtype} {vocabulary}{'' if has_all else ' alone'}",
        forward_kernel if direction == "forward" else backward_kernel,
        arguments,
        constants | {"ROWS": chosen.rows, "BLOCK": chosen.block},
        chosen.warps,
        divisible=frozenset() if vocabulary % 16 else frozenset({"stride", "out_stride"}),
    )
