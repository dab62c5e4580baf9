"""Experts of `route` must treat every token by itself: they are given the tokens that chose them.

Proved as causality is, with a stricter end: a result depends on its own position and row alone, and
nothing on the way knows where in the sequence it stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from gabc.check.causality.analysis import Analyser, Outcome
from gabc.check.causality.prove import block_outcome
from gabc.dependence.bounds import ZERO
from gabc.dependence.domain import Axis, Dependence, Leg
from gabc.dependence.forms import axis_form
from gabc.diagnostics.model import Diagnostic, Related
from gabc.graph.instance import Instance, Stack
from gabc.graph.nodes import ChildRef, Graph, Node, Value
from gabc.graph.routing import routed_calls, routed_input
from gabc.graph.types import LEADING, B, L
from gabc.ops.verify import find_child
from gabc.syntax.source import Span

_CONSTANT = frozenset({"zeros", "ones"})
"""Leaves that are alike at every position."""


def find_mixing_experts(stack: Stack) -> Iterator[Diagnostic]:
    """A finding for each `route` one of whose experts does not treat tokens one by one."""
    units = {unit for block in dict.fromkeys(stack.blocks) for _, unit in block.walk()}
    if not any(unit.graph and routed_calls(unit.graph.nodes) for unit in units):
        return
    analyser = Analyser()
    z: dict[str, Dependence] = {}
    for layer, block in enumerate(stack.blocks):
        block_outcome(analyser, stack, block, f"blocks.{layer}", z)
    seen: set[Span] = set()
    for outcome in tuple(analyser.outcomes):
        graph = outcome.instance.graph
        for node, calls in routed_calls(() if graph is None else graph.nodes).items():
            found = next(_mixing(analyser, outcome, calls), None)
            if found is not None and node.span not in seen:
                seen.add(node.span)
                yield _refusal(node, *found)


def _refusal(route: Node, expert: Instance, place: Span) -> Diagnostic:
    return Diagnostic(
        "GAB0115",
        f"`route` gives `{expert.name}` only the tokens that chose it, and it does not treat "
        "tokens one by one",
        route.span,
        help="mix positions before `route`, or run all experts on all tokens and weight them by "
        "`where(topk_mask(scores, k), scores, 0.0)`",
        related=(Related(place, "this knows of other positions, or of its own"),),
    )


def _mixing(
    analyser: Analyser, outcome: Outcome, calls: tuple[Node, ...]
) -> Iterator[tuple[Instance, Span]]:
    """The experts that mix tokens, each with the place where it does."""
    axes = outcome.known[routed_input(calls)].axes
    analysed: set[Instance] = set()
    for call in calls:
        reference = call.args["child"]
        assert isinstance(reference, ChildRef)
        expert = find_child(outcome.instance, reference)
        if expert.graph is None or expert in analysed:  # a `Linear` keeps tokens apart
            continue
        analysed.add(expert)
        path = f"{outcome.path}.{reference.name}.{reference.index}"
        place = _positional(expert, expert.graph)
        if place is None:
            place = _dependent(analyser, expert, expert.graph, path, axes)
        if place is not None:
            yield expert, place


# ---------------------------------------------------------------- what knows where it stands


def _positional(unit: Instance, graph: Graph) -> Span | None:
    """Where a unit speaks of positions: a loop, a part of the sequence, a value made of its length.

    Without these a unit can tell positions apart only by what stands there.
    """
    for value in graph.inputs:
        if value.type.dims[:1] != (LEADING,) and value.type.dims[:2] != (B, L):
            return value.span
    for node in graph.nodes:
        if node.region is not None or not all(_is_whole(value) for value in node.outputs):
            return node.span
        is_leaf = node.op not in _CONSTANT and not any(True for _ in node.operands())
        if is_leaf and any(map(_counts, node.outputs)):
            return node.span
        if node.op == "call":
            place = _positional_call(unit, node)
            if place is not None:
                return place
    return None


def _positional_call(unit: Instance, node: Node) -> Span | None:
    reference, arguments = node.args["child"], node.args["args"]
    assert isinstance(reference, ChildRef)
    assert isinstance(arguments, tuple)
    child = find_child(unit, reference)
    if child.graph is None:
        return None
    for bound in child.graph.call_dims:
        value = arguments[bound.argument]
        assert isinstance(value, Value)
        if value.type.dims[bound.axis].symbols() & {"B", "L"}:
            return node.span  # the length under another name
    return _positional(child, child.graph)


def _is_whole(value: Value) -> bool:
    """Whether B and L stand in a shape only as they are, and first."""
    return all(not dim.symbols() & {"B", "L"} or dim in (B, L) for dim in value.type.dims)


def _counts(value: Value) -> bool:
    return any(dim.symbols() & {"B", "L"} for dim in value.type.dims)


# ---------------------------------------------------------------- what depends on what


def _dependent(
    analyser: Analyser, expert: Instance, graph: Graph, path: str, axes: tuple[Axis, ...]
) -> Span | None:
    """Where a result depends on more than its own position and row, by the rules of the proof."""
    rank = len(axes)
    tokens = Dependence(
        axes, (Leg(axis_form(1 - rank), ZERO, ZERO),), (Leg(axis_form(-rank), ZERO, ZERO),)
    )
    outcome = analyser.unit(expert, path, [tokens], [])
    for value, result in zip(graph.results, outcome.results, strict=True):
        for axis, legs in ((1 - result.rank, result.time), (-result.rank, result.batch)):
            for leg in legs:
                if (leg.linear, leg.lo, leg.hi) != (axis_form(axis), ZERO, ZERO):
                    return value.span if leg.reason is None else leg.reason.span
    return None
