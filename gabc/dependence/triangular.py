"""Solving triangular equations: row i of the solution is made of rows up to i."""

from __future__ import annotations

from gabc.dependence.bounds import INFINITY, ONE, ZERO
from gabc.dependence.call import DependenceCall
from gabc.dependence.domain import Constraint, Dependence, Zone
from gabc.dependence.moves import moved_legs, renaming
from gabc.dependence.pointwise import joined_legs
from gabc.dependence.sums import Sum, summed

_ROW, _COLUMN = 1, 2


def solved(call: DependenceCall, a: Dependence, b: Dependence) -> Dependence:
    """`x` with `a @ x = b`: row i reads rows r <= i of both, and of `a` columns c <= r."""
    rows = Constraint(((-2, ONE), (_ROW, -ONE)), ZERO, INFINITY)
    columns = Constraint(((_ROW, ONE), (_COLUMN, -ONE)), ZERO, INFINITY)
    zone: Zone = ((rows, columns),)
    act = call.act([a, b])
    left, right = renaming({-2: _ROW, -1: _COLUMN}), renaming({-2: _ROW})
    axes = {_ROW: b.axes[-2], _COLUMN: a.axes[-1]}
    matrix = Sum(moved_legs(a.time, left), moved_legs(a.batch, left), zone)
    known = Sum(moved_legs(b.time, right), moved_legs(b.batch, right), ((rows,),))
    of_matrix = summed(matrix, (_COLUMN, _ROW), axes, act)
    of_known = summed(known, (_ROW,), axes, act)
    return Dependence(
        call.results[0],
        joined_legs([of_matrix.time, of_known.time]),
        joined_legs([of_matrix.batch, of_known.batch]),
        may_overflow=True,
    )
