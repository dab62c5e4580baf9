"""Calls: of primitives, functions, units (which makes a template), children, `scan`, `attend`."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.diagnostics.model import Edit, Fix
from gabc.diagnostics.suggest import nearest
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.arguments import bind_primitive
from gabc.elaborate.bind_names import bind_names
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.children import call_child
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError, replace
from gabc.elaborate.gradient import gradient
from gabc.elaborate.limits import MAX_DEPTH, LimitReached
from gabc.elaborate.modules import (
    FunctionDefinition,
    UnitDefinition,
    parse_standard,
    standard_modules,
)
from gabc.elaborate.names import BUILT_IN_UNITS, FORMS, STATIC_CALLS
from gabc.elaborate.parts import child_of_slot
from gabc.elaborate.regions import attend_block, scan
from gabc.elaborate.routing import route
from gabc.elaborate.signatures import bind_types
from gabc.elaborate.statements import run_body
from gabc.elaborate.templates import built_in_unit, unit_template
from gabc.graph.nodes import ChildRef, Value
from gabc.graph.static import Apply, Static
from gabc.ops import PRIMITIVES
from gabc.syntax import tree
from gabc.syntax.source import Span


def call(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """The meaning of a call. Raises `Refused` or `SilentError`."""
    if not isinstance(expr.function, tree.Name):
        return _call_indexed(evaluator, expr, names)
    name = expr.function
    if name.id == "scan":
        return scan(evaluator, expr, names)
    target = evaluator.lookup(name.id)
    _refuse_extras(evaluator, expr, target)
    match target:
        case ChildRef() | bd.SlotRef() | bd.Sequence():
            return _call_member(evaluator, target, expr, names)
        case bd.AnyUnit():
            return _call_any(evaluator, expr)
        case UnitDefinition():
            return unit_template(evaluator, target, expr)
        case FunctionDefinition():
            return _inline(evaluator, target, expr, names)
        case None:
            return _call_built_in(evaluator, name, expr, names)
        case Poison():
            raise SilentError
    raise evaluator.refuse(
        "GAB0110",
        f"`{name.id}` is {describe(target)} and cannot be called",
        name.span,
        help=f"`{name.id}` hides the function of that name" if name.id in PRIMITIVES else "",
    )


def _refuse_extras(evaluator: Evaluator, expr: tree.Call, target: Bound | None) -> None:
    """`with ... as ...` belongs to calls of children, a block to `scan` and `attend`."""
    is_child = isinstance(target, (ChildRef, bd.SlotRef))
    if expr.renames and not is_child:
        raise evaluator.refuse(
            "GAB0115", "only a call of a unit can rename Z entries", expr.renames[0].span
        )
    is_attend = target is None and isinstance(expr.function, tree.Name)
    if expr.block is not None and not (
        is_attend and isinstance(expr.function, tree.Name) and expr.function.id == "attend"
    ):
        raise evaluator.refuse("GAB0115", "only `scan` and `attend` take a block", expr.block.span)


def _call_indexed(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """`experts[0](x)`."""
    target = evaluator.expr(expr.function)
    if isinstance(target, (ChildRef, bd.Sequence)):
        return _call_member(evaluator, target, expr, names)
    if isinstance(target, Poison):
        raise SilentError
    raise evaluator.refuse(
        "GAB0110",
        f"{describe(target)} cannot be called",
        expr.function.span,
        help="give it a name first, as a child: `part = ...`, then `part(x)`"
        if isinstance(expr.function, tree.Call)
        else "",
    )


def _call_member(
    evaluator: Evaluator,
    target: ChildRef | bd.SlotRef | bd.Sequence,
    expr: tree.Call,
    names: Sequence[str],
) -> Bound:
    if evaluator.builder is None:
        raise evaluator.refuse(
            "GAB0115", f"a unit cannot be called in {evaluator.place}", expr.span
        )
    if evaluator.in_attention:
        raise evaluator.refuse(
            "GAB0115",
            f"a unit cannot be called in {evaluator.place}",
            expr.span,
            help="call it before, and index its result by `i` or `j` here",
        )
    if isinstance(target, bd.Sequence):
        return _call_sequence(evaluator, target, expr, names)
    if isinstance(target, bd.SlotRef):
        target = child_of_slot(evaluator, target, expr.function.span)
    return call_child(evaluator, target, expr, names)


def _call_any(evaluator: Evaluator, expr: tree.Call) -> Bound:
    """The unit of an empty slot: it keeps the shape of its argument."""
    values = [evaluator.tensor(arg) for arg in expr.args]
    if not values:
        raise evaluator.refuse("GAB0107", "a unit is called with a tensor", expr.span)
    return values[0]


def _call_sequence(
    evaluator: Evaluator, sequence: bd.Sequence, expr: tree.Call, names: Sequence[str]
) -> Bound:
    if len(expr.args) != 1 or expr.keywords:
        raise evaluator.refuse("GAB0108", "a `Sequential` is called with one tensor", expr.span)
    value: Bound = evaluator.tensor(expr.args[0])
    for position, step in enumerate(sequence.steps):
        last = names if position == len(sequence.steps) - 1 else ()
        x = evaluator.as_value(value, expr.args[0].span)
        if isinstance(step, str):
            value = evaluator.emit(step, {"x": x}, {}, expr.span, last)
        else:
            value = call_child(evaluator, step, expr, last, given=x)
    return value


# ---------------------------------------------------------------- built-in functions


def _call_built_in(
    evaluator: Evaluator, name: tree.Name, expr: tree.Call, names: Sequence[str]
) -> Bound:
    if name.id in BUILT_IN_UNITS:
        return built_in_unit(evaluator, name, expr)
    if name.id in STATIC_CALLS and not expr.keywords:
        static = _static_call(evaluator, name, expr)
        if static is not None:
            return static
    if name.id == "route":
        return route(evaluator, expr, names)
    if name.id == "grad":
        return gradient(evaluator, expr, names)
    primitive = PRIMITIVES.get(name.id)
    if primitive is None or primitive.internal:
        if name.id in evaluator.scope.module.imported:
            raise SilentError
        raise _unknown_function(evaluator, name)
    if name.id == "attend" and expr.block is not None:
        return attend_block(evaluator, expr, names)
    args, spans = bind_primitive(evaluator, primitive, expr)
    return evaluator.emit(primitive.name, args, spans, expr.span, names)


def _static_call(evaluator: Evaluator, name: tree.Name, expr: tree.Call) -> Static | None:
    """`max(4, D / 64)` of statics is static; of tensors it is the primitive."""
    bounds = [evaluator.expr(arg) for arg in expr.args]
    if any(isinstance(bound, Poison) for bound in bounds):
        raise SilentError
    statics = [evaluator.as_static(bound) for bound in bounds]
    known = [static for static in statics if static is not None]
    if len(known) < len(statics) or not known:
        if name.id in PRIMITIVES or len(known) == len(statics):
            return None
        raise evaluator.refuse("GAB0109", f"`{name.id}` is a function of static numbers", expr.span)
    if name.id in ("min", "max") and len(known) < 2:
        raise evaluator.refuse(
            "GAB0107", f"`{name.id}` of static numbers takes at least two", expr.span
        )
    arity = {"ceil_to": 2, "min": len(known), "max": len(known)}.get(name.id, 1)
    if len(known) != arity:
        raise evaluator.refuse(
            "GAB0108" if len(known) > arity else "GAB0107",
            f"`{name.id}` takes {arity} argument{'s' if arity > 1 else ''}, not {len(known)}",
            expr.span,
        )
    return Apply(name.id, tuple(known))


SYNONYMS = {
    "softmax2d": "softmax",
    "cat": "concat",
    "tile": "repeat",
    "expand": "repeat",
    "view": "rearrange",
    "reshape": "rearrange",
    "permute": "rearrange",
    "transpose": "rearrange",
    "flatten": "rearrange",
    "chunk": "split",
    "unfold": "blocks",
    "roll": "shift",
    "conv1d": "causal_conv",
    "scaled_dot_product_attention": "attend",
    "tril": "causal",
    "masked_fill": "masked",
    "layernorm": "layer_norm",
    "rmsnorm": "rms_norm",
    "swish": "silu",
    "pad": "shift",
    "flip": "shift",
    "Conv1d": "causal_conv",
    "bmm": "einsum",
    "mm": "einsum",
    "autograd": "grad",
    "gradient": "grad",
    "moe": "route",
}


def _unknown_function(evaluator: Evaluator, name: tree.Name) -> Exception:
    if evaluator.scope.session.diagnostics.knows("GAB0101", name.span):
        return SilentError()
    callable_names = [
        *(n for n, p in PRIMITIVES.items() if not p.internal),
        *BUILT_IN_UNITS,
        *STATIC_CALLS,
        *evaluator.scope.module.scope,
        *evaluator.scope.members,
        *FORMS,
        "scan",
    ]
    near = SYNONYMS.get(name.id) or nearest(name.id, callable_names)
    module = _standard_home(name.id)
    help = f"did you mean `{near}`?" if near else ""
    fixes = replace(name.span, near)
    if module is not None:
        help = f"add `from std.{module} import {name.id}`"
        fixes = (_import_fix(evaluator, module, name),)
    return evaluator.refuse(
        "GAB0101",
        f"there is no function or unit `{name.id}`",
        name.span,
        help=help,
        fixes=fixes,
    )


def _import_fix(evaluator: Evaluator, module: str, name: tree.Name) -> Fix:
    """Import a unit of the standard library: after the imports, else after the design's line."""
    file = (evaluator.module or evaluator.scope.module).file
    line = f"from std.{module} import {name.id}"
    if file.imports:
        place, text = file.imports[-1].span.end, f"\n{line}"
    elif file.design is not None:
        place, text = file.design.span.end, f"\n\n{line}"
    else:
        place, text = 0, f"{line}\n\n"
    return Fix("import it", (Edit(Span(file.source, place, place), text),))


