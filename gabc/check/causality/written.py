"""The text that a fault points at, as syntax: its nodes by place, what is around them, and uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gabc.syntax import tree
from gabc.syntax.parse import parse
from gabc.syntax.source import Source, Span

MOST_NAMES = 16
"""Names that are followed to their values, from one expression."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """The nodes of one file; a parent is found by the identity of its child."""

    nodes: tuple[tree.Node, ...]
    _parents: dict[int, tree.Node]

    def at(self, span: Span) -> tree.Node | None:
        """The outermost expression at exactly this place."""
        for node in self.nodes:
            if (node.span.start, node.span.end) == (span.start, span.end) and isinstance(
                node, tree.Expr
            ):
                return node
        return None

    def parent(self, node: tree.Node) -> tree.Node | None:
        return self._parents.get(id(node))

    def target(self, node: tree.Node) -> tree.Name | None:
        """The name that is assigned this value, if it is assigned nothing else in its body."""
        around = self.parent(node)
        if not isinstance(around, tree.Assign) or around.value is not node:
            return None
        target = around.targets[0]
        if len(around.targets) != 1 or not isinstance(target, tree.Name):
            return None
        return target if len(self._assignments(target)) == 1 else None

    def uses(self, target: tree.Name) -> Iterator[tree.Name]:
        """Where a name that is assigned in a body is read in it."""
        for node in _inside(self._body(target)):
            if isinstance(node, tree.Name) and node.id == target.id and node is not target:
                yield node

    def followed(self, root: tree.Node) -> Iterator[tree.Node]:
        """The nodes of an expression, and of the values of the names in it, from outside in."""
        pending, seen = [root], 0
        while pending:
            for node in _inside(pending.pop()):
                yield node
                if isinstance(node, tree.Name) and seen < MOST_NAMES:
                    assignments = self._assignments(node)
                    if len(assignments) == 1 and len(assignments[0].targets) == 1:
                        seen += 1
                        pending.append(assignments[0].value)

    def _assignments(self, name: tree.Name) -> list[tree.Assign]:
        """What is assigned to a name in the body around it."""
        return [
            node
            for node in _inside(self._body(name))
            if isinstance(node, tree.Assign)
            and any(isinstance(t, tree.Name) and t.id == name.id for t in node.targets)
        ]

    def _body(self, node: tree.Node) -> tree.Node:
        around: tree.Node | None = node
        while around is not None and not isinstance(around, tree.Forward | tree.Function):
            node, around = around, self.parent(around)
        return node if around is None else around


def written(source: Source) -> Written:
    """The nodes of a text that parses; of one that does not, those that could be read."""
    file, _ = parse(source)
    nodes: list[tree.Node] = []
    parents: dict[int, tree.Node] = {}
    for root in (*file.functions, *file.units):
        for node in _inside(root):
            nodes.append(node)
            parents.update({id(child): node for child in _children(node)})
    return Written(tuple(nodes), parents)


def _inside(root: tree.Node) -> Iterator[tree.Node]:
    """A node and all below it, parents first."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(list(_children(node))))


def _children(node: tree.Node) -> Iterator[tree.Node]:
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, tree.Node):
                yield part
