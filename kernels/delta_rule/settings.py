"""Launch settings of the delta rule by the width of its keys, and the constants of its kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .chunks import chunk_steps


@dataclass(frozen=True)
class Settings:
    """Of states with up to `keys` rows. A walk holds a tile of `state_values` values of all keys,
    in at most four parts of `state_keys` each; other kernels take tiles of `tile` keys and values.
    Kernels that join blocks of steps level by level have `level_warps`, the others `warps`.
    """

    keys: int
    state_keys: int
    state_values: int
    tile: int
    warps: int = 4
    level_warps: int = 8


# Chosen from the compiler's register counts on sm_80 and sm_90. No setting was timed.
SETTINGS = (
    Settings(keys=16, state_keys=16, state_values=16, tile=16),
    Settings(keys=32, state_keys=32, state_values=16, tile=16),
    Settings(keys=64, state_keys=64, state_values=16, tile=16),
    Settings(keys=128, state_keys=32, state_values=16, tile=16),
    Settings(keys=256, state_keys=64, state_values=16, tile=16),
)

STAGES = 1
"""No loop is pipelined: tiles of several stages would not fit beside the states."""


def settings(keys: int) -> Settings:
    """The settings for states of `keys` rows. ValueError above the last entry of the table."""
    for entry in SETTINGS:
        if keys <= entry.keys:
            return entry
    raise ValueError(
        f"the Triton delta_rule holds all keys of a state in registers and stops at "
        f"{SETTINGS[-1].keys}, got {keys}: use implementation('delta_rule', 'reference')"
    )


def constants(
    names: Iterable[str], keys: int, values: int, decay: int, read_before: bool
) -> dict[str, object]:
    """Those of the constants of the kernels that are in `names`, a kernel's arguments."""
    chosen, size = settings(keys), chunk_steps(keys)
    known = {
        "K": keys,
        "V": values,
        "C": size,
        "LEVELS": size.bit_length() - 1,
        "BLOCK_K": chosen.tile,
        "BLOCK_V": chosen.tile,
        "STATE_K": chosen.state_keys,
        "STATE_V": chosen.state_values,
        "DECAY": decay,
        "READ_BEFORE": read_before,
    }
    return {name: known[name] for name in names if name in known}


def warps(constant: dict[str, object], keys: int) -> int:
    """Of the kernel with these constants."""
    chosen = settings(keys)
    return chosen.level_warps if "LEVELS" in constant else chosen.warps
