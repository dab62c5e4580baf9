"""Whether what a block computes is chosen by numbers that another scale has otherwise."""

from __future__ import annotations

import re
from functools import lru_cache

from gabc.graph.instance import Instance, Stack
from gabc.graph.static import names

_SCALE = frozenset(("D", "layer", "n_layers"))
_COMMENT = re.compile(r"#[^\n]*")
_CHOICE = re.compile(r"\b(?:if\b|for\b.*?\bin\b)(.*?)(?:\{|\belse\b)", re.DOTALL)
_INDEX = re.compile(r"\w\[([^\[\]]*\b(?:layer|n_layers)\b[^\[\]]*)\]")
_NAME = re.compile(r"[A-Za-z_]\w*")


def chooses_by_scale(stack: Stack) -> bool:
    """Whether a static condition, loop or index reads the width, the depth or the layer.

    The proof has then seen the branches of this scale only.
    """
    return any(_chooses(block, _SCALE) for block in dict.fromkeys(stack.blocks))


def _chooses(instance: Instance, above: frozenset[str]) -> bool:
    """`above` are the names of the unit around that follow from the scale."""
    varying = set(_SCALE)
    for hyper in instance.hypers.values():
        if not set(names(hyper.given)).isdisjoint(above | varying):
            varying.add(hyper.name)
    for name, static in instance.dims.items():
        if not set(names(static)).isdisjoint(varying):
            varying.add(name)
    unit = instance.unit
    if unit is not None and not varying.isdisjoint(_read_by_choices(unit.span.text)):
        return True
    known = frozenset(varying)
    children = (c for group in instance.children.values() for c in dict.fromkeys(group.instances))
    return any(_chooses(child, known) for child in children)


@lru_cache(maxsize=1024)
def _read_by_choices(text: str) -> frozenset[str]:
    """The names in conditions, ranges and indices by layer, from a unit's text.

    A walk of every tree takes as long as the proof.
    """
    bare = _COMMENT.sub("", text)
    choices = (*_CHOICE.findall(bare), *_INDEX.findall(bare))
    return frozenset(name for choice in choices for name in _NAME.findall(choice))
