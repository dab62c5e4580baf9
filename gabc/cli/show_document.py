"""What `gabc show --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gabc.check.causality.verdict import Property
    from gabc.check.cost import Amounts, Costs, Device, StepTime, UnitCost
    from gabc.dependence.bounds import Bound
    from gabc.dims import Dim
    from gabc.graph.instance import Stack
    from gabc.runtime.inspect import DesignSummary, UnitSummary
    from gabc.runtime.inspect_facts import Facts
    from gabc.runtime.scale_fit import Fit


def document(
    summary: DesignSummary, facts: Facts, stack: Stack, fit: Fit | None, length: int
) -> dict[str, object]:
    """The design, what is proved of it and what it costs; `per_unit` is by the unit's path.

    The decode state of a design that reads ahead is `null`: there is no decoder.

    A unit's figures include those below it; of equal blocks they are given once. Its verdicts are
    about itself: whether its results are causal (keep rows apart, do not tell the length) wherever
    its arguments are. So the unit that leaks is refuted and those around it are, but not what reads
    its results; `null` is a unit that nothing calls. Where the whole is proved every unit is, even
    one that reads ahead of an argument that its caller has moved back; where the whole is unknown,
    none is refuted.
    """
    parameters = summary.parameters
    costs, proofs = facts.costs, facts.proofs
    return {
        "design": summary.design,
        "scale": summary.scale,
        "width": summary.width,
        "blocks": summary.blocks,
        "vocab_size": summary.vocab_size,
        "fit": None if fit is None else str(fit),
        "parameters": {
            "total": parameters.total,
            "embedding": parameters.embedding,
            "per_block": list(parameters.per_block),
            "shared": parameters.shared,
            "final_norm": parameters.final_norm,
            "head": parameters.head,
            "per_unit": _per_unit(costs, lambda unit: _at(unit.parameters, length)),
        },
        "causality": _property(proofs.causality, facts, "causality"),
        "batch": _property(proofs.batch, facts, "batch"),
        "length": _property(proofs.length, facts, "length"),
        "receptive_field": {
            **_interval(proofs.receptive_field),
            "per_unit": _reads(facts, stack),
        },
        "at_length": length,
        "costs_of": "the optimised design, batch 1, floats of 4 bytes",
        **_costs(costs, length, facts.can_decode),
        "hash": {"structural": facts.hash, "per_unit": dict(facts.unit_hashes)},
        "tree": _node(summary.tree),
    }


def step_time_document(
    device: Device, time: StepTime, batch: int, length: int, assumptions: str
) -> dict[str, object]:
    """The roofline estimate of a training step."""
    return {
        "device": device.name,
        "batch": batch,
        "length": length,
        "seconds": time.seconds,
        "compute": time.compute,
        "memory": time.memory,
        "launches": time.launches,
        "measured": device.measured,
        "basis": device.basis,
        "assumptions": assumptions,
    }


def _property(found: Property, facts: Facts, subject: str) -> dict[str, object]:
    from gabc.check.causality.verdict import Subject

    per_unit = {
        path: verdicts and verdicts[Subject(subject)].value
        for path, verdicts in facts.verdicts.items()
    }
    return {"verdict": found.verdict.value, "holds_at": found.holds_at, "per_unit": per_unit}


def _reads(facts: Facts, stack: Stack) -> dict[str, object]:
    from gabc.runtime.inspect_facts import reads_of_units

    reads = reads_of_units(stack, facts.proofs)
    return {path: reach and _interval(reach) for path, reach in reads.items()}


def _interval(interval: tuple[Bound, Bound]) -> dict[str, object]:
    """Positions relative to the reader's own; `null` is no bound."""
    from gabc.runtime.inspect_facts import interval_text

    first, last = (_number(bound) for bound in interval)
    return {"first": first, "last": last, "text": interval_text(interval)}


def _number(bound: Bound) -> float | None:
    if not bound.is_finite:
        return None
    return int(bound.value) if bound.is_integral else float(bound.value)


def _costs(costs: Costs, length: int, can_decode: bool) -> dict[str, object]:
    def section(figures: Callable[[Amounts, int], dict[str, object]]) -> dict[str, object]:
        return {
            **figures(costs.total, length),
            "per_unit": _per_unit(costs, lambda unit: figures(unit.amounts, length)),
        }

    return {
        "flops": section(_flops),
        "state": {
            **section(_state if can_decode else _no_state),
            "decoding": str(costs.decoding) if can_decode else None,
            "decoding_per_unit": _per_unit(
                costs, lambda unit: str(unit.decoding) if can_decode else None
            ),
        },
        "activations": section(_activations),
        "launches": section(_launches),
        "intensity": section(_intensity),
    }


def _flops(amounts: Amounts, length: int) -> dict[str, object]:
    from gabc.check.cost import Asymptotic, per_token

    return {
        "forward_per_token": _per_token(amounts.forward, length),
        "training_per_token": _per_token(amounts.training, length),
        "forward_polynomial": str(per_token(amounts.forward)),
        "training_polynomial": str(per_token(amounts.training)),
        "class": str(Asymptotic.of(per_token(amounts.needed))),
    }


def _state(amounts: Amounts, length: int) -> dict[str, object]:
    from gabc.check.cost import Asymptotic

    return {
        "class": str(Asymptotic.of(amounts.state)),
        "bytes": _at(amounts.state, length),
        "polynomial": str(amounts.state),
    }


def _no_state(amounts: Amounts, length: int) -> dict[str, object]:
    return {"class": None, "bytes": None, "polynomial": None}


def _activations(amounts: Amounts, length: int) -> dict[str, object]:
    from gabc.check.cost import per_token

    return {
        "bytes_per_token": _per_token(amounts.saved, length),
        "polynomial": str(per_token(amounts.saved)),
    }


def _launches(amounts: Amounts, length: int) -> dict[str, object]:
    return {"forward": _at(amounts.launches, length), "polynomial": str(amounts.launches)}


def _intensity(amounts: Amounts, length: int) -> dict[str, object]:
    from gabc.cli.show_cost import intensity

    return {"flops_per_byte": round(intensity(amounts, length), 4)}


def _per_unit(costs: Costs, figure: Callable[[UnitCost], object]) -> dict[str, object]:
    return {unit.path: figure(unit) for unit in costs.units}


def _per_token(dim: Dim, length: int) -> int:
    from gabc.check.cost import value_at

    return round(value_at(dim, length) / length)


def _at(dim: Dim, length: int) -> int:
    from gabc.check.cost import value_at

    return round(value_at(dim, length))


def _node(unit: UnitSummary) -> dict[str, object]:
    return {
        "name": unit.name,
        "unit": unit.unit,
        "copies": unit.copies,
        "shared": unit.is_shared,
        "settings": dict(unit.settings),
        "takes": list(unit.takes),
        "gives": list(unit.gives),
        "parameters": unit.parameters,
        "own": [
            {"name": p.name, "shape": p.shape, "sizes": list(p.sizes), "count": p.count}
            for p in unit.own
        ],
        "children": [_node(child) for child in unit.children],
    }
