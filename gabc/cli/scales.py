"""Scales as commands are given them."""

from __future__ import annotations

from collections.abc import Callable

from gabc.cli.faults import InputFault
from gabc.elaborate.scales import DEFAULT_SCALE, SCALES, ScaleError, parse_fitted, parse_scale
from gabc.graph.instance import Scale

ALL = "all"


def scale_named(name: str) -> Scale:
    """A scale by its name or as `64x2`. Raises `InputFault` with the nearest one."""
    return _read(parse_scale, name)


def scales_named(names: str) -> list[Scale]:
    """Scales separated by commas, each once and in the order given; `all` is the whole table.

    Raises `InputFault`, for an empty name too.
    """
    if names == ALL:
        return list(SCALES.values())
    return list(dict.fromkeys(scale_named(part.strip()) for part in names.split(",")))


def scale_or_fit(scale: str | None, fit: str | None) -> tuple[Scale, bool]:
    """The one scale of `--scale` or `--fit`, and whether the design is to be fitted to it."""
    if scale is not None and fit is not None:
        raise InputFault("--scale and --fit both choose the size; give one of them")
    if fit is not None:
        return _read(parse_fitted, fit), True
    return scale_named(DEFAULT_SCALE if scale is None else scale), False


def _read(parse: Callable[[str], Scale], name: str) -> Scale:
    if not name:
        raise InputFault(f"a scale is empty: write one of {', '.join(SCALES)}")
    try:
        return parse(name)
    except ScaleError as error:
        raise InputFault(str(error)) from None
