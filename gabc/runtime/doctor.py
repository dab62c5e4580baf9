"""What this machine can run: versions, the GPU, and every kernel once against its reference."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import torch

from gabc.kernels.cases import Case, differences
from gabc.kernels.dispatch import kernels

PACKAGES = ("gabc", "torch", "triton", "transformers", "lm-eval")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Gpu:
    """The CUDA device that designs run on: memory in bytes, capability as in `sm_90`."""

    name: str
    capability: str
    memory: int
    cuda: str


@dataclass(frozen=True)
class Check:
    """One case of a kernel in one dtype: the result that is furthest off, in units of the allowed
    error (twice that of plain torch, against float64; None if the kernel raised), and what is wrong
    if anything is."""

    case: str
    dtype: str
    worst: float | None
    fault: str | None


@dataclass(frozen=True)
class KernelReport:
    """What a design on this machine uses for a kernel, and why: `triton`, `reference`, or `none`
    where there is a GPU and triton is missing."""

    name: str
    uses: str
    why: str
    checks: tuple[Check, ...]

    @property
    def faults(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.fault is not None)


@dataclass(frozen=True)
class Diagnosis:
    """Versions of packages (None: not installed) and what was found."""

    versions: dict[str, str | None]
    gpu: Gpu | None
    kernels: tuple[KernelReport, ...]

    @property
    def is_sound(self) -> bool:
        return not any(kernel.faults for kernel in self.kernels)


def diagnose(names: Sequence[str] = ()) -> Diagnosis:
    """Examines this machine; kernels run on its first CUDA device, where it has one.

    names: the kernels to look at, all if there are none. Raises ValueError for an unknown one.
    """
    if unknown := [name for name in names if name not in kernels()]:
        raise ValueError(f"no kernel `{unknown[0]}`; there are {', '.join(kernels())}")
    versions = {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}
    gpu = _gpu()
    reports = [_kernel(name, gpu, versions["triton"]) for name in names or kernels()]
    return Diagnosis(versions, gpu, tuple(reports))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> Gpu | None:
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    capability = f"sm_{found.major}{found.minor}"
    return Gpu(found.name, capability, found.total_memory, str(torch.version.cuda))


def _kernel(name: str, gpu: Gpu | None, triton: str | None) -> KernelReport:
    if gpu is None:
        return KernelReport(name, "reference", "no CUDA device", ())
    if triton is None:
        return KernelReport(name, "none", "triton is not installed: pip install 'gabc[gpu]'", ())
    cases = importlib.import_module(f"gabc.kernels.{name}.cases")
    checks = tuple(_checks(name, cases))
    faulty = [check for check in checks if check.fault is not None]
    why = f"{len(checks) - len(faulty)} of {len(checks)} cases agree with the reference"
    return KernelReport(name, "triton", why, checks)


def _checks(kernel: str, cases: ModuleType) -> Iterator[Check]:
    for case in cases.cases():
        for dtype in DTYPES:
            yield _check(kernel, case, dtype)


def _check(kernel: str, case: Case, dtype: torch.dtype) -> Check:
    named = str(dtype).removeprefix("torch.")
    try:
        found = list(differences(kernel, case, dtype, torch.device("cuda")))
    except Exception as error:  # whatever a kernel raises here is what there is to report
        return Check(case.name, named, None, f"{type(error).__name__}: {error}")
    wrong = [difference for difference in found if not difference.is_sound]
    fault = None
    if wrong:
        worst = max(wrong, key=lambda difference: difference.excess)
        also = "" if worst.repeats else ", and a second run differs"
        also += "" if worst.has_dtype else ", and the dtype is another"
        fault = (
            f"{worst.result}: error {worst.error:.1e}, plain torch has "
            f"{worst.reference_error:.1e}{also}"
        )
    return Check(case.name, named, max(d.excess for d in found), fault)
