"""What `gabc demo` does with each design, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEEDS = ("gpt2", "mamba2", "retnet", "rwkv6", "ttt")
"""The designs of the main job, by their files in `examples/`."""

TASK = "blimp_filtered"
SCALE = "64x2"
STEPS = 1200

_QUICK_STEPS = 30
_HELDOUT, _QUICK_HELDOUT = 256 << 10, 32 << 10  # characters
_PAIRS, _QUICK_PAIRS = 50, 2  # of each subtask


@dataclass(frozen=True, slots=True)
class Plan:
    """One size and one budget for all designs, so that the leaderboard compares designs alone.

    `batch` and `length` are sequences per step and tokens per sequence. `blimp_limit` is how many
    pairs of each BLiMP subtask are scored, or `None` where there is no DATA_DIR.
    """

    scale: str
    steps: int
    batch: int
    length: int
    learning_rate: float
    seed: int
    heldout_limit: int
    blimp_limit: int | None

    @property
    def tokens(self) -> int:
        return self.steps * self.batch * self.length

    def train_command(self, design: Path, run: Path) -> list[str]:
        """The arguments of `gabc` that train one design."""
        return [
            *("train", str(design), "--scale", self.scale, "--steps", str(self.steps)),
            *("--batch", str(self.batch), "--length", str(self.length)),
            *("--lr", str(self.learning_rate), "--seed", str(self.seed)),
            *("--heldout-limit", str(self.heldout_limit), "--out", str(run), "--json"),
        ]

    def eval_command(self, run: Path) -> list[str]:
        """The arguments of `gabc` that score it."""
        tasks: Sequence[str] = ()
        if self.blimp_limit is not None:
            tasks = ("--tasks", TASK, "--limit", str(self.blimp_limit))
        return ["eval", str(run), *tasks, "--json"]


def plan_of(scale: str, steps: int | None, seed: int, is_quick: bool, has_data: bool) -> Plan:
    """The plan of the main job: ten minutes at most for five designs on two cores.

    A quick one runs every stage, and its figures mean nothing.
    """
    pairs = _QUICK_PAIRS if is_quick else _PAIRS
    return Plan(
        scale=scale,
        steps=steps or (_QUICK_STEPS if is_quick else STEPS),
        batch=16,
        length=128,
        learning_rate=3e-3,
        seed=seed,
        heldout_limit=_QUICK_HELDOUT if is_quick else _HELDOUT,
        blimp_limit=pairs if has_data else None,
    )
