"""A roofline estimate of the time of a training step on a named device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from gabc.check.cost.amounts import Amounts, value_at
from gabc.check.cost.costs import Costs


@dataclass(frozen=True, slots=True)
class Device:
    """What bounds a kernel: `matmul`, `pointwise` in FLOP/s, `bandwidth` in bytes/s, `launch` in s.

    `measured` is false where the figures are a data sheet's or assumed; `basis` says which.
    """

    name: str
    matmul: float
    pointwise: float
    bandwidth: float
    launch: float
    measured: bool
    basis: str


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device(
            "H200",
            790e12,
            60e12,
            4.3e12,
            5e-6,
            True,
            "measured: 790 TFLOP/s in dense bf16 products, 4.3 TB/s in a copy; launch assumed",
        ),
        Device(
            "H100",
            790e12,
            60e12,
            3.0e12,
            5e-6,
            False,
            "the H200's chip, assumed to reach 90% of the 3.35 TB/s of its data sheet",
        ),
        Device(
            "CPU",
            1e12,
            0.25e12,
            50e9,
            2e-6,
            False,
            "assumed: a server socket with float32 vector units and 50 GB/s of memory bandwidth",
        ),
    )
}

_TRAINING_TRAFFIC = 3
"""The backward pass moves about twice what the forward pass does: gradients beside values."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step, unit by unit the longest of computing, moving memory and launching.

    Each of the three bounds is also given for the step as a whole, were it all that counts.
    """

    seconds: float
    compute: float
    memory: float
    launches: float


def step_time(
    costs: Costs, device: Device, *, batch: int, length: int, training: bool = True
) -> StepTime:
    """The least time of a step over `batch` sequences of `length` tokens, by the roofline model
    (Williams et al. 2009).

    Units overlap nothing and each reaches the device's ceilings, so a real step takes longer; the
    eager lowering is assumed, so a fused one may take less.
    """
    sizes = costs.sizes
    total = compute = memory = launches = 0.0
    for unit in costs.units:
        parts = _bounds(unit.own, device, batch, length, training, sizes)
        total += unit.copies * max(parts)
        compute += unit.copies * parts[0]
        memory += unit.copies * parts[1]
        launches += unit.copies * parts[2]
    return StepTime(total, compute, memory, launches)


def _bounds(
    own: Amounts,
    device: Device,
    batch: int,
    length: int,
    training: bool,
    sizes: Mapping[str, Fraction],
) -> tuple[float, float, float]:
    """Seconds for the arithmetic, the memory traffic and the launches of one unit."""
    matmul, pointwise = own.matmul, own.pointwise
    passes = 1
    if training:
        matmul, pointwise = matmul + own.matmul_backward, pointwise + own.pointwise_backward
        passes = _TRAINING_TRAFFIC

    arithmetic = (
        value_at(matmul, length, batch, sizes) / device.matmul
        + value_at(pointwise, length, batch, sizes) / device.pointwise
    )
    memory = passes * value_at(own.traffic, length, batch, sizes) / device.bandwidth
    launches = passes * value_at(own.launches, length, batch, sizes) * device.launch
    return arithmetic, memory, launches
