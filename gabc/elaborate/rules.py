"""The rules of the language, tied together: what expressions mean and how units are elaborated."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.elaborate.bound import Bound, Template
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.expressions import expression
from gabc.elaborate.scope import Session
from gabc.elaborate.units import elaborate_unit
from gabc.graph.instance import Instance
from gabc.syntax import tree


class LanguageRules:
    """Implements `scope.Rules`."""

    def expression(self, evaluator: Evaluator, expr: tree.Expr, names: Sequence[str]) -> Bound:
        return expression(evaluator, expr, names)

    def unit(self, session: Session, template: Template, position: tuple[int, ...]) -> Instance:
        return elaborate_unit(session, template, position)


RULES = LanguageRules()
