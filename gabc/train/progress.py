"""A progress bar on the terminal: loss and speed."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gabc.train.history import HistoryWriter


class ProgressBar(TrainerCallback):
    """Shows `history`, whose callback must come before this one. Draws on a terminal only."""

    def __init__(self, console: Console, history: HistoryWriter) -> None:
        self._history = history
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TimeRemainingColumn(),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task("training", loss="-", speed="-")

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        self._progress.stop()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        step = self._history.last
        if step is not None:
            self._progress.update(
                self._task,
                completed=step.step,
                loss=f"{step.loss:.3f}",
                speed=f"{self._history.tokens_per_second:,.0f}",
            )
