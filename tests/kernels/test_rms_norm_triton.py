"""The Triton rms_norm without a GPU: its arithmetic in the interpreter, and compilation for two.

The interpreter runs one program after another on numpy, so it shows wrong indices, masks and
formulas but no race; it is wrong for bfloat16, which is only compiled here. No speed is measured.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (pip install 'gabc[gpu]')")

from gabc.kernels.rms_norm import triton as kernels  # noqa: E402

SHARED_MEMORY_LIMIT = 232_448  # bytes a program may use on sm_90

# (dtype, width, rows, largest number of slabs): a limit of 4 gives slabs of several tiles, the last
# one short; 45 slabs of one row take the second stage two steps.
SIZES = (
    (1, 1, 264),
    (1, 130, 2),
    (7, 1, 264),
    (7, 5, 264),
    (100, 20, 264),
    (129, 1, 264),
    (129, 13, 264),
    (1000, 13, 4),
)
CASES = [(dtype, *sizes) for dtype in ("float32", "float16") for sizes in SIZES]
CASES.append(("float32", 1000, 45, 264))

Case = tuple[str, int, int, int]
Measured = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def interpreted() -> dict[Case, Measured]:
    script = Path(__file__).with_name("interpret_rms_norm.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(CASES)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_error_is_at_most_twice_that_of_torch_and_runs_repeat(
    case: Case, interpreted: dict[Case, Measured]
) -> None:
    outputs = interpreted[case]
    assert len(outputs) == 7
    # Both compute in float32, so below its unit the ratio of two errors is chance.
    floor = torch.finfo(torch.float32).eps
    wrong = {
        name: found
        for name, found in outputs.items()
        if not found["error"] <= max(2 * found["reference_error"], floor)
    }
    assert not wrong
    assert all(found["repeats"] for found in outputs.values())


@dataclass(frozen=True)
class Resources:
    """Bytes of shared memory of a program; registers and spilled bytes of a thread."""

    shared: int
    registers: int
    spilled: int
    text: str


def resources(
    kernel: Any, arguments: dict[str, str], constants: dict[str, int], warps: int, arch: int
) -> Resources:
    from triton.backends.compiler import GPUTarget  # type: ignore[import-untyped]
    from triton.compiler import ASTSource  # type: ignore[import-untyped]

    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: arguments.get(name, "constexpr") for name in names},
        {name: constants.get(name) for name in names if name not in arguments},
        {
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if arguments.get(name, "").startswith("*")
        },
    )
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"num_warps": warps})
    usage = resource_usage(built.asm["cubin"])
    return Resources(
        shared=built.metadata.shared,
        registers=int(re.findall(r"REG:(\d+)", usage)[-1]),
        spilled=int(re.findall(r"STACK:(\d+)", usage)[-1]),
        text=built.asm["ttgir"],
    )


def resource_usage(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    binary = Path(os.environ["TRITON_CACHE_DIR"]) / "kernel.cubin"
    binary.write_bytes(cubin)
    return subprocess.run(
        [str(tool), "-res-usage", str(binary)], capture_output=True, text=True, check=True
    ).stdout


def compiled(which: str, dtype: str, width: int, arch: int, optional: bool) -> Resources:
    """`optional`: with residual, weight and the gradient of the sum, or with none of them."""
    chosen = kernels.settings(width)
    constants = {"WIDTH": width, "ROWS": chosen.rows, "BLOCK": chosen.block}
    rows = f"*{dtype}"
    if which == "forward":
        arguments = {"x_ptr": rows, "y_ptr": rows, "x_stride": "i32", "rows": "i32", "eps": "fp32"}
        arguments |= {"residual_stride": "i32"}
        if optional:
            arguments |= {"residual_ptr": rows, "h_ptr": rows, "weight_ptr": "*fp32"}
        return resources(kernels.forward_kernel, arguments, constants, chosen.warps, arch)
    arguments = {"dy_ptr": rows, "x_ptr": rows, "dx_ptr": rows, "dy_stride": "i32"}
    arguments |= {"x_stride": "i32", "dsum_stride": "i32", "rows": "i32", "slab": "i32"}
    arguments |= {"eps": "fp32"}
    if optional:
        arguments |= {"weight_ptr": "*fp32", "dsum_ptr": rows, "partial_ptr": "*fp32"}
    return resources(kernels.backward_kernel, arguments, constants, chosen.warps, arch)


@pytest.fixture
def compile_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if triton.knobs.runtime.interpret:
        pytest.skip("TRITON_INTERPRET is set: this process can interpret kernels, not compile them")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def require_fits(found: Resources, spills_allowed: bool) -> None:
    assert found.shared <= SHARED_MEMORY_LIMIT
    assert "atomic" not in found.text
    assert spills_allowed or found.spilled == 0, f"{found.spilled} bytes spilled per thread"


@pytest.mark.usefixtures("compile_mode")
@pytest.mark.parametrize(
    ("arch", "dtype", "optional"),
    [
        (80, "bf16", True),
        (80, "fp16", True),
        (80, "fp32", True),
        (90, "bf16", True),
        (90, "fp16", True),
        (90, "fp32", True),
        (90, "bf16", False),
    ],
)
def test_compiles(arch: int, dtype: str, optional: bool) -> None:
    for which in ("forward", "backward"):
        require_fits(compiled(which, dtype, 768, arch, optional), spills_allowed=False)


@pytest.mark.slow
@pytest.mark.usefixtures("compile_mode")
@pytest.mark.parametrize("block", [entry.block for entry in kernels.SETTINGS])
@pytest.mark.parametrize("arch", [80, 90])
def test_every_setting_compiles(
    arch: int, block: int, record_property: Callable[[str, object], None]
) -> None:
    # An odd width has rows that are not aligned, which takes the most registers.
    for which in ("forward", "backward"):
        found = compiled(which, "bf16", block - 5, arch, optional=True)
        record_property(f"{which} shared bytes", found.shared)
        record_property(f"{which} registers", found.registers)
        record_property(f"{which} spilled bytes", found.spilled)
        widest = (which, block) == ("backward", kernels.SETTINGS[-1].block)
        require_fits(found, spills_allowed=widest)


@pytest.mark.usefixtures("compile_mode")
@pytest.mark.parametrize("arch", [80, 90])
def test_second_stage_compiles(arch: int) -> None:
    arguments = {"partial_ptr": "*fp32", "dweight_ptr": "*bf16", "slabs": "i32"}
    constants = {
        "WIDTH": 1000,
        "SLABS": kernels.REDUCE_SLABS,
        "COLUMNS": kernels.REDUCE_COLUMNS,
    }
    found = resources(kernels.sum_slabs_kernel, arguments, constants, 4, arch)
    require_fits(found, spills_allowed=False)


@pytest.mark.parametrize("width", [1, 16, 17, 768, 16384])
def test_settings_cover_a_width_with_the_smallest_block(width: int) -> None:
    blocks = [entry.block for entry in kernels.SETTINGS if entry.block >= width]
    assert kernels.settings(width).block == min(blocks)


def test_a_row_too_wide_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"stops at 16384 columns, got 16385"):
        kernels.settings(16385)


def test_float64_and_cpu_tensors_are_errors_outside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(TypeError, match=r"takes no torch\.float64 x"):
        kernels.forward(torch.ones(2, 4, dtype=torch.float64), None, 1e-5)
    with pytest.raises(ValueError, match="needs a CUDA tensor, got one on cpu"):
        kernels.forward(torch.ones(2, 4), None, 1e-5)
