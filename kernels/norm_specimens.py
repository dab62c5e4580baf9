"""The kernels of the norms as they are launched, for compilation without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .norm_kernels import backward_kernel, forward_kernel
from .norm_rows import SETTINGS, Form, settings
from .specimens import Specimen

STRIDES = ("x", "residual", "dy", "gate", "dsum")

# On sm_80 the assembler keeps two values of these in memory, 8 bytes a thread, to get down to 64
# registers, with which twice as many programs fit a multiprocessor.
TRIMMED = (("layer_norm", "fp32", 768), ("layer_norm", "bf16", 4096))


@dataclass(frozen=True)
class Launch:
    """What the launches of one norm have in common; `summed` is with a residual or its gradient."""

    norm: str
    parameters: tuple[str, ...]
    dtype: str = "bf16"
    width: int = 768
    summed: bool = False
    gate: str | None = None
    gate_first: bool = False
    per_head: bool = False

    @property
    def name(self) -> str:
        gate = f" {self.gate} {'first' if self.gate_first else 'after'}" if self.gate else ""
        extra = f"{' sum' if self.summed else ''}{gate}{' per head' if self.per_head else ''}"
        return f"{self.dtype} {self.width} {', '.join(self.parameters) or 'alone'}{extra}"

    @property
    def is_wide(self) -> bool:
        """A row with its gate and gradients of parameters is more than all registers hold."""
        return self.width > 4096

    @property
    def is_aligned(self) -> bool:
        """Rows at multiples of 16 bytes; others take more registers."""
        return self.width % 8 == 0

    @property
    def may_spill(self) -> bool:
        return self.is_wide or (self.norm, self.dtype, self.width) in TRIMMED

    def forward(self) -> Specimen:
        arguments = self._arguments({"x", "y", *({"residual", "h"} if self.summed else ())})
        if self.gate:
            arguments |= {"gate_ptr": f"*{self.dtype}"}
        return self._specimen("forward", arguments)

    def backward(self) -> Specimen:
        arguments = self._arguments({"x", "dy", "dx", *({"dsum"} if self.summed else ())})
        if self.gate:
            arguments |= {"gate_ptr": f"*{self.dtype}", "dgate_ptr": f"*{self.dtype}"}
        if self.parameters:
            arguments |= {"partial_ptr": "*fp32"}
        return self._specimen("backward", arguments)

    def _arguments(self, rows: set[str]) -> dict[str, str]:
        arguments = {f"{name}_ptr": f"*{self.dtype}" for name in sorted(rows)}
        return arguments | {f"{name}_ptr": "*fp32" for name in self.parameters} | {"eps": "fp32"}

    def _specimen(self, direction: str, arguments: dict[str, str]) -> Specimen:
        kernel = forward_kernel if direction == "forward" else backward_kernel
        chosen = settings(self.norm, self.width)
        tile = chosen.forward if direction == "forward" else chosen.backward
        strides = {f"{name}_{part}" for name in STRIDES for part in ("stride", "head")}
        numbers = {n for n in kernel.arg_names if n in strides or n in ("outer", "heads", "slab")}
        form = Form(self.norm, self.gate or "silu", self.gate_first)
        tiled = {"WIDTH": self.width, "ROWS": tile.rows, "BLOCK": chosen.block}
        return Specimen(
            f"{direction} {self.name}",
            kernel,
            arguments | dict.fromkeys(numbers, "i32"),
            {"PER_HEAD": self.per_head, **form.constants(), **tiled},
            tile.warps,
            may_spill=direction == "backward" and self.may_spill,
            divisible=frozenset(strides & numbers) if self.is_aligned else frozenset(),
        )


def specimens(norm: str, *parameters: str) -> tuple[Specimen, ...]:
    """Every dtype with a sum; what may be absent; gates; every width; rows that are not aligned."""
    both = (
        *(Launch(norm, parameters, dtype, summed=True) for dtype in ("bf16", "fp16", "fp32")),
        Launch(norm, ()),
        Launch(norm, parameters[:1]),
        Launch(norm, parameters, width=64, per_head=True),
        Launch(norm, parameters, width=128, gate="silu"),
        Launch(norm, parameters, width=128, gate="sigmoid", per_head=True),
        Launch(norm, parameters, width=1536, gate="silu", gate_first=True),
        *(Launch(norm, parameters, width=entry.block) for entry in SETTINGS),
    )
    return (
        *(specimen for launch in both for specimen in (launch.forward(), launch.backward())),
        *(launch.backward() for launch in _hardest(norm, parameters)),
    )


def _hardest(norm: str, parameters: tuple[str, ...]) -> Iterator[Launch]:
    for entry in SETTINGS:
        yield Launch(norm, parameters, width=entry.block, gate="silu", gate_first=True)
        yield Launch(norm, parameters, width=entry.block - 5, summed=True)
