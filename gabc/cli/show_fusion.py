"""`gabc show --fusion`: which operations one kernel computes, what that saves, and what stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gabc.graph.nodes import Node
    from gabc.passes.fusion import Fusion, Group
    from gabc.syntax.source import Span

    Fusions = Sequence[tuple[str, Fusion]]

NOTHING = "nothing to fuse: no unit has pointwise operations"

ASSUMPTIONS = (
    "Bytes of the forward pass for each token, in 16-bit floats, of one sequence of 2,048 tokens. "
    "A size that only the caller of a unit knows counts as 1."
)


def fusion_lines(found: Fusions) -> Iterator[str]:
    """Lines of text: for each unit its groups, then what is in no group and why."""
    if not found:
        yield NOTHING
        return
    for unit, fusion in found:
        yield unit
        for group in fusion.groups:
            yield f"  {group.name}: {_operations(group.nodes)}  ({_places(group.spans)})"
            yield f"    {_saving(group)}"
        for reason, nodes in _by_reason(fusion).items():
            places = _places([node.span for node in nodes])
            yield f"  not fused: {_operations(nodes)}  ({places})"
            yield f"    why: {reason}"
    yield ""
    yield ASSUMPTIONS


def fusion_document(found: Fusions) -> list[dict[str, object]]:
    """The same as data."""
    return [
        {
            "unit": unit,
            "groups": [
                {
                    "name": group.name,
                    "operations": [node.op for node in group.nodes],
                    "places": [_place(span) for span in group.spans],
                    "operands": [str(value.type) for value in group.inputs],
                    "results": [str(value.type) for value in group.outputs],
                    "row_reduction": group.reduction or None,
                    "bytes_per_token": group.traffic.after,
                    "bytes_per_token_unfused": group.traffic.before,
                }
                for group in fusion.groups
            ],
            "unfused": [
                {
                    "operation": unfused.node.op,
                    "place": _place(unfused.node.span),
                    "reason": unfused.reason,
                }
                for unfused in fusion.unfused
            ],
        }
        for unit, fusion in found
    ]


def _by_reason(fusion: Fusion) -> dict[str, list[Node]]:
    reasons: dict[str, list[Node]] = {}
    for unfused in fusion.unfused:
        reasons.setdefault(unfused.reason, []).append(unfused.node)
    return reasons


def _operations(nodes: Sequence[Node]) -> str:
    return ", ".join(node.op for node in nodes)


def _saving(group: Group) -> str:
    traffic = group.traffic
    percent = 100 * traffic.saved // traffic.before if traffic.before else 0
    return (
        f"{traffic.after:,} bytes a token instead of {traffic.before:,} ({percent}% less), "
        f"1 kernel instead of {traffic.launches}"
    )


def _places(spans: Sequence[Span]) -> str:
    return ", ".join(dict.fromkeys(_place(span) for span in spans))


def _place(span: Span) -> str:
    return f"{Path(span.source.path).name}:{span.line}"
