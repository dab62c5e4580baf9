"""One unit: hyperparameters, dims, parts and `forward`, in this order, become an `Instance`."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.diagnostics.model import Diagnostic, Related
from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bound import Poison
from gabc.elaborate.builder import Builder
from gabc.elaborate.declare import may_declare
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.elaborate.hypers import bind_hypers
from gabc.elaborate.limits import MAX_DEPTH, LimitReached
from gabc.elaborate.members import declare_members
from gabc.elaborate.modules import UnitDefinition
from gabc.elaborate.prover import RUNTIME_DIMS, Obligation, discharge
from gabc.elaborate.scope import Session, UnitScope
from gabc.elaborate.signatures import declare_inputs
from gabc.elaborate.statements import run_body
from gabc.elaborate.zflow import ZFlow
from gabc.graph.instance import Instance
from gabc.graph.nodes import Graph, Node, Value
from gabc.graph.types import LEADING
from gabc.ops import PRIMITIVES
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span


def elaborate_unit(
    session: Session, template: bd.Template, position: tuple[int, ...] = ()
) -> Instance:
    """The instance of a template. Faults are reported; its graph is then `None`.

    `position` is its place in the block.

    Raises `Refused` if units contain each other, `LimitReached` if the design is too large.
    """
    _refuse_recursion(session, template)
    unit = template.definition.unit
    if len(session.active) >= MAX_DEPTH:
        raise LimitReached(template.span, f"units are nested deeper than {MAX_DEPTH} levels")
    session.active.append(unit.name.id)
    try:
        scope = _scope(session, template, position)
        if not template.given:
            session.reached.add(template.definition)
        bind_hypers(scope, template.given, template.writer, template.places)
        return _elaborate(scope, template.span)
    finally:
        session.active.pop()


def elaborate_alone(session: Session, definition: UnitDefinition) -> Instance:
    """A unit by itself: what has no default stays unknown, and both branches are checked."""
    return elaborate_unit(session, bd.Template(definition, {}, None, definition.unit.name.span))


def _refuse_recursion(session: Session, template: bd.Template) -> None:
    """A unit whose text constructs itself, directly or through others, would have no end.

    A unit in a slot is constructed by the text that fills the slot, so `A(x=A())` is a finite tree.
    Every endless construction has an endless chain of writers.
    """
    unit = template.definition.unit
    chain = [unit]
    writer = template.writer
    while writer is not None:
        chain.append(writer.unit)
        if writer.unit is unit:
            break
        writer = writer.writer
    else:
        return
    circle = {part.name.id for part in chain}
    for met in session.diagnostics.found:
        if met.code == "GAB0111" and circle == set(met.message.rpartition(": ")[2].split(" -> ")):
            raise SilentError  # reported before, from another of its units
    names_ = " -> ".join(part.name.id for part in reversed(chain))
    raise Refused(
        Diagnostic(
            "GAB0111",
            f"units contain each other without end: {names_}",
            template.span,
            help="a unit may not contain itself; repeat with `Unit() * n`",
        )
    )


def _scope(session: Session, template: bd.Template, position: tuple[int, ...]) -> UnitScope:
    definition = template.definition
    scope = UnitScope(
        session,
        definition.module,
        definition.unit,
        template.span,
        template.writer,
        position,
    )
    if session.scale is not None:
        scope.env["D"] = session.scale.D
        scope.env["n_layers"] = session.scale.n_layers
        if session.layer is not None:
            scope.env["layer"] = session.layer
    return scope


def _elaborate(scope: UnitScope, span: Span) -> Instance:
    z = ZFlow(scope.unit.name.id)
    evaluator = Evaluator(scope)
    declare_members(evaluator, z, scope.unit.members)
    graph = _forward(scope, z, scope.unit.forward)
    # Requirements and sizes are evaluated last: a fault of shape comes before a fault of numbers.
    still_open, failed = discharge(scope.prover.obligations, scope.sizes, scope.session.scale_name)
    for diagnostic in failed:
        scope.report(diagnostic)
    instance = Instance(
        scope.unit.name.id,
        scope.unit,
        dict(scope.hypers),
        dict(scope.dims),
        dict(scope.env),
        tuple(scope.params.values()),
        dict(scope.children),
        graph,
        span,
    )
    scope.session.obligations[instance] = _about_calls(scope, still_open)
    return instance


def _about_calls(scope: UnitScope, obligations: Sequence[Obligation]) -> tuple[Obligation, ...]:
    """What callers have to prove: obligations on dims of the call.

    In a unit checked alone the rest waits for numbers. At a scale there are none to wait for:
    something is left only where the design has a fault, perhaps one that is reported later.
    """
    known = scope.sizes.keys() | scope.call_dims.keys() | RUNTIME_DIMS | LEADING.symbols()
    scope.session.never_evaluated += [o for o in obligations if not o.symbols <= known]
    return tuple(o for o in obligations if o.symbols & scope.call_dims.keys())


# ---------------------------------------------------------------- forward


def _forward(scope: UnitScope, z: ZFlow, forward: tree.Forward) -> Graph | None:
    builder = Builder(scope)
    evaluator = Evaluator(scope, builder, z=z, place="`forward`", time=Dim.symbol("L"))
    evaluator.any_rank = True
    errors = len(scope.session.diagnostics.found)
    try:
        inputs, call_dims = declare_inputs(evaluator, forward.args)
    except Refused as refused:
        scope.report(refused.diagnostic)
        return None
    except SilentError:
        return None
    for value, arg in zip(inputs, forward.args, strict=True):
        may_declare(scope, arg.name, evaluator.locals)
        _refuse_read_of_same_name(scope, z, arg.name)
        evaluator.locals[arg.name.id] = value
    results = run_body(evaluator, forward.body)
    if results is None or any(isinstance(result, Poison) for result in results):
        return None
    values = tuple(result for result in results if isinstance(result, Value))
    if forward.result is not None:
        _check_result(evaluator, forward, values)
    _check_declared(scope, z)
    _refuse_axes_of_nothing(scope, z, forward, inputs, builder.nodes)
    if scope.session.diagnostics.has_errors_since(errors):
        return None
    return Graph(
        inputs,
        tuple(builder.nodes),
        values,
        tuple(z.entering.values()),
        z.writes(),
        tuple(evaluator.losses),
        call_dims,
        forward.span,
    )


def _refuse_axes_of_nothing(
    scope: UnitScope,
    z: ZFlow,
    forward: tree.Forward,
    inputs: Sequence[Value],
    nodes: Sequence[Node],
) -> None:
    """How long a sequence is, a unit knows from its arguments: `positions()` needs one with L."""
    given = [*inputs, *(read.value for read in z.entering.values())]
    known = {name for value in given for dim in value.type.dims for name in dim.symbols()}
    if known & LEADING.symbols():
        return
    for node in nodes:
        primitive = PRIMITIVES.get(node.op)
        if primitive is None or not primitive.creates:
            continue
        made = {name for dim in node.output.type.dims for name in dim.symbols()}
        missing = sorted((made & RUNTIME_DIMS) - known)
        if missing:
            scope.report(
                Diagnostic(
                    "GAB0107",
                    f"`{scope.unit.name.id}` makes {node.output.type}, and takes nothing that has "
                    f"the axis {missing[0]}",
                    node.span,
                    related=(Related(forward.span, "its arguments stand here"),),
                    help="give it an argument with that axis: the stream, or `positions()` itself",
                )
            )
            return


def _refuse_read_of_same_name(scope: UnitScope, z: ZFlow, name: tree.Name) -> None:
    """A call binds arguments and reads by keyword: one name cannot be both."""
    declared = z.declared_reads.get(name.id)
    if declared is not None:
        scope.report(
            Diagnostic(
                "GAB0104",
                f"`{name.id}` is an argument and a Z entry that is read: one of the two needs "
                "another name",
                name.span,
                related=(Related(declared.span, "read here"),),
            )
        )


def _check_result(evaluator: Evaluator, forward: tree.Forward, values: Sequence[Value]) -> None:
    assert forward.result is not None
    try:
        declared = evaluator.type(forward.result)
        what = "the declared result"
        same_type(evaluator, declared, values[0].type, forward.result.span, what, "GAB0206")
    except Refused as refused:
        evaluator.scope.report(refused.diagnostic)


def _check_declared(scope: UnitScope, z: ZFlow) -> None:
    """Declared reads and writes are made in some branch, here or in a unit called."""
    if any(isinstance(member, bd.AnyUnit) for member in scope.members.values()):
        return  # what stands in an empty slot may make them
    unit = scope.unit.name.id
    for key, declared in z.declared_writes.items():
        if key not in z.made_writes and scope.session.layer is None:
            scope.report(
                Diagnostic(
                    "GAB0308",
                    f"`{unit}` declares `writes {key}` and never writes it",
                    declared.span,
                    help=f"assign `Z.{key} = ...` in `forward`, or drop the declaration",
                )
            )
    for key, declared in z.declared_reads.items():
        if key not in z.made_reads and scope.session.layer is None:
            scope.report(
                Diagnostic(
                    "GAB0309",
                    f"`{unit}` declares `reads {key}` and never reads it",
                    declared.span,
                    help=f"read `Z.{key}` in `forward`, or drop the declaration",
                )
            )
