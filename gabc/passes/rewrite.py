"""Applies a rewrite of graphs to every unit of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from gabc.graph.instance import Children, Instance, Stack
from gabc.graph.nodes import Graph

Rewrite: TypeAlias = Callable[[Graph], Graph]


def rewrite_graphs(stack: Stack, rewrite: Rewrite) -> Stack:
    """The stack with every graph rewritten; instances that were one stay one."""
    done: dict[Instance, Instance] = {}

    def visit(instance: Instance) -> Instance:
        if instance not in done:
            done[instance] = replace(
                instance,
                graph=None if instance.graph is None else rewrite(instance.graph),
                children={name: inside(part) for name, part in instance.children.items()},
            )
        return done[instance]

    def inside(children: Children) -> Children:
        return replace(children, instances=tuple(visit(child) for child in children.instances))

    return replace(stack, blocks=tuple(visit(block) for block in stack.blocks))
