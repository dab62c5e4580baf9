"""Hyperparameters: each gets the value or the unit that it is given, or its default."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from gabc.diagnostics.model import Diagnostic, Related
from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.bound import POISON, describe
from gabc.elaborate.declare import check_size, may_declare
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.scope import UnitScope
from gabc.graph.instance import Hyper
from gabc.graph.static import (
    Literal,
    Ref,
    Static,
    StaticFault,
    StaticValue,
    UnknownStatic,
    evaluate,
    shown,
    to_dim,
)
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span


def bind_hypers(
    scope: UnitScope,
    arguments: Mapping[str, bd.TemplateArgument],
    writer: UnitScope | None,
    places: Mapping[str, Span],
) -> None:
    """Bind each to its argument, which stands at its place, or to its default."""
    evaluator = Evaluator(scope, place="a hyperparameter")
    for hyper in scope.unit.hypers:
        name = hyper.name.id
        if not may_declare(scope, hyper.name):
            continue
        try:
            if hyper.type == "unit":
                _bind_slot(scope, evaluator, hyper, arguments.get(name))
            else:
                given = arguments.get(name)
                place = places.get(name, scope.span)
                _bind_scalar(scope, evaluator, hyper, given, writer, place)
        except Refused as refused:
            scope.report(refused.diagnostic)
            scope.members[name] = POISON
        except SilentError:
            scope.members[name] = POISON


def _bind_slot(
    scope: UnitScope,
    evaluator: Evaluator,
    hyper: tree.Hyper,
    given: bd.TemplateArgument | None,
) -> None:
    name = hyper.name.id
    if isinstance(given, (bd.Template, bd.LinearTemplate)):
        scope.slots[name] = (given, True)
    elif hyper.default is not None:
        value = evaluator.expr(hyper.default)
        if not isinstance(value, (bd.Template, bd.LinearTemplate)):
            raise evaluator.refuse(
                "GAB0109",
                f"the default of the slot `{name}` is {describe(value)}, not a unit",
                hyper.default.span,
            )
        scope.slots[name] = (value, False)
    else:
        # Checked alone, an empty slot holds any unit [B, L, D] -> [B, L, D].
        scope.members[name] = bd.AnyUnit(name)
        return
    scope.members[name] = bd.SlotRef(name)


def _bind_scalar(
    scope: UnitScope,
    evaluator: Evaluator,
    hyper: tree.Hyper,
    given: bd.TemplateArgument | None,
    writer: UnitScope | None,
    place: Span,
) -> None:
    name = hyper.name.id
    if given is not None and not isinstance(given, (bd.Template, bd.LinearTemplate)):
        static, home, is_default = given, writer or scope, False
        span = place
    elif hyper.default is not None:
        static, home, is_default = evaluator.static(hyper.default), scope, True
        span = hyper.default.span
    else:
        static, home, is_default, span = Ref(name), scope, False, hyper.span
    scope.hypers[name] = Hyper(name, static, is_default)
    if hyper.type in ("float", "bool"):
        scope.kinds[name] = "float" if hyper.type == "float" else "bool"
    value: StaticValue
    try:
        value = _hyper_value(hyper, static, home, span, scope)
    except UnknownStatic:
        scope.members[name] = Ref(name)
        return
    scope.env[name] = value
    # Numbers and lists keep their name in shapes and in generated code; the rest is decided here.
    if value is None or isinstance(value, (bool, str)):
        scope.members[name] = Literal(value)
    else:
        scope.members[name] = Ref(name)


def _hyper_value(
    hyper: tree.Hyper, static: Static, home: UnitScope, span: Span, scope: UnitScope
) -> StaticValue:
    """The value, of the declared type. Raises `UnknownStatic`, `Refused`."""
    if hyper.type in ("int", "dim") and not hyper.is_list:
        dim = to_dim(static, {})
        if dim is not None and not isinstance(static, Literal):
            return _int_value(hyper, dim, static, home, span)
    try:
        value = evaluate(static, home.env)
    except StaticFault as fault:
        raise Refused(
            Diagnostic("GAB0109", f"`{hyper.name.id}` has no value: {fault}", span)
        ) from fault
    if hyper.is_list:
        items = value if isinstance(value, tuple) else None
        if items is not None and all(_has_type(item, hyper.type) for item in items):
            return value
    elif value is None and isinstance(hyper.default, tree.NoneLiteral):
        return None
    elif _has_type(value, hyper.type):
        return float(value) if hyper.type == "float" and isinstance(value, int) else value
    wanted = f"list[{hyper.type}]" if hyper.is_list else hyper.type
    raise Refused(
        Diagnostic(
            "GAB0109",
            f"`{hyper.name.id}` of `{scope.unit.name.id}` is {wanted}, and `{shown(value)}` is "
            "given",
            span,
            related=(Related(hyper.span, "declared here"),),
        )
    )


def _int_value(
    hyper: tree.Hyper, dim: Dim, static: Static, home: UnitScope, span: Span
) -> StaticValue:
    """An int hyperparameter given by a dim expression: `/` is exact."""
    if isinstance(static, Ref) and home.env.get(static.name, 0) is None:
        return None
    known = {
        name: Fraction(repr(value)) if isinstance(value, float) else value
        for name, value in home.env.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    try:
        number = dim.evaluate(known)
        inner = [n.evaluate(known) / d.evaluate(known) for n, d in dim.denominators()]
    except KeyError as missing:
        raise UnknownStatic(str(missing)) from missing
    except ZeroDivisionError as fault:
        raise Refused(Diagnostic("GAB0109", f"`{hyper.name.id}` divides by zero", span)) from fault
    # A division inside `max` or `min` is exact too, even where the other operand is taken.
    broken = next((value for value in (number, *inner) if value.denominator != 1), None)
    if broken is not None:
        what = "is no whole number" if broken is number else "has a division that is not exact"
        raise Refused(
            Diagnostic(
                "GAB0203",
                f"`{hyper.name.id}` = {dim} {what}",
                span,
                actual=f"{broken.numerator}/{broken.denominator}",
                help="`/` is exact; `//` rounds down",
                facts=(
                    ("scale", home.session.scale_name),
                    *((name, str(known[name])) for name in sorted(dim.symbols())),
                ),
            )
        )
    check_size(number.numerator, span)
    return number.numerator


def _has_type(value: StaticValue, type_: str) -> bool:
    match type_:
        case "int" | "dim":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
    return isinstance(value, str)
