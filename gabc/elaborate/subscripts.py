"""Subscripts: lists and children by a static index, tensors by static items or by int tensors."""

from __future__ import annotations

from collections.abc import Sequence

from gabc.dims import Dim
from gabc.elaborate import bound as bd
from gabc.elaborate.bound import Bound, Poison, describe
from gabc.elaborate.builder import Given
from gabc.elaborate.evaluator import Evaluator
from gabc.elaborate.faults import SilentError
from gabc.graph.nodes import Argument, Value
from gabc.graph.static import Apply, Literal, Ref, Static, StaticList, UnknownStatic
from gabc.graph.types import LEADING, B
from gabc.syntax import tree
from gabc.syntax.source import Span

Item = tree.Expr | tree.Slice | tree.EllipsisLiteral


def subscript(evaluator: Evaluator, expr: tree.Subscript, names: Sequence[str]) -> Bound:
    """`base[items]`."""
    if isinstance(expr.base, tree.Attribute):
        return _z_entry(evaluator, expr, expr.base)
    base = _base(evaluator, expr.base)
    match base:
        case Poison():
            raise SilentError
        case bd.Items(items):
            return items[_position(evaluator, expr, len(items))]
        case bd.ChildArray(refs):
            return refs[_position(evaluator, expr, len(refs))]
        case StaticList() | Ref() | Apply():
            return Apply("index", (base, _static_item(evaluator, expr)))
        case bd.Masked():
            raise evaluator.refuse("GAB0115", "a masked value cannot be indexed", expr.span)
        case Value():
            return _tensor(evaluator, base, expr, names)
    raise evaluator.refuse("GAB0210", f"{describe(base)} cannot be indexed", expr.span)


def assign_element(evaluator: Evaluator, target: tree.Subscript, bound: Bound) -> None:
    """`S[i] = value`: only an element of a state may be assigned."""
    base = target.base
    if not isinstance(base, tree.Name) or base.id not in evaluator.states:
        raise evaluator.refuse(
            "GAB0210",
            "only an element of a `state` can be assigned",
            target.span,
            help="elsewhere build the value with `where`, `concat` or `stack`",
        )
    current = evaluator.locals[base.id]
    if isinstance(current, Poison) or isinstance(bound, Poison):
        raise SilentError
    state = evaluator.as_value(current, base.span)
    value = evaluator.as_operand(bound, target.span)
    items = _items(evaluator, target, state)
    spans = {"items": target.span}
    args: dict[str, Given] = {"x": state, "items": items, "value": value}
    evaluator.assign(base, evaluator.emit("set_index", args, spans, target.span, (base.id,)))


def _base(evaluator: Evaluator, base: tree.Expr) -> Bound:
    """In an attention block a captured tensor with a time axis may be indexed, and only that."""
    if isinstance(base, tree.Name) and evaluator.in_attention:
        found = evaluator.lookup(base.id)
        if found is not None:
            return found
    return evaluator.expr(base)


def _z_entry(evaluator: Evaluator, expr: tree.Subscript, base: tree.Attribute) -> Bound:
    if not (isinstance(base.base, tree.Name) and base.base.id == "Z"):
        return evaluator.expr(base)
    item = expr.items[0]
    if len(expr.items) != 1 or isinstance(item, (tree.Slice, tree.EllipsisLiteral)):
        # `Z.v[:, None]` is a subscript of the tensor in Z.
        return _tensor(evaluator, evaluator.tensor(base), expr, ())
    z = evaluator.require_z(expr.span)
    declared = z.declared_reads.get(base.name.id) or z.declared_writes.get(base.name.id)
    if declared is not None and not declared.indexed and declared.type.dims[:1] != (B,):
        return _tensor(evaluator, evaluator.tensor(base), expr, ())
    return z.read(evaluator, base.name, item, expr.span)


def _position(evaluator: Evaluator, expr: tree.Subscript, length: int) -> int:
    static = _static_item(evaluator, expr)
    try:
        index = evaluator.evaluate(static, expr.span)
    except UnknownStatic:
        return 0
    if not isinstance(index, int) or isinstance(index, bool):
        raise evaluator.refuse("GAB0210", "the index of a list is a static int", expr.span)
    if not -length <= index < length:
        raise evaluator.refuse(
            "GAB0210", f"there is no item {index} in a list of {length}", expr.span
        )
    return index


