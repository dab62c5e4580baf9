"""Units as values: `Linear(...)`, `Sequential(...)` and units with their hyperparameters given."""

from __future__ import annotations

from gabc.elaborate import bound as bd
from gabc.elaborate.bind_names import bind_names
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError, replace
from gabc.elaborate.modules import UnitDefinition
from gabc.elaborate.parts import freeze
from gabc.graph.static import UnknownStatic
from gabc.ops import PRIMITIVES
from gabc.ops.base import REQUIRED
from gabc.syntax import tree


def built_in_unit(evaluator: Evaluator, name: tree.Name, expr: tree.Call) -> Bound:
    if name.id == "Sequential":
        return _sequential(evaluator, expr)
    given = bind_names(evaluator, expr, ("inputs", "outputs", "bias", "init"), name.id)
    for required in ("inputs", "outputs"):
        if required not in given:
            raise evaluator.refuse(
                "GAB0107",
                "`Linear` needs the width of its input and of its output",
                expr.span,
                help="`Linear(D, 4 * D, bias=false)`",
            )
    bias = True
    if "bias" in given:
        bias = _bias(evaluator, given["bias"])
    inputs, outputs = evaluator.dim(given["inputs"]), evaluator.dim(given["outputs"])
    for width, argument in ((inputs, given["inputs"]), (outputs, given["outputs"])):
        bound_late = sorted(width.symbols() & ({"B", "L"} | evaluator.scope.call_dims.keys()))
        if bound_late:
            raise evaluator.refuse(
                "GAB0503",
                f"`{bound_late[0]}` is known at the call only and cannot size a parameter",
                argument.span,
            )
    return bd.LinearTemplate(inputs, outputs, bias, given.get("init"), evaluator.scope, expr.span)


def _bias(evaluator: Evaluator, expr: tree.Expr) -> bool:
    try:
        value = evaluator.value_of(expr)
    except UnknownStatic:
        return True  # a unit checked alone
    if not isinstance(value, bool):
        raise evaluator.refuse("GAB0109", "`bias` is true or false", expr.span)
    return value


def _sequential(evaluator: Evaluator, expr: tree.Call) -> Bound:
    if expr.keywords:
        raise evaluator.refuse(
            "GAB0106", "`Sequential` takes units and functions only", expr.keywords[0].span
        )
    items: list[bd.UnitTemplate | str] = []
    for arg in expr.args:
        if isinstance(arg, tree.Name) and evaluator.lookup(arg.id) is None:
            primitive = PRIMITIVES.get(arg.id)
            required = (
                []
                if primitive is None
                else [p for p in primitive.parameters if p.name != "x" and _is_required(p.default)]
            )
            if primitive is not None and not primitive.internal and not required:
                items.append(arg.id)
                continue
        item = evaluator.expr(arg)
        if isinstance(item, Poison):
            raise SilentError
        if not isinstance(item, (bd.Template, bd.LinearTemplate, bd.SlotRef)):
            raise evaluator.refuse(
                "GAB0109",
                f"`Sequential` takes units and functions of one tensor, not {describe(item)}",
                arg.span,
            )
        items.append(evaluator.template_of(item))
    if not items:
        raise evaluator.refuse("GAB0107", "`Sequential` needs at least one part", expr.span)
    return bd.SequenceTemplate(tuple(items), expr.span)


def _is_required(default: object) -> bool:
    return default is REQUIRED


def unit_template(evaluator: Evaluator, definition: UnitDefinition, expr: tree.Call) -> Bound:
    """`RoPE(base=500.0)`: the unit with what is given, checked by name only."""
    hypers = {hyper.name.id: hyper for hyper in definition.unit.hypers}
    given = bind_names(evaluator, expr, tuple(hypers), definition.unit.name.id)
    arguments: dict[str, bd.TemplateArgument] = {}
    for name, argument in given.items():
        if hypers[name].type == "unit":
            value = evaluator.expr(argument)
            if isinstance(value, Poison):
                raise SilentError
            if isinstance(value, UnitDefinition):
                raise evaluator.refuse(
                    "GAB0109",
                    f"`{argument.span.text}` is a unit without its brackets",
                    argument.span,
                    help=f"write `{argument.span.text}()`",
                    fixes=replace(argument.span, f"{argument.span.text}()"),
                )
            if isinstance(value, bd.AnyUnit):
                continue
            if not isinstance(value, (bd.Template, bd.LinearTemplate, bd.SlotRef)):
                raise evaluator.refuse(
                    "GAB0109",
                    f"`{name}` is a slot for a unit, not for {describe(value)}",
                    argument.span,
                )
            arguments[name] = _passed_on(evaluator, value)
        else:
            arguments[name] = evaluator.static(argument)
    missing = [h for n, h in hypers.items() if n not in given and h.default is None]
    if missing:
        names = ", ".join(f"`{hyper.name.id}`" for hyper in missing)
        raise evaluator.refuse("GAB0107", f"`{definition.unit.name.id}` needs {names}", expr.span)
    places = {name: argument.span for name, argument in given.items()}
    return bd.Template(definition, arguments, evaluator.scope, expr.span, places)


def _passed_on(
    evaluator: Evaluator, value: bd.Template | bd.LinearTemplate | bd.SlotRef
) -> bd.UnitTemplate:
    """A slot handed down further is written out in numbers: its names belong to another unit."""
    if isinstance(value, bd.SlotRef):
        return freeze(evaluator.template_of(value))
    return value
