"""What is known of a design in a few lines, below its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gabc.check.causality.verdict import Proofs
    from gabc.runtime.inspect_facts import Facts

_NAMES = {"causality": "causality", "batch": "batch independence", "length": "length independence"}


def summary_lines(facts: Facts, length: int) -> Iterator[str]:
    """The verdicts; the cost of a token and the state of a decoder at a length; the hash."""
    from gabc.check.cost import value_at
    from gabc.runtime.inspect_facts import interval_text

    reads = interval_text(facts.proofs.receptive_field)
    yield f"{verdicts(facts.proofs)}; position t reads {reads}"
    total = facts.costs.total
    flops = round(value_at(total.forward, length) / length)
    state = round(value_at(total.state, length))
    decoding = f"{state:,} bytes of decode state, {facts.costs.decoding}"
    if not facts.can_decode:
        decoding = "no decoder, since it reads ahead"
    yield f"{flops:,} FLOPs per token forward, {decoding}, at length {length:,} as compiled"
    yield f"structural hash {facts.hash}"


def verdicts(proofs: Proofs) -> str:
    """`proved: causality, batch independence; unknown: length independence`."""
    groups: dict[str, list[str]] = {}
    for subject, name in _NAMES.items():
        groups.setdefault(getattr(proofs, subject).verdict.value, []).append(name)
    return "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in groups.items())