def _static_item(evaluator: Evaluator, expr: tree.Subscript) -> Static:
    item = expr.items[0]
    if len(expr.items) != 1 or isinstance(item, (tree.Slice, tree.EllipsisLiteral)):
        raise evaluator.refuse("GAB0210", "a list has one static index", expr.span)
    return evaluator.static(item)


def _tensor(evaluator: Evaluator, base: Value, expr: tree.Subscript, names: Sequence[str]) -> Bound:
    lookups = _tensor_indices(evaluator, expr.items)
    if lookups is not None:
        args: dict[str, Given] = {"x": base, "indices": lookups}
        spans = {"x": expr.base.span, "indices": expr.span}
        return evaluator.emit("lookup", args, spans, expr.span, names)
    items = _items(evaluator, expr, base)
    spans = {"x": expr.base.span, "items": expr.span}
    return evaluator.emit("index", {"x": base, "items": items}, spans, expr.span, names)


def _tensor_indices(evaluator: Evaluator, items: Sequence[Item]) -> tuple[Value, ...] | None:
    """The indices, if they are int tensors: `slope[h]`, `bias[b, i, h]`."""
    if any(isinstance(i, (tree.Slice, tree.EllipsisLiteral, tree.NoneLiteral)) for i in items):
        return None
    bounds = [evaluator.expr(item) for item in items if not isinstance(item, _NOT_EXPR)]
    values = [bound for bound in bounds if isinstance(bound, Value)]
    if not values:
        return None
    if len(values) < len(bounds):
        raise evaluator.refuse(
            "GAB0210",
            "a subscript mixes positions given by tensors and static ones",
            items[0].span.to(items[-1].span),
            help="index with tensors only, or with static items only",
        )
    return tuple(values)


_NOT_EXPR = (tree.Slice, tree.EllipsisLiteral)


def _items(evaluator: Evaluator, expr: tree.Subscript, base: Value) -> tuple[Argument, ...]:
    """The items as `gabc.ops.subscript` takes them: `...` expanded, missing axes kept whole."""
    written = [item for item in expr.items if not _is_new_axis(item)]
    ellipses = [item for item in written if isinstance(item, tree.EllipsisLiteral)]
    if len(ellipses) > 1:
        raise evaluator.refuse("GAB0210", "`...` may stand once in a subscript", ellipses[1].span)
    missing = base.type.rank - (len(written) - len(ellipses))
    if missing < 0:
        raise evaluator.refuse(
            "GAB0202",
            f"the subscript has {len(written) - len(ellipses)} items, and the value {base.type} "
            f"has {base.type.rank} ax{'es' if base.type.rank != 1 else 'is'}",
            expr.span,
        )
    whole: list[Argument] = [":"] * missing
    if base.type.dims[:1] == (LEADING,):
        if not isinstance(expr.items[0], tree.EllipsisLiteral) or not missing:
            raise evaluator.refuse(
                "GAB0210",
                f"a subscript of {base.type} begins with `...`: its leading axes are not known",
                expr.span,
                help="write `x[..., i]`, or name every axis in the type of `forward`",
            )
        whole[0] = "..."
    items: list[Argument] = []
    for item in expr.items:
        if isinstance(item, tree.EllipsisLiteral):
            items.extend(whole)
        elif _is_new_axis(item):
            items.append(None)
        elif isinstance(item, tree.Slice):
            items.append(_slice(evaluator, item))
        else:
            items.append(_bound(evaluator, item, item.span))
    if not ellipses:
        items.extend([":"] * missing)
    return tuple(items)


def _is_new_axis(item: Item) -> bool:
    return isinstance(item, tree.NoneLiteral)


def _slice(evaluator: Evaluator, item: tree.Slice) -> Argument:
    if item.start is None and item.stop is None and item.step is None:
        return ":"
    return tuple(
        None if part is None else _bound(evaluator, part, part.span)
        for part in (item.start, item.stop, item.step)
    )


def _bound(evaluator: Evaluator, expr: tree.Expr, span: Span) -> Dim:
    """A position or the bound of a slice; it may be 0 or count from the end."""
    static = evaluator.expr(expr)
    if isinstance(static, Poison):
        raise SilentError
    if isinstance(static, Literal) and not isinstance(static.value, int):
        raise evaluator.refuse("GAB0210", "a position is a static int", span)
    dim = evaluator.as_dim(static, span)
    if dim is None:
        raise evaluator.refuse(
            "GAB0210", f"a position is a static int or a dim, not {describe(static)}", span
        )
    return dim
