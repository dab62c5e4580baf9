"""The parts of a unit: parameters with their initialisers, children and slots."""

from __future__ import annotations

from collections.abc import Hashable

from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.builder import Builder, Site
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.scope import UnitScope
from gabc.graph.instance import Children, Instance, Parameter
from gabc.graph.nodes import ChildRef, Graph, Value
from gabc.graph.static import Literal, Static, StaticFault, UnknownStatic, evaluate
from gabc.graph.types import TensorType
from gabc.ops import PRIMITIVES
from gabc.syntax import tree
from gabc.syntax.source import Span

# ---------------------------------------------------------------- parameters


def declare_param(evaluator: Evaluator, declared: tree.Param) -> Parameter:
    """A `param` or `buffer`. Raises `Refused`."""
    type_ = evaluator.type(declared.type)
    for item, dim in zip(declared.type.dims, type_.dims, strict=True):
        late = sorted(dim.symbols() & ({"B", "L"} | evaluator.scope.call_dims.keys()))
        if late:
            raise evaluator.refuse(
                "GAB0503",
                f"`{late[0]}` is known at the call only and cannot size a parameter",
                item.span,
                help="use dims made of `D` and hyperparameters",
            )
    if declared.init is None:
        raise evaluator.refuse(
            "GAB0501",
            f"`{declared.name.id}` has no initial value",
            declared.span,
            help="add `= zeros()`, `= ones()`, `= normal(0.0, 0.02)` or an expression of these",
        )
    init = initial_graph(evaluator.scope, type_, declared.init)
    return Parameter(declared.name.id, type_, init, declared.is_buffer, declared.span)


def initial_graph(scope: UnitScope, type_: TensorType, init: tree.Expr) -> Graph:
    """The graph of an initialiser; its result broadcasts to the parameter's type."""
    builder = Builder(scope)
    evaluator = Evaluator(scope, builder, place="an initialiser", parameter=type_)
    bound = evaluator.expr(init)
    if isinstance(bound, Poison):
        raise SilentError
    operand = evaluator.as_operand(bound, init.span)
    if isinstance(operand, bd.Masked):
        raise evaluator.refuse("GAB0501", "an initial value cannot be masked", init.span)
    if not isinstance(operand, Value) or operand.type.dims != type_.dims:
        operand = _spread(evaluator, type_, operand, init.span)
    return Graph((), tuple(builder.nodes), (operand,), span=init.span)


def _spread(evaluator: Evaluator, type_: TensorType, operand: Value | Static, span: Span) -> Value:
    """A number or a smaller tensor spread over the parameter."""
    if isinstance(operand, Value):
        dims = operand.type.dims
        fits = len(dims) <= type_.rank
        if fits:
            for wanted, given in zip(type_.dims[type_.rank - len(dims) :], dims, strict=True):
                if not given.is_one and not evaluator.scope.prover.are_equal(wanted, given):
                    fits = False
        if not fits:
            raise evaluator.refuse(
                "GAB0501",
                f"the initial value is {operand.type}, and the parameter {type_}",
                span,
                help="random sources and `zeros()` take the parameter's own shape",
            )
    assert evaluator.builder is not None
    result = evaluator.builder.primitive(
        PRIMITIVES["spread"], {"value": operand, "dims": type_.dims}, Site(span)
    )
    assert isinstance(result, tuple)
    return result[0]


# ---------------------------------------------------------------- children


def declare_child(evaluator: Evaluator, declared: tree.Child) -> None:
    """`wq = Linear(...)`, `experts = Expert() * 8`, a `Sequential` or a slot's unit."""
    bound = evaluator.expr(declared.value)
    scope = evaluator.scope
    name = declared.name.id
    match bound:
        case Poison():
            raise SilentError
        case bd.Template() | bd.LinearTemplate():
            instance = instantiate(scope, bound, declared.span)
            scope.members[name] = ChildRef(name)
            _add(scope, declared, (instance,), is_array=False)
        case bd.SlotRef():
            instance = instantiate(scope, freeze(evaluator.template_of(bound)), declared.span)
            scope.members[name] = ChildRef(name)
            _add(scope, declared, (instance,), is_array=False)
        case bd.AnyUnit():
            scope.members[name] = bound
        case bd.SequenceTemplate(items):
            _add_sequence(evaluator, declared, items)
        case bd.ArrayTemplate(items):
            _add_array(scope, declared, items)
        case bd.Items(items):
            _add_array(scope, declared, _templates(evaluator, declared, items))
        case _:
            raise _no_child(evaluator, declared, bound)


def _no_child(evaluator: Evaluator, declared: tree.Child, bound: Bound) -> Exception:
    name = declared.name.id
    is_number = evaluator.as_static(bound) is not None
    return evaluator.refuse(
        "GAB0109",
        f"`{name} = ...` beside the parameters declares a child, and this is {describe(bound)}",
        declared.value.span,
        help=f"write `dim {name} = {declared.value.span.text}`"
        if is_number
        else "children are units: `Linear(D, D)`, `RMSNorm()`",
    )


def _templates(
    evaluator: Evaluator, declared: tree.Child, items: tuple[Bound, ...]
) -> tuple[bd.UnitTemplate, ...]:
    templates: list[bd.UnitTemplate] = []
    for item in items:
        if isinstance(item, bd.SlotRef):
            templates.append(freeze(evaluator.template_of(item)))
        elif isinstance(item, (bd.Template, bd.LinearTemplate)):
            templates.append(item)
        else:
            raise evaluator.refuse(
                "GAB0109", f"a list of units cannot hold {describe(item)}", declared.value.span
            )
    return tuple(templates)


