"""Axes that count blocks of positions."""

from __future__ import annotations

from gabc.dims import Dim
from gabc.dims.poly import Application


def block_stride(dim: Dim, length: Dim) -> Dim | None:
    """C, if the dim is ceil(length / C): the number of blocks that begin every C positions."""
    if not dim.is_monomial:
        return None
    factors, coefficient = dim.terms[0]
    if coefficient != 1 or len(factors) != 1 or factors[0][1] != 1:
        return None
    atom = factors[0][0]
    if not isinstance(atom, Application) or atom.fn != "ceil":
        return None
    stride = length / atom.args[0]
    return None if stride.symbols() & length.symbols() else stride
