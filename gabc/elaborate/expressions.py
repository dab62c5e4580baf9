"""Expressions: what each form means, and the nodes it adds to the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gabc.diagnostics.model import Diagnostics
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bound import POISON, Bound, Poison, describe
from gabc.elaborate.calls import SYNONYMS, call
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.limits import MAX_CHILDREN, limit
from gabc.elaborate.names import BUILT_IN_UNITS
from gabc.elaborate.subscripts import subscript
from gabc.graph.nodes import Value
from gabc.graph.static import Apply, Literal, Static, UnknownStatic
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.syntax import tree

OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "@": "matmul",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "logical_and",
    "or": "logical_or",
}


def expression(evaluator: Evaluator, expr: tree.Expr, names: Sequence[str]) -> Bound:
    """The meaning of an expression; `names` are what its results will be called."""
    match expr:
        case tree.Number(_, value) | tree.Bool(_, value) | tree.String(_, value):
            return Literal(value)
        case tree.NoneLiteral():
            return Literal(None)
        case tree.Name():
            return evaluator.name(expr)
        case tree.ListLiteral(_, items):
            return bd.Items(tuple(evaluator.expr(item) for item in items))
        case tree.Unary():
            return _unary(evaluator, expr, names)
        case tree.Binary():
            return _binary(evaluator, expr, names)
        case tree.Conditional():
            return _conditional(evaluator, expr, names)
        case tree.Attribute():
            return _attribute(evaluator, expr)
        case tree.Subscript():
            return subscript(evaluator, expr, names)
        case tree.Call():
            return call(evaluator, expr, names)


def _unary(evaluator: Evaluator, expr: tree.Unary, names: Sequence[str]) -> Bound:
    operand = evaluator.expr(expr.operand)
    if isinstance(operand, Poison):
        return POISON
    static = evaluator.as_static(operand)
    if static is not None:
        if expr.op == "+":
            return static
        if expr.op == "-" and isinstance(static, Literal):
            number = static.value
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                return Literal(-number)
        return Apply("neg" if expr.op == "-" else "not", (static,))
    value = evaluator.as_operand(operand, expr.operand.span)
    if expr.op == "+":
        return value
    primitive = "neg" if expr.op == "-" else "logical_not"
    spans = {"a": expr.operand.span}
    return evaluator.emit(primitive, {"a": value}, spans, expr.span, names)


def _binary(evaluator: Evaluator, expr: tree.Binary, names: Sequence[str]) -> Bound:
    if expr.op == "??":
        return _coalesce(evaluator, expr, names)
    left, right = evaluator.expr(expr.left), evaluator.expr(expr.right)
    if isinstance(left, Poison) or isinstance(right, Poison):
        return POISON
    array = _array(evaluator, expr, left, right)
    if array is not None:
        return array
    statics = evaluator.as_static(left), evaluator.as_static(right)
    if statics[0] is not None and statics[1] is not None:
        if expr.op == "@":
            raise evaluator.refuse("GAB0109", "`@` multiplies matrices, not numbers", expr.span)
        return Apply(expr.op, (statics[0], statics[1]))
    a = evaluator.as_operand(left, expr.left.span)
    b = evaluator.as_operand(right, expr.right.span)
    spans = {"a": expr.left.span, "b": expr.right.span}
    return evaluator.emit(OPERATORS[expr.op], {"a": a, "b": b}, spans, expr.span, names)


def _array(evaluator: Evaluator, expr: tree.Binary, left: Bound, right: Bound) -> Bound | None:
    """`Expert() * 8`."""
    templates = (bd.Template, bd.LinearTemplate)
    if not isinstance(left, (*templates, bd.SlotRef)):
        return None
    count = evaluator.as_static(right)
    if expr.op != "*" or count is None:
        raise evaluator.refuse(
            "GAB0109",
            f"`{expr.op}` has no meaning between {describe(left)} and {describe(right)}",
            expr.span,
            help="`Unit() * n` makes n children",
        )
    template = evaluator.template_of(left)
    try:
        number = evaluator.evaluate(count, expr.right.span)
    except UnknownStatic:
        number = 1
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise evaluator.refuse(
            "GAB0109", "the number of children is an int of at least 1", expr.right.span
        )
    if number > MAX_CHILDREN:
        message = f"{number:,} children are beyond the limit of {MAX_CHILDREN:,}"
        raise Refused(limit(expr.span, message))
    return bd.ArrayTemplate((template,) * number, expr.span)


def _conditional(evaluator: Evaluator, expr: tree.Conditional, names: Sequence[str]) -> Bound:
    decided = evaluator.condition(expr.condition)
    condition = evaluator.as_static(evaluator.expr(expr.condition))
    with evaluator.under_condition():
        if decided is None:
            return _undecided(evaluator, expr, condition, names)
        chosen = evaluator.expr(expr.then if decided else expr.otherwise, names)
    this = evaluator.as_static(chosen)
    if condition is None or this is None:
        return chosen
    other = _quiet_static(evaluator, expr.otherwise if decided else expr.then)
    if other is None:
        return chosen
    return Apply("if", (condition, this, other) if decided else (condition, other, this))


def _undecided(
    evaluator: Evaluator, expr: tree.Conditional, condition: Static | None, names: Sequence[str]
) -> Bound:
    """A unit checked alone: both branches, which agree in their types."""
    before = None if evaluator.z is None else evaluator.z.snapshot()
    then = evaluator.expr(expr.then, names)
    after = None if evaluator.z is None else evaluator.z.snapshot()
    if evaluator.z is not None and before is not None:
        evaluator.z.restore(before)
    otherwise = evaluator.expr(expr.otherwise, names)
    if evaluator.z is not None and after is not None:
        evaluator.z.join(evaluator, after)
    if isinstance(then, Poison) or isinstance(otherwise, Poison):
        return POISON
    a, b = evaluator.as_static(then), evaluator.as_static(otherwise)
    if a is not None and b is not None and condition is not None:
        return Apply("if", (condition, a, b))
    if isinstance(then, Value) and isinstance(otherwise, Value):
        what = "the other branch"
        same_type(evaluator, then.type, otherwise.type, expr.otherwise.span, what)
    return then


def _quiet_static(evaluator: Evaluator, expr: tree.Expr) -> Static | None:
    """The branch not taken, if it is static: it is printed, and nothing of it happens."""
    apart = _apart(evaluator)
    try:
        static = apart.as_static(apart.expr(expr))
    except (Refused, SilentError, UnknownStatic):
        return None
    if apart.scope.session.mentions_layer:
        evaluator.scope.session.mentions_layer = True
    return static


def _apart(evaluator: Evaluator) -> Evaluator:
    """An evaluator that sees the same names and leaves no trace.

    It has no Z, builds nothing, and what it finds, requires or counts is lost.
    """
    session = replace(evaluator.scope.session, diagnostics=Diagnostics())
    scope = replace(evaluator.scope, session=session, prover=evaluator.scope.prover.copy())
    return replace(evaluator, scope=scope, builder=None, z=None, locals=dict(evaluator.locals))


def _attribute(evaluator: Evaluator, expr: tree.Attribute) -> Bound:
    if not (isinstance(expr.base, tree.Name) and expr.base.id == "Z"):
        raise evaluator.refuse(
            "GAB0109",
            f"`.{expr.name.id}` has no meaning here: only `Z` has entries",
            expr.span,
            help=_instead_of(expr),
        )
    return evaluator.require_z(expr.span).read(evaluator, expr.name, None, expr.span)


def _instead_of(expr: tree.Attribute) -> str:
    """What `X.mean(...)`, `X.shape`, `torch.mean` and `nn.Linear` are here."""
    name, base = expr.name.id, expr.base.span.text
    if name in ("shape", "size"):
        return "sizes are named by types: with `x: [B, L, H, K]`, `K` is the size of the last axis"
    if name in BUILT_IN_UNITS:
        return f"a layer is a child: `proj = {name}(...)` in the unit, `proj(x)` in `forward`"
    primitive = PRIMITIVES.get(name)
    here = name if primitive is not None and not primitive.internal else SYNONYMS.get(name)
    if here is None:
        return "children and parameters are used by their bare names"
    if base in ("torch", "F", "nn", "np", "torch.nn.functional"):
        return f"write `{here}(...)`: functions stand in no module"
    return f"tensors have no methods: write `{here}({base}, ...)`"


def _coalesce(evaluator: Evaluator, expr: tree.Binary, names: Sequence[str]) -> Bound:
    left = expr.left
    index: tree.Expr | None = None
    key: tree.Expr = left
    if isinstance(left, tree.Subscript) and len(left.items) == 1:
        item = left.items[0]
        if not isinstance(item, (tree.Slice, tree.EllipsisLiteral)):
            key, index = left.base, item
    is_z = (
        isinstance(key, tree.Attribute) and isinstance(key.base, tree.Name) and key.base.id == "Z"
    )
    if not is_z or not isinstance(key, tree.Attribute):
        raise evaluator.refuse(
            "GAB0305",
            "the left side of `??` is an entry of Z",
            left.span,
            help="write `Z.key ?? default`",
        )
    z = evaluator.require_z(left.span)
    return z.coalesce(evaluator, key.name, index, expr, names)
