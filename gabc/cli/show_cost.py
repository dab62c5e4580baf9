"""`gabc show --cost`: what each unit costs, and how that grows with the length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gabc.cli.diff import totals_of, units_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from gabc.check.cost import Amounts, Costs, Device, StepTime, UnitCost

TERMS = (
    "costs of the optimised design as compiled, batch 1, floats of 4 bytes; a unit's include those "
    "below it, and `x N` equal blocks are given once"
)

NO_DECODER = "the design reads ahead, so that nothing can decode it: the states mean nothing"


def numbers(costs: Costs, length: int) -> Table:
    """A row for each unit and one for the whole, at one length."""
    from rich.table import Table

    table = Table(title=f"Costs at length {length:,}", title_justify="left", box=None)
    table.add_column("unit", no_wrap=True)
    for title in (
        "parameters",
        "FLOPs/token\nforward",
        "FLOPs/token\ntraining",
        "activation\nbytes/token",
        "state\nbytes",
        "launches",
        "time\nper token",
        "decoding",
    ):
        table.add_column(title, justify="right")
    units = units_of(costs, length)
    for unit in costs.units:
        figures = [f"{number:,}" for number in units[unit.path].values()]
        table.add_row(_name(unit), *figures, time_class(unit.amounts), str(unit.decoding))
    total = [f"{number:,}" for number in totals_of(costs, length).values()]
    table.add_section()
    table.add_row(costs.design, *total, str(costs.time), str(costs.decoding), style="bold")
    return table


def polynomials(costs: Costs) -> Table:
    """Forward FLOPs and decode state of each unit and of the whole as functions of the length L."""
    from rich.table import Table

    table = Table(title="As functions of the length", title_justify="left", box=None)
    table.add_column("unit", no_wrap=True)
    for title in ("FLOPs/token forward", "state bytes"):
        table.add_column(title, overflow="fold")
    for unit in costs.units:
        table.add_row(_name(unit), forward_of(unit.amounts), str(unit.amounts.state))
    table.add_section()
    table.add_row(costs.design, forward_of(costs.total), str(costs.total.state), style="bold")
    return table


def recomputed_lines(costs: Costs) -> Iterator[str]:
    """For each unit that a decoder computes again from the start, why."""
    for unit in costs.units:
        if unit.hindrance is not None:
            yield (
                f"a decoder computes {unit.path} again from the start of the sequence for every "
                f"token: `{unit.hindrance}` has no streaming form there"
            )


def totals_as_polynomials(costs: Costs, length: int) -> Iterator[str]:
    """The measures of the whole design that the table of units leaves out."""
    from gabc.check.cost import per_token

    yield f"training FLOPs/token: {per_token(costs.total.training)}"
    yield f"activation bytes/token: {per_token(costs.total.saved)}"
    yield f"launches: {costs.total.launches}"
    yield (
        f"arithmetic intensity, forward: {intensity(costs.total, length):.2f} FLOPs per byte moved"
    )


def intensity(amounts: Amounts, length: int) -> float:
    """FLOPs of a forward pass for each byte that its kernels read or write."""
    from gabc.check.cost import value_at

    moved = value_at(amounts.traffic, length)
    return value_at(amounts.forward, length) / moved if moved else 0.0


def forward_of(amounts: Amounts) -> str:
    """Forward FLOPs of one token as a function of L."""
    from gabc.check.cost import per_token

    return str(per_token(amounts.forward))


def time_class(amounts: Amounts) -> str:
    """How the time of a token grows with L."""
    from gabc.check.cost import Asymptotic, per_token

    return str(Asymptotic.of(per_token(amounts.needed)))


def estimate(device: Device, time: StepTime, batch: int, length: int) -> Iterator[str]:
    """The roofline estimate of a training step, and what it takes for granted."""
    rate = batch * length / time.seconds
    yield (
        f"{device.name}: at least {_seconds(time.seconds)} for a training step of {batch} x "
        f"{length:,} tokens ({rate:,.0f} tokens/s)"
    )
    yield (
        f"    of that {_seconds(time.compute)} of arithmetic, {_seconds(time.memory)} of memory "
        f"traffic, {_seconds(time.launches)} of launches, each as if alone"
    )
    yield f"    {device.basis}"
    yield f"    {ASSUMPTIONS}"


ASSUMPTIONS = (
    "assumed: a roofline for each unit, units one after another, eager kernels, floats of 4 bytes, "
    "no optimiser step; a real step takes longer unless kernels are fused"
)


def _name(unit: UnitCost) -> str:
    """The last part of the path, indented by its depth."""
    from gabc.runtime.inspect_facts import path_parts

    *above, last = path_parts(unit.path)
    copies = f" x {unit.copies}" if unit.copies > 1 and not above else ""
    return f"{'  ' * len(above)}{last}{copies}: {unit.unit}"


def _seconds(time: float) -> str:
    return f"{time * 1e3:,.2f} ms" if time < 1 else f"{time:,.2f} s"
