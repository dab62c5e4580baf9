"""How an operation along time goes on with a sequence: what it keeps, what its rule is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gabc.dims import Dim

if TYPE_CHECKING:
    import torch

    from gabc.ops.evaluated import Evaluated


@dataclass(frozen=True, slots=True)
class Memory:
    """What an operation along time keeps of a sequence to go on with it.

    `time` are the operands with whose time axis it goes along, if they have one. Of those in
    `rings` it reads so many positions before the new ones, zeros before the start; of those in
    `caches` so many as there are, but not more than the bound (`None`: all). `by_row`: its rule
    wants rows that have had equally many positions.
    """

    time: tuple[str, ...]
    rings: Mapping[str, Dim] = field(default_factory=dict)
    caches: Mapping[str, Dim | None] = field(default_factory=dict)
    by_row: bool = False


class StreamCall(Protocol):
    """A call on the next T positions of a sequence, as a streaming rule sees it.

    Operands with a time axis come as [R, T, ...], R rows first (one, if the value has no batch
    axis), their other axes in order; results are returned alike, [R or 1, T, ...].
    """

    @property
    def args(self) -> Mapping[str, Evaluated]: ...

    @property
    def start(self) -> int:
        """How many positions came before these; asked for `by_row` only."""
        ...

    @property
    def positions(self) -> torch.Tensor:
        """Where the new positions stand: float [R or 1, T]."""
        ...

    def past(self, name: str) -> torch.Tensor:
        """An operand in `rings` or `caches` with what is kept of it in front: [R, N + T, ...]."""
        ...

    @property
    def carried(self) -> tuple[torch.Tensor, ...] | None:
        """What the rule carried on at the call before, rows first; `None` at the start."""
        ...

    def carry(self, *tensors: torch.Tensor) -> None: ...

    def helper(self, name: str) -> Callable[..., object]:
        """A function of `gabc.runtime.functional`."""
        ...
