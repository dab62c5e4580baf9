"""Symbolic dims: Laurent polynomials over named atoms, and what follows from facts."""

from gabc.dims.facts import Facts
from gabc.dims.poly import Dim
from gabc.dims.solve import ContradictionError
from gabc.dims.verdict import Status, Verdict

__all__ = ["ContradictionError", "Dim", "Facts", "Status", "Verdict"]
