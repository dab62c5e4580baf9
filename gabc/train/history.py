"""The history of a run: one JSON line per optimiser step."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gabc.train.errors import TrainingError

HISTORY = "history.jsonl"
AUXILIARY = "auxiliary/"
"""The prefix of an auxiliary loss's name among the figures that Trainer logs."""
SHOWN = 3
"""How many parameters a message names."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: its mean loss in nats per token, and the target tokens seen up to it.

    `auxiliary` are the design's auxiliary losses by name, means over the step's micro-batches. What
    was minimised is `loss` and their sum.
    """

    step: int
    tokens: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    auxiliary: dict[str, float] = field(default_factory=dict)


def read_history(path: Path) -> tuple[Step, ...]:
    """The steps of a history file, in order; none where there is no file.

    A last line that was cut off by a crash is left out: training resumes before it.
    """
    if not path.is_file():
        return ()
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    del last  # empty after a whole line, a fragment after a crash
    return tuple(Step(**json.loads(line)) for line in lines)


class HistoryWriter(TrainerCallback):
    """Appends each step to `path` and stops the run at a loss or gradient that is not a number.

    `from_step` is where the run begins: later lines, left by a run that broke off, are dropped.
    """

    def __init__(self, path: Path, batch_tokens: int, from_step: int) -> None:
        self._path = path
        self._batch_tokens = batch_tokens
        kept = [step for step in read_history(path) if step.step <= from_step]
        path.write_text("".join(_line(step) for step in kept), encoding="utf-8")
        self.last: Step | None = kept[-1] if kept else None
        self._session: list[Step] = []
        self._mark = 0.0
        self._unsound: tuple[str, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """Mean speed of this session without its first step, which compiles and warms up."""
        timed = self._session[1:] or self._session
        seconds = sum(step.seconds for step in timed)
        return len(timed) * self._batch_tokens / seconds if seconds > 0 else 0.0

    def note_unsound(self, names: tuple[str, ...]) -> None:
        """The parameters whose gradient is not finite in the step that is about to be recorded."""
        self._unsound = names

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._mark = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        state.log_history.clear()  # one line per step would make every checkpoint's state grow
        if logs is None or "loss" not in logs:
            return
        now = time.perf_counter()
        auxiliary = {
            name.removeprefix(AUXILIARY): value
            for name, value in logs.items()
            if name.startswith(AUXILIARY)
        }
        step = Step(
            step=state.global_step,
            tokens=state.global_step * self._batch_tokens,
            loss=logs["loss"] - sum(auxiliary.values()),
            learning_rate=logs["learning_rate"],
            gradient_norm=logs["grad_norm"],
            seconds=now - self._mark,
            auxiliary=auxiliary,
        )
        self._mark = now
        _require_finite(step, self._unsound)
        self.last = step
        self._session.append(step)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_line(step))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._mark = time.perf_counter()  # writing a checkpoint is not training


def _require_finite(step: Step, unsound: tuple[str, ...]) -> None:
    figures = {f"auxiliary loss `{name}`": value for name, value in step.auxiliary.items()}
    figures |= {"loss": step.loss, "gradient norm": step.gradient_norm}
    for name, value in figures.items():
        if not math.isfinite(value):
            # At the first step nothing has been learned at any rate.
            advice = "Check" if step.step == 1 else "Lower the learning rate, or check"
            raise TrainingError(
                f"The {name} is {value} at step {step.step}, so training stopped there. "
                f"{_places(unsound)}{advice} the design for a division, a root, a logarithm or an "
                "exponential without a bound."
            )


def _places(unsound: tuple[str, ...]) -> str:
    if not unsound:
        return ""
    shown = ", ".join(f"`{name}`" for name in unsound[:SHOWN])
    more = f" and {len(unsound) - SHOWN} more" if len(unsound) > SHOWN else ""
    return f"The gradient is not finite in {shown}{more}. "


def _line(step: Step) -> str:
    return json.dumps(asdict(step)) + "\n"
