"""Runs lm-eval, unmodified and offline, on the task files of this package."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from lm_eval.evaluator import (  # type: ignore[import-untyped]
    evaluate as lm_eval_evaluate,
)
from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

from gabc.data.errors import DataError
from gabc.evaluate.lm import ScoringLM
from gabc.evaluate.result import SubtaskScore, TaskScore
from gabc.train.weights import file_sha256

TASKS = {"blimp_filtered": "blimp_filtered", "blimp_supplement": "supplement_filtered"}
"""Task name -> folder of its data inside DATA_DIR."""


def run_tasks(
    lm: ScoringLM, tasks: Sequence[str], data_dir: Path | None, limit: int | None = None
) -> tuple[TaskScore, ...]:
    """Score `tasks`; `limit` keeps the first pairs of each subtask, for a quick look.

    Raises:
        DataError: a task is unknown, or its data is missing from `data_dir`.
    """
    if not tasks:
        return ()
    _check(tasks, data_dir)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # lm-eval draws a progress bar per subtask while it builds requests, 72 of them in a second.
    with as_file(files("gabc.evaluate") / "tasks") as folder, _quiet():
        manager = TaskManager(
            include_path=str(folder), include_defaults=False, metadata={"data_dir": str(data_dir)}
        )
        results = lm_eval_evaluate(
            lm, manager.load(list(tasks)), limit=limit, bootstrap_iters=0, log_samples=False
        )
    assert results is not None  # None is for the ranks after the first, and there is one
    return tuple(_task_score(name, results, data_dir, limit) for name in tasks)


def _quiet() -> contextlib.redirect_stderr[io.StringIO]:
    return contextlib.redirect_stderr(io.StringIO())


def _check(tasks: Sequence[str], data_dir: Path | None) -> None:
    for name in tasks:
        if name not in TASKS:
            raise DataError(f"Unknown task `{name}`. Use one of: {', '.join(TASKS)}.")
        if data_dir is None:
            raise DataError(
                f"The task {name} needs minimal pairs. Set DATA_DIR to a copy of the BabyLM 2024 "
                f"evaluation data, the folder that holds {TASKS[name]}."
            )
        folder = data_dir / TASKS[name]
        if not folder.is_dir() or not any(folder.glob("*.jsonl")):
            raise DataError(
                f"The task {name} needs {folder} with its .jsonl files, and there are none. Set "
                "DATA_DIR to a copy of the BabyLM 2024 evaluation data."
            )


def _task_score(
    name: str, results: dict[str, Any], data_dir: Path | None, limit: int | None
) -> TaskScore:
    assert data_dir is not None
    subtasks = []
    for member in results["group_subtasks"][name]:
        metrics = results["results"][member]
        pairs = int(results["n-samples"][member]["effective"])
        subtask = member.split("::")[-1]
        subtasks.append(
            SubtaskScore(
                name=subtask,
                pairs=pairs,
                acc_strict=metrics["acc_strict,none"],
                acc=metrics["acc,none"],
                tie_rate=metrics["tie,none"],
                non_finite=round(metrics["non_finite,none"] * pairs),
                data_sha256=file_sha256(data_dir / TASKS[name] / f"{subtask}.jsonl"),
            )
        )
    return TaskScore(name, limit, tuple(subtasks))
