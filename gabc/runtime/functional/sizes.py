"""Sizes of layers, computed when a module is constructed."""

from __future__ import annotations

import math


def exact_div(dividend: int, divisor: int) -> int:
    """`dividend / divisor`, which must be an integer. Raises `ValueError` for a remainder."""
    quotient, remainder = divmod(dividend, divisor)
    if remainder:
        raise ValueError(f"{divisor} does not divide {dividend}")
    return quotient


def exact_int(size: float) -> int:
    """`size`, which must be an integer but for rounding. Raises `ValueError` if it is none."""
    nearest = round(size)
    if not math.isclose(size, nearest, rel_tol=1e-12):
        raise ValueError(f"the size {size} is no integer")
    return nearest


def ceil_to(size: float, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return math.ceil(size / multiple) * multiple
