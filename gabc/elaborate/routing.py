"""`route(experts, x, scores, top=k)`: calls of all experts, and the sum of those that were chosen.

The graph says what is meant, every expert run on every token; generated code is sparse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gabc.elaborate import bound as bd
from gabc.elaborate.bind_names import bind_names
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.builder import Given
from gabc.elaborate.children import call_child
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.graph.instance import Instance
from gabc.graph.nodes import ChildRef
from gabc.graph.static import UnknownStatic
from gabc.ops.base import Refused
from gabc.syntax import tree
from gabc.syntax.source import Span

SIGNATURE = "route(experts, x, scores, top=k, normalise=false)"
_NAMES = ("experts", "x", "scores", "top", "normalise")


def route(evaluator: Evaluator, expr: tree.Call, names: Sequence[str]) -> Bound:
    """The value of a `route`. Raises `Refused` or `SilentError`."""
    if evaluator.builder is None or evaluator.in_region:
        raise evaluator.refuse(
            "GAB0115",
            f"`route` calls units, which {evaluator.place} cannot do",
            expr.span,
            help="call it in `forward`, and pass its result on",
        )
    given = _arguments(evaluator, expr)
    experts = given["experts"]
    refs = _experts(evaluator, experts)
    x = evaluator.tensor(given["x"])
    for ref in refs:
        for refused in _refusals(evaluator, ref, experts.span):
            raise refused
    call = tree.Call(expr.span, experts, (given["x"],), ())
    results: list[Bound] = [call_child(evaluator, ref, call, (), given=x) for ref in refs]
    if evaluator.scope.session.scale is None and len(refs) == 1:
        return results[0]  # how many experts there are may not be known yet
    args: dict[str, Given] = {
        "xs": tuple(evaluator.as_value(result, experts.span) for result in results),
        "scores": _scores(evaluator, given["scores"], len(refs)),
        "top": evaluator.dim(given["top"]),
        "normalise": _flag(evaluator, given.get("normalise")),
    }
    spans = {name: part.span for name, part in given.items()}
    return evaluator.emit("routed_sum", args, spans, expr.span, names)


def _arguments(evaluator: Evaluator, expr: tree.Call) -> dict[str, tree.Expr]:
    if len(expr.args) > 3:
        raise evaluator.refuse(
            "GAB0108",
            "`route` takes `top` and `normalise` by name",
            expr.args[3].span,
            help=f"it is called as `{SIGNATURE}`",
        )
    given = bind_names(evaluator, expr, _NAMES, "route")
    missing = [name for name in _NAMES[:4] if name not in given]
    if missing:
        raise evaluator.refuse(
            "GAB0107",
            f"`route` needs {', '.join(f'`{name}`' for name in missing)}",
            expr.span,
            help=f"it is called as `{SIGNATURE}`",
        )
    return given


def _experts(evaluator: Evaluator, expr: tree.Expr) -> tuple[ChildRef, ...]:
    bound = evaluator.expr(expr)
    if isinstance(bound, Poison):
        raise SilentError
    if isinstance(bound, bd.ChildArray):
        return bound.refs
    parts = bound.items if isinstance(bound, bd.Items) else ()
    refs = tuple(part for part in parts if isinstance(part, ChildRef))
    if not refs or len(refs) < len(parts):
        raise evaluator.refuse(
            "GAB0109",
            f"`experts` of `route` is a list of children, not {describe(bound)}",
            expr.span,
            help="`experts = Expert() * 8` among the members makes eight",
        )
    if len(set(refs)) < len(refs):
        raise evaluator.refuse("GAB0109", "`route` is given one child twice", expr.span)
    return refs


def _refusals(evaluator: Evaluator, ref: ChildRef, span: Span) -> Iterator[Refused]:
    """An expert sees some tokens only, and nobody but its caller sees what it does with them."""
    instance = evaluator.scope.children[ref.name].instances[ref.index or 0]
    graph = instance.graph
    if graph is None:
        return
    keys = [*(read.key for read in graph.z_reads), *(write.key for write in graph.z_writes)]
    if keys:
        yield evaluator.refuse(
            "GAB0115",
            f"`{instance.name}` uses `Z.{keys[0]}`, and an expert of `route` sees only the tokens "
            "that chose it",
            span,
            help="read and write Z in the unit that calls `route`",
        )
    if _has_loss(instance):
        yield evaluator.refuse(
            "GAB0115",
            f"`{instance.name}` declares a loss, and an expert of `route` sees only the tokens "
            "that chose it",
            span,
            help="declare the loss in the unit that calls `route`, from the scores",
        )


def _has_loss(instance: Instance) -> bool:
    own = instance.graph is not None and bool(instance.graph.losses)
    below = (child for part in instance.children.values() for child in part.instances)
    return own or any(map(_has_loss, below))


def _scores(evaluator: Evaluator, expr: tree.Expr, count: int) -> Given:
    """The scores; how many experts there are is a number, so their axis is compared as one."""
    bound = evaluator.expr(expr)
    scores = bound if isinstance(bound, bd.Masked) else evaluator.as_value(bound, expr.span)
    type_ = scores.value.type if isinstance(scores, bd.Masked) else scores.type
    sizes = evaluator.scope.substitution(type_.dims[-1].symbols()) if type_.dims else {}
    number = type_.dims[-1].substitute(sizes).as_int() if type_.dims else None
    if number is not None and number != count:
        raise evaluator.refuse(
            "GAB0201",
            f"`route` has {count} experts, and the scores {type_} are for {number}",
            expr.span,
        )
    return scores


def _flag(evaluator: Evaluator, expr: tree.Expr | None) -> bool:
    if expr is None:
        return False
    try:
        value = evaluator.value_of(expr)
    except UnknownStatic:
        return False  # a unit checked alone: either value will do to go on
    if isinstance(value, bool):
        return value
    raise evaluator.refuse("GAB0109", "`normalise` of `route` is true or false", expr.span)
