"""Which names a piece of syntax mentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields

from gabc.syntax import tree


def mentions(*roots: object) -> Counter[str]:
    """How often each identifier occurs as a value: not as a target, declared name or keyword."""
    found: Counter[str] = Counter()
    stack: list[object] = list(roots)
    while stack:
        node = stack.pop()
        if isinstance(node, tree.Name):
            found[node.id] += 1
        elif isinstance(node, tuple):
            stack.extend(node)
        elif isinstance(node, tree.Node):
            stack.extend(_value_parts(node))
    return found


def _value_parts(node: tree.Node) -> Iterable[object]:
    match node:
        case tree.Keyword(_, _, value):
            return (value,)
        case tree.Attribute(_, base, _):
            return (base,)
        case tree.Rename():
            return ()
        case tree.Assign(_, targets, value):
            # `S[i] = x` and `Z.skip[i] = x` read their subscripts; a plain target reads nothing.
            return (value, *(t.items for t in targets if isinstance(t, tree.Subscript)))
        case tree.For(_, _, iterable, body):
            return (iterable, body)
        case tree.State(_, _, type_, value) | tree.Param(_, _, type_, value, _):
            return (type_, value)
        case tree.Loss(_, _, value) | tree.Dim(_, _, value) | tree.Child(_, _, value, _):
            return (value,)
        case tree.Hyper(_, _, _, _, default):
            return (default,)
        case tree.ZEntry(_, _, _, type_, _):
            return (type_,)
        case tree.Argument(_, _, type_, default):
            return (type_, default)
        case tree.Unit(_, _, hypers, members, forward, _):
            return (hypers, members, forward)
        case tree.Function(_, _, args, result, body, _):
            return (args, result, body)
        case tree.Call(_, function, args, keywords, _, block):
            # `scan(q, k)` binds its arguments by name; they are reads all the same.
            return (function, args, keywords, block)
    return (
        getattr(node, field.name) for field in fields(node) if field.name not in ("span", "source")
    )


def assigned(body: tuple[tree.Stmt, ...]) -> list[tree.Name]:
    """The names assigned anywhere in a body, first occurrences in order, nested blocks included."""
    found: dict[str, tree.Name] = {}
    for statement in body:
        match statement:
            case tree.Assign(_, targets, _):
                for target in targets:
                    if isinstance(target, tree.Name):
                        found.setdefault(target.id, target)
            case tree.If(_, _, then, otherwise):
                for name in [*assigned(then), *assigned(otherwise)]:
                    found.setdefault(name.id, name)
            case tree.For(_, _, _, inner):
                for name in assigned(inner):
                    found.setdefault(name.id, name)
    return list(found.values())
