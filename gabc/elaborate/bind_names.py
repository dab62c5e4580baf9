"""Binds the arguments of a call to names, where all are of one kind: units and functions."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.diagnostics.suggest import nearest
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import replace
from gabc.syntax import tree


def bind_names(
    evaluator: Evaluator, expr: tree.Call, parameters: Sequence[str], function: str
) -> dict[str, tree.Expr]:
    """Positional and keyword arguments by parameter name."""
    if len(expr.args) > len(parameters):
        raise evaluator.refuse(
            "GAB0108",
            f"`{function}` takes at most {len(parameters)} arguments",
            expr.args[len(parameters)].span,
        )
    given = dict(zip(parameters, expr.args, strict=False))
    for keyword in expr.keywords:
        key = keyword.name
        if key.id not in parameters:
            near = nearest(key.id, list(parameters))
            raise evaluator.refuse(
                "GAB0106",
                f"`{function}` has no argument `{key.id}`",
                key.span,
                help=f"did you mean `{near}`?"
                if near
                else f"it has {', '.join(parameters) or 'none'}",
                fixes=replace(key.span, near),
            )
        if key.id in given:
            raise evaluator.refuse(
                "GAB0104", f"`{function}` is given `{key.id}` twice", keyword.span
            )
        given[key.id] = keyword.value
    return given
