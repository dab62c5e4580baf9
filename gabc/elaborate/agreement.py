"""Types that have to be one: at two places, or in two branches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gabc.diagnostics.model import Diagnostic, Related
from gabc.elaborate.bound import POISON, Poison
from gabc.graph.nodes import Value
from gabc.graph.types import TensorType
from gabc.ops.base import Refused
from gabc.syntax.source import Span

if TYPE_CHECKING:
    from gabc.elaborate.evaluator import Evaluator


def same_type(
    evaluator: Evaluator,
    expected: TensorType,
    actual: TensorType,
    span: Span,
    what: str,
    code: str = "GAB0201",
) -> None:
    """Require equal types; the message shows both."""
    if expected == actual:
        return
    message = f"{what} is {expected}, and this is {actual}"
    if expected.kind != actual.kind or expected.rank != actual.rank:
        fault = _mismatch(expected, actual) if code == "GAB0201" else code
        raise Refused(Diagnostic(fault, message, span, expected=str(expected), actual=str(actual)))
    for left, right in zip(expected.dims, actual.dims, strict=True):
        try:
            evaluator.scope.prover.require_equal(left, right, span, message)
        except Refused as refused:
            if code == "GAB0201":
                raise
            found = refused.diagnostic
            raise Refused(
                Diagnostic(
                    code,
                    message,
                    span,
                    help=found.help,
                    expected=str(expected),
                    actual=str(actual),
                    facts=found.facts,
                )
            ) from None


def same_entry(
    evaluator: Evaluator,
    key: str,
    expected: TensorType,
    actual: TensorType,
    span: Span,
    related: Related,
) -> None:
    """Require one type of what an entry is at two places."""
    try:
        same_type(evaluator, expected, actual, span, f"Z.{key}", "GAB0303")
    except Refused as refused:
        raise Refused(_with_related(refused.diagnostic, related)) from None


def joined_value(
    evaluator: Evaluator, what: str, then: Value | Poison, otherwise: Value | Poison, code: str
) -> Value | Poison:
    """One value for what two branches of an undecided condition set.

    Where the types differ it is a fault to use it, and none to set it.
    """
    if isinstance(then, Poison) or isinstance(otherwise, Poison):
        return POISON
    try:
        same_type(evaluator, then.type, otherwise.type, otherwise.span, what, code)
    except Refused as refused:
        related = Related(then.span, f"in the other branch it is {then.type}")
        return Poison(_with_related(refused.diagnostic, related))
    return then


def _mismatch(expected: TensorType, actual: TensorType) -> str:
    return "GAB0202" if expected.rank != actual.rank else "GAB0109"


def _with_related(diagnostic: Diagnostic, related: Related) -> Diagnostic:
    return replace(diagnostic, related=(*diagnostic.related, related))
