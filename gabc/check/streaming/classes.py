"""What a unit keeps of a sequence, as people choose architectures by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

from gabc.check.streaming.plan import NodePlan, StackPlan, UnitPlan
from gabc.graph.nodes import ChildRef


class DecodeClass(IntEnum):
    """From little to much: as much however long the sequence is, the positions of a window, all.

    Or the arguments, from which the unit is computed again for every new position.
    """

    CONSTANT = 0
    WINDOW = 1
    LENGTH = 2
    RECOMPUTED = 3

    def __str__(self) -> str:
        return ("O(1)", "O(window)", "O(L)", "none (recomputed)")[self]


def decode_classes(plan: UnitPlan) -> dict[str, DecodeClass]:
    """The class of a unit (its path is empty) and of all units below it, each with those below."""
    found: dict[str, DecodeClass] = {}
    for path, unit in units_below(plan):
        own = _own_class(unit)
        while True:
            found[path] = max(found.get(path, own), own)
            if not path:
                break
            path = path.rpartition(".")[0]
            if path and path not in found:
                found[path] = own  # an array of children is named by none of them
    return found


def stack_class(plan: StackPlan) -> DecodeClass:
    """Of the whole model."""
    if plan.hindrance is not None:
        return DecodeClass.RECOMPUTED
    return max(decode_classes(block)[""] for block in plan.blocks)


def units_below(plan: UnitPlan, path: str = "") -> Iterator[tuple[str, UnitPlan]]:
    """A unit and those it calls, with their paths; none below one that is computed again."""
    yield path, plan
    if not plan.is_recomputed:
        yield from _called(plan.nodes, path)


def _called(nodes: Sequence[NodePlan], path: str) -> Iterator[tuple[str, UnitPlan]]:
    for node in nodes:
        if node.child is not None:
            reference = node.node.args["child"]
            assert isinstance(reference, ChildRef)
            part = reference.name
            if reference.index is not None:
                part = f"{part}.{reference.index}"
            yield from units_below(node.child, f"{path}.{part}" if path else part)
        yield from _called(node.body, path)


def _own_class(plan: UnitPlan) -> DecodeClass:
    if plan.is_recomputed:
        return DecodeClass.RECOMPUTED
    caches = [consumer.most for consumer in plan.pasts.values() if not consumer.is_ring]
    if None in caches:
        return DecodeClass.LENGTH
    return DecodeClass.WINDOW if caches else DecodeClass.CONSTANT
