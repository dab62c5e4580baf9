"""Run the cases of a kernel in Triton's interpreter and print one JSON object.

Run as a program with TRITON_INTERPRET=1: the interpreter is chosen for a whole process when triton
is imported. Argument: the kernel. Result: for each case and dtype the list of differences. Every
`torch.empty` is NaN, so that an element left unwritten shows.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict

import torch
from gabc.kernels import launch
from gabc.kernels.cases import Case, differences

SLABS = {torch.float32: launch.MAX_SLABS, torch.float16: 4}
"""For each dtype the largest number of slabs of a two-stage sum: as on a GPU, so that the second
stage takes several steps, and so few that a slab has several tiles. The interpreter is silently
wrong for bfloat16."""


def poison_scratch() -> None:
    torch.use_deterministic_algorithms(True)
    # The module replaces its own class to make this a property, which hides it from type checkers.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # noqa: B010
    assert torch.empty(3).isnan().all()


def main() -> None:
    poison_scratch()
    kernel = sys.argv[1]
    cases = importlib.import_module(f"gabc.kernels.{kernel}.cases").cases()
    found = {
        f"{case.name}, {str(dtype).removeprefix('torch.')}": measured(kernel, case, dtype)
        for case in cases
        for dtype in SLABS
    }
    print(json.dumps(found))


def measured(kernel: str, case: Case, dtype: torch.dtype) -> list[dict[str, object]]:
    launch.MAX_SLABS = SLABS[dtype]
    return [
        {**asdict(difference), "is_sound": difference.is_sound}
        for difference in differences(kernel, case, dtype, torch.device("cpu"))
    ]


if __name__ == "__main__":
    main()
