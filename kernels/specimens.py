"""Compiles kernels for GPUs that are not here, and reads what they use of a multiprocessor.

`gabc.kernels.NAME.specimens` lists the kernels of NAME as they are launched. Compilation finds
faults of types and shapes, registers that spill, and too much shared memory, which launching would.
"""

# Triton ships no types.
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SHARED_MEMORY = {80: 166_912, 90: 232_448}
"""Bytes of shared memory that a program may use, by architecture."""


@dataclass(frozen=True)
class Specimen:
    """A kernel with the types of its arguments (`*bf16`, `i32`, `fp32`) and its constants.

    An argument that is in neither is None. Pointers are divisible by 16, as torch allocates them.
    `may_spill` needs a reason in the list of specimens.
    """

    name: str
    kernel: Any  # triton.JITFunction has no type
    arguments: Mapping[str, str]
    constants: Mapping[str, object]
    warps: int = 4
    stages: int = 2
    may_spill: bool = False
    divisible: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True)
class Resources:
    """Bytes of shared memory of a program; registers and spilled bytes of a thread; the GPU IR."""

    shared: int
    registers: int
    spilled: int
    ttgir: str


def resources(specimen: Specimen, architecture: int) -> Resources:
    """Compiles for `sm_<architecture>`; needs no GPU, and a process not in interpreter mode.

    Raises what Triton raises where the kernel does not compile.
    """
    names = specimen.kernel.arg_names
    unknown = {*specimen.arguments, *specimen.constants} - set(names)
    if unknown:
        raise ValueError(f"{specimen.name}: the kernel has no {', '.join(sorted(unknown))}")
    source = ASTSource(
        specimen.kernel,
        {name: specimen.arguments.get(name, "constexpr") for name in names},
        {name: specimen.constants.get(name) for name in names if name not in specimen.arguments},
        {
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if specimen.arguments.get(name, "").startswith("*") or name in specimen.divisible
        },
    )
    options = {"num_warps": specimen.warps, "num_stages": specimen.stages}
    built = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    usage = _resource_usage(built.asm["cubin"])
    return Resources(
        shared=built.metadata.shared,
        registers=int(re.findall(r"REG:(\d+)", usage)[-1]),
        spilled=int(re.findall(r"STACK:(\d+)", usage)[-1]),
        ttgir=built.asm["ttgir"],
    )


def faults(specimen: Specimen, found: Resources, architecture: int) -> list[str]:
    """What forbids launching the kernel, as one line each."""
    lines = []
    if found.shared > (limit := SHARED_MEMORY[architecture]):
        lines.append(f"{found.shared} bytes of shared memory, over {limit}")
    if found.spilled and not specimen.may_spill:
        lines.append(f"{found.spilled} bytes spilled per thread")
    if "atomic" in found.ttgir:
        lines.append("an atomic operation, whose order differs between runs")
    lines += _transposed_operands(found.ttgir)
    return lines


def _transposed_operands(ttgir: str) -> list[str]:
    """Register tiles that are transposed and then multiplied by a warp group.

    Hopper's compiler has silently miscompiled that (fla issue 640).
    """
    transposed = set(re.findall(r"(%\w+) = tt\.trans ", ttgir))
    moved = dict(re.findall(r"(%\w+) = (?:ttg\.local_alloc|ttg\.convert_layout) (%\w+)", ttgir))
    lines = []
    for operands in re.findall(r"ttng\.warp_group_dot (%\w+), (%\w+)", ttgir):
        for operand in operands:
            source = operand
            while source in moved and source not in transposed:
                source = moved[source]
            if source in transposed:
                lines.append(f"a transposed register tile {source} feeds a warp-group product")
    return lines


def _resource_usage(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(cubin)
        done = subprocess.run(
            [str(tool), "-res-usage", str(binary)], capture_output=True, text=True, check=True
        )
    return done.stdout
