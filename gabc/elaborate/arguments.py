"""Binds the arguments of a call to a primitive's parameters, each by its kind."""

from __future__ import annotations

from collections.abc import Mapping

from gabc.diagnostics.model import Applicability, Edit, Fix
from gabc.diagnostics.suggest import nearest
from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.builder import Given
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError, replace
from gabc.elaborate.limits import MAX_INT_ARGUMENT, limit
from gabc.graph.nodes import Value
from gabc.graph.static import Literal, Static, UnknownStatic
from gabc.ops.base import REQUIRED, ArgKind, Parameter, Primitive, Refused
from gabc.syntax import tree
from gabc.syntax.source import Span


def bind_primitive(
    evaluator: Evaluator, primitive: Primitive, expr: tree.Call
) -> tuple[dict[str, Given], Mapping[str, Span]]:
    """The bound arguments by parameter name, and where each stands. Raises `Refused`."""
    exprs = _by_name(evaluator, primitive, expr)
    args: dict[str, Given] = {}
    spans: dict[str, Span] = {}
    kinds = {parameter.name: parameter for parameter in primitive.parameters}
    for name, given in exprs.items():
        parameter = kinds.get(name)
        if parameter is None:
            assert primitive.extra is not None
            parameter = Parameter(name, primitive.extra)
        spans[name] = given[0].span if given else expr.span
        args[name] = _bind(evaluator, primitive, parameter, given)
    for parameter in primitive.parameters:
        if parameter.variadic:
            args.setdefault(parameter.name, ())
    missing = [
        p.name
        for p in primitive.parameters
        if p.name not in args and p.default is REQUIRED and not p.hidden
    ]
    if missing:
        raise evaluator.refuse(
            "GAB0107",
            f"`{primitive.name}` needs {', '.join(f'`{name}`' for name in missing)}",
            expr.span,
            help=f"it is called as `{signature(primitive)}`",
        )
    return args, spans


def signature(primitive: Primitive) -> str:
    """`softmax(x, axis=-1)`."""
    parts = []
    for p in primitive.parameters:
        if p.hidden:
            continue
        if p.default is REQUIRED:
            parts.append(f"{p.name}, ..." if p.variadic else p.name)
            continue
        default = p.default.value if isinstance(p.default, Literal) else p.default
        text = "none" if default is None else str(default)
        parts.append(f"{p.name}={text.lower() if isinstance(default, bool) else text}")
    return f"{primitive.name}({', '.join(parts)})"


def _by_name(
    evaluator: Evaluator, primitive: Primitive, expr: tree.Call
) -> dict[str, list[tree.Expr]]:
    """The expressions given for each parameter: a list, since variadic ones take several."""
    given: dict[str, list[tree.Expr]] = {}
    positional = [p for p in primitive.parameters if not p.keyword_only and not p.hidden]
    position = 0
    for arg in expr.args:
        if position >= len(positional):
            raise evaluator.refuse(
                "GAB0108",
                f"`{primitive.name}` takes at most {len(positional)} positional arguments",
                arg.span,
                help=f"it is called as `{signature(primitive)}`",
            )
        parameter = positional[position]
        given.setdefault(parameter.name, []).append(arg)
        if not parameter.variadic:
            position += 1
    names = {p.name for p in primitive.parameters if not p.hidden}
    for keyword in expr.keywords:
        name = _keyword(evaluator, primitive, keyword, names)
        if name in given:
            raise evaluator.refuse(
                "GAB0104", f"`{primitive.name}` is given `{name}` twice", keyword.span
            )
        given[name] = [keyword.value]
    return given


def _keyword(
    evaluator: Evaluator, primitive: Primitive, keyword: tree.Keyword, names: set[str]
) -> str:
    key = keyword.name
    if key.id in names:
        return key.id
    synonym = primitive.synonyms.get(key.id)
    if synonym in names and synonym is not None:
        fix = Fix(f"write `{synonym}=`", (Edit(key.span, synonym),), Applicability.MACHINE)
        raise evaluator.refuse(
            "GAB0106",
            f"`{primitive.name}` calls this argument `{synonym}`, not `{key.id}`",
            key.span,
            help=f"write `{synonym}=`",
            fixes=(fix,),
        )
    if primitive.extra is not None:
        return key.id
    near = nearest(key.id, sorted(names))
    raise evaluator.refuse(
        "GAB0106",
        f"`{primitive.name}` has no argument `{key.id}`",
        key.span,
        help=f"did you mean `{near}`?" if near else f"it is called as `{signature(primitive)}`",
        fixes=replace(key.span, near),
    )


