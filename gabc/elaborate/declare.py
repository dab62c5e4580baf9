"""Whether a name may be declared in a unit, and a size be had."""

from __future__ import annotations

from collections.abc import Collection

from gabc.diagnostics.model import Diagnostic
from gabc.elaborate.limits import MAX_SIZE, limit
from gabc.elaborate.names import BUILT_IN, RESERVED_NAMES, hides_built_in
from gabc.elaborate.scope import UnitScope
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span


def may_declare(scope: UnitScope, name: tree.Name, also: Collection[str] = ()) -> bool:
    """Whether a name is free in the unit, and not among `also`; says so otherwise."""
    if name.id in BUILT_IN:
        scope.report(hides_built_in(name, scope.unit))
        return True  # it is declared all the same: no cascade
    if name.id in RESERVED_NAMES - {"t"}:
        scope.report(
            Diagnostic(
                "GAB0105",
                f"`{name.id}` has a fixed meaning and cannot be declared",
                name.span,
                help="choose another name",
            )
        )
        return False
    if name.id in scope.members or name.id in also:
        scope.report(
            Diagnostic(
                "GAB0104",
                f"`{name.id}` is declared twice in `{scope.unit.name.id}`",
                name.span,
                help="hyperparameters, dims, parameters and children have distinct names",
            )
        )
        return False
    return True


def check_size(number: int, span: Span) -> None:
    if number > MAX_SIZE:
        raise Refused(limit(span, f"a size of {number:,} is beyond the limit of {MAX_SIZE:,}"))
