"""The fix that gives a name that hides a built-in another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from gabc.diagnostics.model import Applicability, Edit, Fix
from gabc.syntax import tree


def renamed(name: tree.Name, within: tree.Node) -> tuple[Fix, ...]:
    """`name` and its uses in `within` become `name_`; calls are taken to mean the built-in."""
    spans = {use.span for use in _values(within) if use.id == name.id} | {name.span}
    new = f"{name.id}_"
    if any(use.id == new for use in _values(within)):
        return ()
    edits = tuple(Edit(span, new) for span in sorted(spans, key=lambda span: span.start))
    return (Fix(f"call it `{new}`", edits, Applicability.MAYBE),)


def _values(node: object) -> Iterator[tree.Name]:
    """The names in a tree that stand for a value or are assigned, not those that are called."""
    match node:
        case tree.Name():
            yield node
        case tuple():
            for part in node:
                yield from _values(part)
        case tree.Call(_, function, args, keywords, renames, block):
            if not isinstance(function, tree.Name):
                yield from _values(function)
            for part in (args, keywords, renames, block):
                yield from _values(part)
        case tree.Keyword(_, _, value) | tree.Attribute(_, value, _):
            yield from _values(value)
        case tree.Node():
            for field in fields(node):
                yield from _values(getattr(node, field.name))
