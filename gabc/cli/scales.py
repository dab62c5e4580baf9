"""Scales as commands are given them."""

from __future__ import annotations

from gabc.cli.faults import InputFault
from gabc.diagnostics.suggest import nearest
from gabc.elaborate.scales import DEFAULT_SCALE, SCALES, ScaleError, parse_scale
from gabc.graph.instance import Scale

ALL = "all"


def scale_named(name: str) -> Scale:
    """A scale by its name or as `64x2`. Raises `InputFault` with the nearest spelling."""
    try:
        return parse_scale(name)
    except ScaleError as error:
        near = nearest(name, SCALES)
        hint = f"did you mean `{near}`? " if near else ""
        raise InputFault(f"{hint}{error}") from None


def scales_named(names: str) -> list[Scale]:
    """Scales separated by commas, each once and in the order given; `all` is the whole table."""
    if names == ALL:
        return list(SCALES.values())
    parts = [part.strip() for part in names.split(",") if part.strip()]
    return list(dict.fromkeys(scale_named(part) for part in parts or [DEFAULT_SCALE]))


def scale_or_fit(scale: str | None, fit: str | None) -> tuple[Scale, bool]:
    """The one scale of `--scale` or `--fit`, and whether the design is to be fitted to it."""
    if scale is not None and fit is not None:
        raise InputFault("--scale and --fit both choose the size; give one of them")
    if fit is not None:
        return scale_named(fit), True
    return scale_named(scale or DEFAULT_SCALE), False
