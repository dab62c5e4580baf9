"""The kernels of a group as they are launched, for compilation without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..specimens import Specimen
from .launch import tile_of
from .spec import FULL, Fused


def specimens(
    fused: Fused, widths: Sequence[int], dtypes: Sequence[str] = ("bf16",)
) -> Iterator[Specimen]:
    """Forward and backward for rows of each width, with columns that lie side by side."""
    kernels = {"forward": fused.forward_kernel, "backward": fused.backward_kernel}
    for width in widths:
        tile = tile_of(fused, width)
        sizes: dict[str, object] = {"WIDTH": width, "ROWS": tile.rows, "BLOCK": tile.block}
        for dtype in dtypes:
            for kind, kernel in kernels.items():
                if kernel is not None:
                    columns = {name: 1 for name in kernel.arg_names if name.endswith("_column")}
                    yield Specimen(
                        f"{fused.name} {kind} {dtype} {width}",
                        kernel,
                        _arguments(fused, kernel, dtype),
                        sizes | columns,
                        tile.warps,
                    )


def _arguments(fused: Fused, kernel: Any, dtype: str) -> dict[str, str]:
    """The types: masks are bytes, sums and what is summed afterwards float32."""
    types = dict.fromkeys(fused.numbers, "fp32")
    types |= {f"{operand.name}_ptr": "*u8" for operand in fused.operands if operand.is_mask}
    summed = [operand for operand in fused.operands if operand.varies and operand.rows != FULL]
    types |= {f"d{operand.name}_ptr": "*fp32" for operand in summed}
    found = {}
    for name in kernel.arg_names:
        if name in ("WIDTH", "ROWS", "BLOCK") or name.endswith("_column"):
            continue
        found[name] = types.get(name, f"*{dtype}" if name.endswith("_ptr") else "i32")
    return found
