"""What a decoder keeps where a unit has no way to go on with a sequence: its arguments."""

from __future__ import annotations

from dataclasses import replace

from gabc.check.cost.frame import Called
from gabc.check.streaming import UnitPlan, units_below
from gabc.ops.cost import ZERO, bytes_of


def with_recomputed(called: Called, plan: UnitPlan, float_bytes: int) -> Called:
    """The costs of a block, with what those of its units keep that are computed again."""
    own, below = called.own, dict(called.below)
    for path, unit in units_below(plan):
        if not unit.is_recomputed:
            continue
        kept = sum(
            (
                count * bytes_of(value.type.kind, float_bytes)
                for value, count in unit.arguments.items()
            ),
            ZERO,
        )
        for other in below:
            if not path or other.startswith(f"{path}."):
                below[other] = replace(below[other], state=ZERO)
        if path:
            below[path] = replace(below[path], state=kept)
        else:
            own = replace(own, state=kept)
    return replace(called, own=own, below=below)


def without_state(called: Called) -> Called:
    """The costs of a block of a model that keeps its tokens and is computed again in whole."""
    below = {path: replace(amounts, state=ZERO) for path, amounts in called.below.items()}
    return replace(called, own=replace(called.own, state=ZERO), below=below)
