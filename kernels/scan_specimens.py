"""The kernels of scans along time as they are launched, for compilation without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .scan_chunks import Scan, carry_kernel, states_kernel, totals_kernel
from .scan_lanes import GRADIENT_UNROLL, SETTINGS, UNROLL
from .specimens import Specimen

NARROW, WIDE = SETTINGS[0], SETTINGS[-1]
COUNTS = ("length", "size", "chunks", "outer", "inner", "lanes")


def scan_specimen(
    name: str,
    kernel: Any,  # triton.JITFunction has no type
    operands: Mapping[str, str],
    others: Mapping[str, str],
    *,
    scan: Scan | None = None,
    is_complex: bool = False,
    is_aligned: bool = True,
    are_many: bool = True,
) -> Specimen:
    """`scan` is None of gradients. `operands` have strides, the inner that of adjacent numbers.

    Aligned: of a width that is a multiple of 16. Many: two lanes a thread.
    """
    arguments: dict[str, str] = dict(others)
    unroll = UNROLL if scan is not None else GRADIENT_UNROLL
    constants: dict[str, object] = {"SCAN": scan, "IS_COMPLEX": is_complex, "UNROLL": unroll}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    for operand, dtype in operands.items():
        arguments[f"{operand}_ptr"] = f"*{dtype}"
        arguments |= {f"{operand}_{stride}": "i32" for stride in ("batch", "time", "outer")}
        constants[f"{operand}_inner"] = 2 if is_complex else 1
    strides = {key for key in arguments if key.endswith(("_batch", "_time", "_outer"))}
    chosen = WIDE if are_many and is_aligned and not is_complex else NARROW
    return Specimen(
        f"{name}{' complex' if is_complex else ''}{'' if is_aligned else ' unaligned'}",
        kernel,
        arguments | dict.fromkeys(COUNTS, "i32"),
        constants | {"LANES": chosen.lanes},
        chosen.warps,
        divisible=frozenset({*strides, "inner"} if is_aligned else ()),
    )


def states_specimen(
    scan: Scan, dtype: str, *, share: str = "", is_complex: bool = False, is_aligned: bool = True
) -> Specimen:
    others = {"h_ptr": f"*{dtype}"} | ({"share_ptr": f"*{share}"} if share else {})
    return scan_specimen(
        f"states {scan} {dtype}{' with share' if share else ''}",
        states_kernel,
        {"a": dtype, "b": dtype, "start": "fp32"},
        others,
        scan=scan,
        is_complex=is_complex,
        is_aligned=is_aligned,
    )


def chunk_specimens(
    scan: Scan, dtype: str, *, is_complex: bool = False, is_aligned: bool = True
) -> tuple[Specimen, Specimen]:
    """What finds the state before each chunk."""
    pair = {"a": dtype, "b": dtype}
    first = {"first": dtype} if scan != "reversed" else {}
    found = {"total_ptr": "*fp32", "end_ptr": "*fp32"}
    carry = {"start_ptr": "*fp32", "chunks": "i32", "one": "i32"}
    name = f"{scan} {dtype}"
    return (
        scan_specimen(
            f"totals {name}",
            totals_kernel,
            pair,
            found,
            scan=scan,
            is_complex=is_complex,
            is_aligned=is_aligned,
        ),
        scan_specimen(
            f"carry {name}",
            carry_kernel,
            pair | first,
            found | carry,
            scan=scan,
            is_complex=is_complex,
            is_aligned=is_aligned,
            are_many=False,  # else time is one chunk
        ),
    )
