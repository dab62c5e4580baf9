"""Whether a unit means different things in different places."""

from __future__ import annotations

from dataclasses import fields

from gabc.syntax import tree

_PLACED = (tree.If, tree.MemberIf, tree.Conditional, tree.Reads, tree.Writes)


def depends_on_place(unit: tree.Unit) -> bool:
    """Whether it has static conditions or a part of Z, so that one elaboration may not show all."""
    stack: list[object] = [unit.hypers, unit.members, unit.forward]
    while stack:
        node = stack.pop()
        if isinstance(node, _PLACED):
            return True
        if isinstance(node, tuple):
            stack.extend(node)
        elif isinstance(node, tree.Node):
            stack.extend(getattr(node, f.name) for f in fields(node) if f.name != "span")
    return False