def _add(
    scope: UnitScope, declared: tree.Child, instances: tuple[Instance, ...], is_array: bool
) -> None:
    scope.children[declared.name.id] = Children(
        instances, is_array, declared.is_shared, from_caller=False, span=declared.span
    )


def _add_array(scope: UnitScope, declared: tree.Child, items: tuple[bd.UnitTemplate, ...]) -> None:
    name = declared.name.id
    instances = tuple(instantiate(scope, item, declared.span) for item in items)
    scope.members[name] = bd.ChildArray(tuple(ChildRef(name, i) for i in range(len(items))))
    _add(scope, declared, instances, is_array=True)


def _add_sequence(
    evaluator: Evaluator, declared: tree.Child, items: tuple[bd.UnitTemplate | str, ...]
) -> None:
    name = declared.name.id
    steps: list[ChildRef | str] = []
    instances: list[Instance] = []
    for item in items:
        if isinstance(item, str):
            steps.append(item)
            continue
        steps.append(ChildRef(name, len(instances)))
        instances.append(instantiate(evaluator.scope, item, declared.span))
    evaluator.scope.members[name] = bd.Sequence(tuple(steps))
    _add(evaluator.scope, declared, tuple(instances), is_array=True)


def child_of_slot(evaluator: Evaluator, slot: bd.SlotRef, span: Span) -> ChildRef:
    """The child in a slot, made when `forward` first calls it."""
    scope = evaluator.scope
    if slot.name not in scope.children:
        template, from_caller = scope.slots[slot.name]
        assert isinstance(template, (bd.Template, bd.LinearTemplate))
        instance = instantiate(scope, template, span)
        scope.children[slot.name] = Children(
            (instance,), is_array=False, is_shared=False, from_caller=from_caller, span=span
        )
    return ChildRef(slot.name)


def instantiate(scope: UnitScope, template: bd.UnitTemplate, span: Span) -> Instance:
    """A new instance of a template, owned by `scope`.

    Where the stack comes by the same place again with the same arguments, at another layer that the
    unit does not depend on, it is the same instance.
    """
    session = scope.session
    if isinstance(template, bd.LinearTemplate):
        session.count_instance(span)
        return _linear(template)
    position = scope.next_position()
    arguments = _values_given(template)
    key = (position, template.definition, arguments)
    if arguments is not None and key in session.reusable:
        return session.reusable[key]
    session.count_instance(span)
    outside, session.mentions_layer = session.mentions_layer, False
    try:
        instance = session.rules.unit(session, template, position)
        if session.mentions_layer:
            session.layered.add(instance)
        if arguments is not None and instance.graph is not None and not session.mentions_layer:
            session.reusable[key] = instance
    finally:
        session.mentions_layer = session.mentions_layer or outside
    return instance


def _values_given(template: bd.Template) -> Hashable | None:
    """What a template is given, in numbers; `None` if that is not all known."""
    assert template.writer is not None, "the root is nobody's child"
    parts: list[Hashable] = []
    for name, argument in template.given.items():
        part: Hashable
        if isinstance(argument, bd.LinearTemplate):
            return None
        if isinstance(argument, bd.Template):
            part = _values_given(argument)
            if part is None:
                return None
            part = (argument.definition, part)
        else:
            try:
                part = evaluate(argument, template.writer.env)
            except (UnknownStatic, StaticFault):
                return None
        parts.append((name, type(part).__name__, part))
    return tuple(parts)


def _linear(template: bd.LinearTemplate) -> Instance:
    """`Linear` owns `weight` [out, in] and perhaps `bias` [out], in the names of its writer."""
    writer = template.writer
    default = tree.Call(template.span, tree.Name(template.span, "kaiming"), (), ())
    weight_type = TensorType("float", (template.outputs, template.inputs))
    init = initial_graph(writer, weight_type, template.init or default)
    params = [Parameter("weight", weight_type, init, False, template.span)]
    if template.bias:
        bias_type = TensorType("float", (template.outputs,))
        zero = tree.Number(template.span, 0.0)
        bias_init = initial_graph(writer, bias_type, zero)
        params.append(Parameter("bias", bias_type, bias_init, False, template.span))
    return Instance("Linear", None, {}, {}, writer.env, tuple(params), {}, None, template.span)


# ---------------------------------------------------------------- templates that travel


def freeze(template: bd.UnitTemplate) -> bd.UnitTemplate:
    """The same unit with its hyperparameters written out in numbers.

    A template that is handed on leaves the unit whose names it is written in.
    """
    if isinstance(template, bd.LinearTemplate):
        writer = template.writer
        inputs = _in_numbers(template.inputs, writer)
        outputs = _in_numbers(template.outputs, writer)
        return bd.LinearTemplate(
            inputs, outputs, template.bias, template.init, writer, template.span
        )
    assert template.writer is not None, "the root stands in no slot"
    given: dict[str, bd.TemplateArgument] = {}
    for name, argument in template.given.items():
        if isinstance(argument, (bd.Template, bd.LinearTemplate)):
            given[name] = freeze(argument)
        else:
            given[name] = _literal(argument, template.writer)
    return bd.Template(template.definition, given, template.writer, template.span, template.places)


def _in_numbers(dim: Dim, writer: UnitScope) -> Dim:
    return dim.substitute(writer.substitution(dim.symbols() - {"D"}))


def _literal(static: Static, writer: UnitScope) -> Static:
    try:
        value = evaluate(static, writer.env)
    except UnknownStatic:
        return static
    if isinstance(value, tuple):
        return static
    return Literal(value)
