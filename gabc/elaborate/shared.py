"""`shared` children: one set of parameters for every block, so one unit in every block."""

from __future__ import annotations

from collections.abc import Iterator

from gabc.diagnostics.model import Diagnostic
from gabc.dims import Dim
from gabc.elaborate.scope import Session
from gabc.graph.instance import Children, Instance
from gabc.graph.static import shown


def check_shared(blocks: tuple[Instance, ...], session: Session) -> None:
    """Report every shared child that is not the same unit at all layers."""
    first: dict[str, tuple[int, Instance]] = {}
    reported: set[str] = set()
    for layer, block in enumerate(blocks):
        if layer and block is blocks[0]:
            continue
        for path, children, instance in _shared(block, ""):
            known_layer, known = first.setdefault(path, (layer, instance))
            if known is instance or path in reported:
                continue
            difference = _difference(known, instance, session)
            if difference:
                reported.add(path)
                session.diagnostics.add(
                    Diagnostic(
                        "GAB0505",
                        f"the shared child `{path}` differs between layer {known_layer} and "
                        f"layer {layer}: {difference}",
                        children.span,
                        help="give it the same arguments at every layer, or drop `shared`",
                    )
                )


def _shared(instance: Instance, path: str) -> Iterator[tuple[str, Children, Instance]]:
    """The outermost shared children with their full names."""
    for name, children in instance.children.items():
        for index, child in enumerate(children.instances):
            part = f"{name}.{index}" if children.is_array else name
            full = f"{path}.{part}" if path else part
            if children.is_shared:
                yield full, children, child
            else:
                yield from _shared(child, full)


def _difference(known: Instance, other: Instance, session: Session) -> str:
    """In what two instances differ, in words; empty if they are one unit."""
    if known is other:
        return ""
    if known.unit is not other.unit:
        return f"{known.name}, then {other.name}"
    for name in known.hypers:
        values = known.env.get(name), other.env.get(name)
        if values[0] != values[1]:
            return f"`{name}` is {shown(values[0])}, then {shown(values[1])}"
    for left, right in zip(known.params, other.params, strict=False):
        types = _sizes(known, left.type.dims), _sizes(other, right.type.dims)
        if left.name != right.name or types[0] != types[1]:
            return f"`{left.name}` is {types[0]}, then `{right.name}` is {types[1]}"
    if len(known.params) != len(other.params) or known.children.keys() != other.children.keys():
        return "it has other parts"
    if known in session.layered:
        return f"`{known.name}` depends on `layer`"
    for name, children in known.children.items():
        others = other.children[name].instances
        if len(children.instances) != len(others):
            return f"`{name}` has {len(children.instances)} units, then {len(others)}"
        for child, counterpart in zip(children.instances, others, strict=True):
            difference = _difference(child, counterpart, session)
            if difference:
                return f"in `{name}`, {difference}"
    return ""


def _sizes(instance: Instance, dims: tuple[Dim, ...]) -> list[int]:
    return [instance.size(dim) for dim in dims]