def _bind(
    evaluator: Evaluator, primitive: Primitive, parameter: Parameter, given: list[tree.Expr]
) -> Given:
    match parameter.kind:
        case ArgKind.VALUES:
            return _values(evaluator, given)
        case ArgKind.DIMS:
            return _dims(evaluator, given)
    expr = given[0]
    if parameter.kind is ArgKind.TEXT:
        return _text(evaluator, primitive, parameter, expr)
    if parameter.kind is ArgKind.DIM:
        if parameter.default is None and evaluator.is_none(expr):
            return None
        return evaluator.dim(expr)
    bound = evaluator.expr(expr)
    if isinstance(bound, Poison):
        raise SilentError
    if parameter.default is None and isinstance(bound, Literal) and bound.value is None:
        return None
    if parameter.kind is ArgKind.TENSOR:
        return evaluator.as_operand(bound, expr.span)
    if parameter.kind is ArgKind.VALUE:
        if isinstance(bound, bd.Masked):
            return bound
        return evaluator.as_value(bound, expr.span)
    return _scalar(evaluator, primitive, parameter, bound, expr)


def _scalar(
    evaluator: Evaluator,
    primitive: Primitive,
    parameter: Parameter,
    bound: Bound,
    expr: tree.Expr,
) -> Static | int | bool:
    """NUMBER stays an expression; INT and FLAG must be known now."""
    static = evaluator.as_static(bound)
    if static is None:
        raise _wrong(evaluator, primitive, parameter, bound, expr)
    try:
        value = evaluator.evaluate(static, expr.span)
    except UnknownStatic:
        if parameter.kind is ArgKind.NUMBER:
            return static
        # A unit checked alone: any value of the kind will do to go on.
        return False if parameter.kind is ArgKind.FLAG else 1
    if parameter.kind is ArgKind.FLAG:
        if isinstance(value, bool):
            return value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if parameter.kind is ArgKind.NUMBER:
            if parameter.is_positive and not value > 0:
                message = (
                    f"`{parameter.name}` of `{primitive.name}` must be above 0, and it is {value}"
                )
                raise evaluator.refuse("GAB0109", message, expr.span)
            return static
        if isinstance(value, int):
            return _bounded(evaluator, parameter, value, expr)
    raise _wrong(evaluator, primitive, parameter, bound, expr)


def _bounded(evaluator: Evaluator, parameter: Parameter, value: int, expr: tree.Expr) -> int:
    if abs(value) > MAX_INT_ARGUMENT:
        message = f"`{parameter.name}` is beyond the limit of {MAX_INT_ARGUMENT:,}"
        raise Refused(limit(expr.span, message))
    return value


def _wrong(
    evaluator: Evaluator,
    primitive: Primitive,
    parameter: Parameter,
    bound: Bound,
    expr: tree.Expr,
) -> Refused:
    wanted = {
        ArgKind.NUMBER: "a static number",
        ArgKind.INT: "a static int",
        ArgKind.FLAG: "true or false",
        ArgKind.TEXT: "a text in double quotes",
    }[parameter.kind]
    return evaluator.refuse(
        "GAB0109",
        f"`{parameter.name}` of `{primitive.name}` is {wanted}, not {describe(bound)}",
        expr.span,
    )


def _text(evaluator: Evaluator, primitive: Primitive, parameter: Parameter, expr: tree.Expr) -> str:
    bound = evaluator.expr(expr)
    static = evaluator.as_static(bound)
    value = None if static is None else evaluator.evaluate(static, expr.span)
    if not isinstance(value, str):
        raise _wrong(evaluator, primitive, parameter, bound, expr)
    return value


def _values(evaluator: Evaluator, given: list[tree.Expr]) -> tuple[Value | bd.Masked, ...]:
    exprs: list[tree.Expr] = []
    for expr in given:
        exprs.extend(expr.items if isinstance(expr, tree.ListLiteral) else (expr,))
    values: list[Value | bd.Masked] = []
    for expr in exprs:
        bound = evaluator.expr(expr)
        parts = bound.items if isinstance(bound, bd.Items) else (bound,)
        for part in parts:
            values.append(
                part if isinstance(part, bd.Masked) else evaluator.as_value(part, expr.span)
            )
    return tuple(values)


def _dims(evaluator: Evaluator, given: list[tree.Expr]) -> tuple[Dim, ...]:
    exprs: list[tree.Expr] = []
    for expr in given:
        exprs.extend(expr.items if isinstance(expr, tree.ListLiteral) else (expr,))
    return tuple(evaluator.dim(expr) for expr in exprs)
