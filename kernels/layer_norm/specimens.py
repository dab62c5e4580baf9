"""The kernels of LayerNorm as they are launched, for compilation without a GPU."""

from __future__ import annotations

from .. import norm_specimens
from ..specimens import Specimen


def specimens() -> tuple[Specimen, ...]:
    """With weight and bias, and with neither."""
    return norm_specimens.specimens("layer_norm", "weight", "bias")
