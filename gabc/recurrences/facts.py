"""What is said of a recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from gabc.syntax.source import Span


class RecurrenceClass(Enum):
    """What a state's step is, and with it what computes it."""

    ELEMENTWISE = "elementwise"  # h = a h + b
    MAX_PLUS = "max-plus"  # m = max(m + f, i)
    OUTER_PRODUCT = "decayed outer product"  # S = diag(a) S + k v^T
    DELTA = "delta rule"  # S = diag(a) S + r (l^T S) + k v^T
    DELTA_PRODUCT = "delta product"  # several delta rules, one after another
    SEQUENTIAL = "sequential"  # a loop over time
    CHUNKED = "chunked"  # a loop over chunks, as the author wrote it


class Remedy(StrEnum):
    """What would make a loop parallel, by what has stood against it."""

    LINEAR = "scale the state by, and add to it, only what does not depend on it: `h = a * h + b`"
    DECAY = "write the decay as `exp(...)` or `sigmoid(...)`, which are above zero"
    CALL = "call the unit before the `scan`, on what does not depend on the state"
    MATRIX = "let the state be scaled by a diagonal, or changed by `r (l^T S)`"
    FIRST = "let the state decay before the first of its updates"
    ORDER = "let the states depend on one another in one order only"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """One state. `decay` is "none", "head", "key" or "value", or empty where it is no matrix.

    `updates` of rank one follow on each other in a step.
    """

    name: str
    kind: RecurrenceClass
    decay: str = ""
    updates: int = 1


@dataclass(frozen=True, slots=True)
class RecurrenceFacts:
    """One scan. `unit` is its path in the block, `launches` the operations of a step.

    Of a sequential one: `reason` and its place, and in `remedy` what would make it parallel.
    """

    unit: str
    span: Span
    states: tuple[StateFacts, ...]
    launches: int
    reason: str = ""
    reason_span: Span | None = None
    remedy: str = ""

    @property
    def kind(self) -> RecurrenceClass:
        """The class of the scan: that of its last state, or that it is a loop."""
        return self.states[-1].kind if self.states else RecurrenceClass.ELEMENTWISE

    @property
    def is_parallel(self) -> bool:
        return self.kind not in (RecurrenceClass.SEQUENTIAL, RecurrenceClass.CHUNKED)
