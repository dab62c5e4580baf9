"""The work of `gabc doctor`, behind the imports that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from gabc.cli.faults import FoundErrors, InputFault
from gabc.cli.output import print_json
from gabc.runtime.doctor import Diagnosis, KernelReport, diagnose


def run_doctor(kernels: Sequence[str], as_document: bool) -> None:
    """Prints what was found. Raises `FoundErrors` where a kernel is wrong on this machine."""
    try:
        found = diagnose(kernels)
    except ValueError as error:
        raise InputFault(str(error)) from error
    if as_document:
        print_json({"ok": found.is_sound, **asdict(found)})
    else:
        print("\n".join(_lines(found)))
    if not found.is_sound:
        raise FoundErrors


def _lines(found: Diagnosis) -> list[str]:
    installed = (f"{name} {number or '(absent)'}" for name, number in found.versions.items())
    lines = [", ".join(installed), _device(found), ""]
    width = max(len(kernel.name) for kernel in found.kernels)
    for kernel in found.kernels:
        lines.append(f"{kernel.name:{width}}  {kernel.uses}: {kernel.why}")
        lines += _faults(kernel)
    wrong = [kernel.name for kernel in found.kernels if kernel.faults]
    if wrong:
        lines += ["", f"wrong on this machine, do not train with: {', '.join(wrong)}"]
    return lines


def _device(found: Diagnosis) -> str:
    gpu = found.gpu
    if gpu is None:
        return "no CUDA device: designs run on the CPU, in plain torch; no Triton kernel was run"
    gibibytes = gpu.memory / 2**30
    return f"{gpu.name}, {gpu.capability}, {gibibytes:.0f} GiB, CUDA {gpu.cuda}"


def _faults(kernel: KernelReport) -> list[str]:
    return [f"    {check.case}, {check.dtype}: {check.fault}" for check in kernel.faults]