def _standard_home(name: str) -> str | None:
    """The module of the standard library that defines a unit, found only for an error."""
    for module in standard_modules():
        file, _ = parse_standard(module)
        if any(unit.name.id == name for unit in file.units):
            return module
    return None


# ---------------------------------------------------------------- functions


def _inline(
    evaluator: Evaluator,
    definition: FunctionDefinition,
    expr: tree.Call,
    names: Sequence[str],
) -> Bound:
    """`fn` is inlined: arguments are evaluated once, Z and the caller's names are out of sight."""
    function = definition.function
    session = evaluator.scope.session
    label = f"fn {function.name.id}"
    if label in session.active:
        raise evaluator.refuse(
            "GAB0111", f"`{function.name.id}` calls itself", expr.span, help="unroll it"
        )
    if len(session.active) >= MAX_DEPTH:
        raise LimitReached(expr.span, f"functions are nested deeper than {MAX_DEPTH} levels")
    parameters = tuple(arg.name.id for arg in function.args)
    given = bind_names(evaluator, expr, parameters, function.name.id)
    local: dict[str, Bound] = {}
    for arg in function.args:
        if arg.name.id in given:
            local[arg.name.id] = evaluator.expr(given[arg.name.id])
        elif arg.default is None:
            raise evaluator.refuse(
                "GAB0107", f"`{function.name.id}` needs `{arg.name.id}`", expr.span
            )
    session.active.append(label)
    try:
        inner = evaluator.inside_function(definition, local)
        for arg in function.args:
            if arg.name.id not in local and arg.default is not None:
                local[arg.name.id] = inner.expr(arg.default)
        bind_types(inner, function.args, local, expr.span)
        results = run_body(inner, function.body, names)
    finally:
        session.active.pop()
    if results is None:
        raise SilentError
    if function.result is not None and len(results) == 1 and isinstance(results[0], Value):
        what = f"the result of `{function.name.id}`"
        declared = inner.type(function.result)
        same_type(inner, declared, results[0].type, function.result.span, what, "GAB0206")
    return results[0] if len(results) == 1 else bd.Items(tuple(results))
