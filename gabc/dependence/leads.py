"""How far ahead a value reads."""

from __future__ import annotations

from gabc.dependence.bounds import INFINITY, ONE, Bound
from gabc.dependence.domain import Dependence, Extent, Leg
from gabc.dependence.forms import STEP, Form, combined


def lead(leg: Leg, value: Dependence, position: Form, clock: Bound = ONE) -> Bound:
    """How far beyond `clock` times `position` an element of the value reads at most.

    `position` is a form over its axes, as the leg's is; an index of blocks of `clock` positions
    begins at that multiple.
    """
    total = leg.hi
    for name, coefficient in combined(leg.linear, position, -clock):
        if coefficient.value < 0:
            continue
        axis = None if name == STEP else value.axes[name]
        if axis is None or axis.extent is not Extent.STATIC or axis.size is None:
            return INFINITY
        total = total + coefficient * (axis.size - ONE)
    return total
