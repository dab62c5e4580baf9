"""The kernels of RMSNorm as they are launched, for compilation without a GPU."""

from __future__ import annotations

from .. import norm_specimens
from ..specimens import Specimen


def specimens() -> tuple[Specimen, ...]:
    """With a weight, and without."""
    return norm_specimens.specimens("rms_norm", "weight")
