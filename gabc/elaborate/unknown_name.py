"""What is said of a name that means nothing where it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gabc.diagnostics.suggest import nearest
from gabc.elaborate.faults import SilentError, replace
from gabc.elaborate.names import AMBIENT, BATCH_AND_LENGTH
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.walk import assigned

if TYPE_CHECKING:
    from gabc.elaborate.evaluator import Evaluator


def unknown_name(evaluator: Evaluator, name: tree.Name) -> Refused:
    """The refusal of a name. Raises `SilentError` where it would be no news."""
    if name.id in BATCH_AND_LENGTH:
        return evaluator.refuse(
            "GAB0207",
            f"`{name.id}` is a size, never a number: no value may depend on it",
            name.span,
            help="it may stand in shapes only: `zeros(B, L, D)`, types, patterns",
        )
    if evaluator.scope.session.diagnostics.knows("GAB0101", name.span):
        raise SilentError  # in another round of a loop, or another branch of the stack
    if name.id in evaluator.scope.module.imported or _is_lost(evaluator, name):
        raise SilentError
    if name.id == "Z":
        return evaluator.refuse("GAB0305", "`Z` is read by key: `Z.key`", name.span)
    if name.id in PRIMITIVES:
        return evaluator.refuse("GAB0109", f"`{name.id}` is a function: call it", name.span)
    candidates = [
        *evaluator.locals,
        *evaluator.scope.members,
        *AMBIENT,
        *evaluator.scope.module.scope,
        *PRIMITIVES,
    ]
    near = nearest(name.id, candidates)
    help = f"did you mean `{near}`?" if near else ""
    if evaluator.module is None and any(n.id == name.id for n in _assigned(evaluator)):
        near, help = None, f"`{name.id}` is set later, or under a condition that fails here"
    return evaluator.refuse(
        "GAB0101",
        f"unknown name `{name.id}`",
        name.span,
        help=help,
        fixes=replace(name.span, near),
    )


def _is_lost(evaluator: Evaluator, name: tree.Name) -> bool:
    """Whether the name is set in what did not parse: reported there, and no news here."""
    unit = evaluator.scope.unit.span
    broken = any(
        d.phase == "syntax" and d.span.source is unit.source and d.span.start >= unit.start
        for d in evaluator.scope.session.diagnostics.found
    )
    return broken and re.search(rf"\b{name.id}\b[\w\s,]*[=:]", unit.text) is not None


def _assigned(evaluator: Evaluator) -> list[tree.Name]:
    return assigned(evaluator.scope.unit.forward.body)
