"""The three answers to a question about dims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    PROVED = "proved"
    REFUTED = "refuted"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Proved for all sizes, refuted by small sizes that satisfy every fact, or open.

    `counterexample` maps names to sizes >= 1 and is present exactly when refuted.
    """

    status: Status
    counterexample: Mapping[str, int] | None = None

    @property
    def proved(self) -> bool:
        return self.status is Status.PROVED

    @property
    def refuted(self) -> bool:
        return self.status is Status.REFUTED

    @property
    def open(self) -> bool:
        return self.status is Status.OPEN

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three values: ask for .proved, .refuted or .open")


PROVED = Verdict(Status.PROVED)
OPEN = Verdict(Status.OPEN)
