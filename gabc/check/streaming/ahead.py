"""Which values of a unit read ahead: what they are changes when the sequence goes on.

A design that is causal as a whole may have a unit that is not, if its caller moves the result back
in time. What such a unit returned for the newest positions is no longer true at the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from gabc.check.causality.analysis import Analyser, Outcome
from gabc.dependence.bounds import ZERO, number
from gabc.dependence.domain import Axis, Dependence, Extent, Leg
from gabc.dependence.forms import axis_form
from gabc.dependence.leads import lead
from gabc.graph.instance import Instance

Axes = tuple[Axis, ...]


def analysed(
    analyser: Analyser,
    instance: Instance,
    path: str,
    args: Sequence[Axes],
    z: Sequence[Axes | None],
) -> Outcome:
    """What the values of a unit depend on, if each argument depends on its own position alone."""
    entries = [None if axes is None else own_position(axes) for axes in z]
    return analyser.unit(instance, path, [own_position(axes) for axes in args], entries)


def own_position(axes: Axes) -> Dependence:
    """A value each element of which depends on its own position alone."""
    legs = tuple(
        Leg(axis_form(place - len(axes)), ZERO, ZERO)
        for place, axis in enumerate(axes)
        if axis.extent is Extent.TIME
    )
    return Dependence(axes, legs)


def reads_ahead(value: Dependence, time: int | None, clock: int) -> bool:
    """Whether an element may depend on positions after its own, that of the axis `time` (from 0).

    An index of blocks of `clock` positions is past when the last of them is.
    """
    if time is None:
        return bool(value.time)
    own = axis_form(time - value.rank)
    return any(lead(leg, value, own, number(clock)).value >= clock for leg in value.time)
