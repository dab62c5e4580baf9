"""The types of arguments: those of `forward` declare, those of an inlined `fn` bind."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.agreement import same_type
from gabc.elaborate.bound import Bound
from gabc.elaborate.evaluator import Evaluator
from gabc.graph.nodes import CallDim, Value
from gabc.graph.static import Ref
from gabc.graph.types import RESIDUAL_STREAM, Kind, TensorType
from gabc.syntax import tree
from gabc.syntax.source import Span


def declare_inputs(
    evaluator: Evaluator, args: Sequence[tree.Argument]
) -> tuple[tuple[Value, ...], tuple[CallDim, ...]]:
    """The inputs of `forward`. A dim name not in scope becomes a dim of the call.

    The axis of such a dim counts from the end where the type begins with `...`.
    """
    values: list[Value] = []
    call_dims: list[CallDim] = []
    for position, arg in enumerate(args):
        if arg.default is not None:
            raise evaluator.refuse(
                "GAB0115", "an argument of `forward` has no default", arg.default.span
            )
        if arg.type is None:
            type_ = RESIDUAL_STREAM
        else:
            any_rank = any(isinstance(item, tree.EllipsisLiteral) for item in arg.type.dims)
            for index, item in enumerate(arg.type.dims):
                axis = index - len(arg.type.dims) if any_rank else index
                if isinstance(item, tree.Name) and _is_new_dim(evaluator, item):
                    evaluator.scope.call_dims[item.id] = item.span
                    evaluator.scope.members[item.id] = Ref(item.id)
                    call_dims.append(CallDim(item.id, position, axis))
            type_ = evaluator.type(arg.type)
        values.append(Value(type_, arg.span, arg.name.id))
    return tuple(values), tuple(call_dims)


def _is_new_dim(evaluator: Evaluator, name: tree.Name) -> bool:
    return name.id not in ("B", "L") and evaluator.lookup(name.id) is None


def bind_types(
    evaluator: Evaluator,
    args: Sequence[tree.Argument],
    local: dict[str, Bound],
    span: Span,
) -> None:
    """Check the arguments of an inlined function against their types; unknown dims are bound."""
    for arg in args:
        if arg.type is None:
            continue
        given = local[arg.name.id]
        if isinstance(given, bd.Poison):
            continue
        value = evaluator.as_value(given, span)
        if len(arg.type.dims) == value.type.rank:
            for item, dim in zip(arg.type.dims, value.type.dims, strict=True):
                if isinstance(item, tree.Name) and _is_new_dim(evaluator, item):
                    local[item.id] = bd.DimAlias(dim)
            declared = evaluator.type(arg.type)
        else:
            # The rank is wrong: a type of the right rank only for the message.
            kind: Kind = value.type.kind
            declared = TensorType(kind, tuple(_shown(item) for item in arg.type.dims))
        same_type(evaluator, declared, value.type, span, f"the argument `{arg.name.id}`")


def _shown(item: tree.Expr | tree.EllipsisLiteral) -> Dim:
    return Dim.symbol(item.span.text)
