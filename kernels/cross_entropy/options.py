"""The settings of a cross-entropy, and how losses of rows become one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class Options:
    """Rows whose target is `ignore_index` count for nothing; the rest as in `cross_entropy`."""

    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None

    def require_valid(self, caller: str) -> None:
        """ValueError that names the option at fault."""
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(
                f"{caller} needs 0 <= label_smoothing <= 1, got {self.label_smoothing}"
            )
        if not 0.0 <= self.z_loss < float("inf"):
            raise ValueError(f"{caller} needs a finite z_loss >= 0, got {self.z_loss}")
        if self.softcap is not None and not 0.0 < self.softcap < float("inf"):
            raise ValueError(
                f"{caller} needs a finite softcap > 0, or None for no cap, got {self.softcap}"
            )


def require_targets(caller: str, target: Tensor, ignore_index: int, vocabulary: int) -> None:
    """IndexError for a target that is neither ignored nor a class; reads the values."""
    wrong = (target != ignore_index) & ((target < 0) | (target >= vocabulary))
    if wrong.any():
        raise IndexError(
            f"{caller} needs targets of 0 to {vocabulary - 1}, or {ignore_index} to ignore a row, "
            f"got {target[wrong][0].item()}"
        )


def mean_over_targets(total: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """A sum of losses divided by the number of rows that are not ignored; NaN if all are."""
    return total / (target != ignore_index).sum()
