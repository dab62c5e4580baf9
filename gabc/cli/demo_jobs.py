"""Designs trained and scored side by side, each in processes of its own with one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from gabc.cli.demo_plan import Plan

HISTORY = "history.jsonl"


class Stage(Enum):
    WAITING = "waiting"
    TRAINING = "training"
    SCORING = "scoring"
    DONE = "done"
    FAILED = "failed"


@dataclass(eq=False)
class Job:
    """One design on its way. `run` is its folder; `seconds` is how long each stage took."""

    name: str
    design: Path
    run: Path
    stage: Stage = Stage.WAITING
    failure: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def progress(self) -> tuple[int, float | None]:
        """Steps done, and the loss of the last one, read from the run's history."""
        try:
            lines = (self.run / HISTORY).read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return 0, None
        whole = lines[:-1]  # the last piece is empty, or a line being written
        if not whole:
            return 0, None
        last = json.loads(whole[-1])
        return last["step"], last["loss"]


class Jobs:
    """Runs jobs on a few workers; a job that fails does not touch the others."""

    def __init__(self, jobs: Sequence[Job], plan: Plan, workers: int) -> None:
        self._jobs = jobs
        self._plan = plan
        self._pool = ThreadPoolExecutor(workers)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Begin; `are_done` says when all have ended."""
        self._futures = [self._pool.submit(self._run, job) for job in self._jobs]

    @property
    def are_done(self) -> bool:
        return all(future.done() for future in self._futures)

    def close(self) -> None:
        """End whatever still runs (after an interrupt) and wait for it."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        for future in self._futures:
            if not future.cancelled():
                future.result()

    def _run(self, job: Job) -> None:
        stages = (
            (Stage.TRAINING, self._plan.train_command(job.design, job.run)),
            (Stage.SCORING, self._plan.eval_command(job.run)),
        )
        for stage, command in stages:
            job.stage = stage
            started = time.monotonic()
            failure = self._execute(command, job.run.with_suffix(f".{stage.value}.log"))
            job.seconds[stage.value] = time.monotonic() - started
            if failure:
                job.failure = f"{stage.value}: {failure}"
                job.stage = Stage.FAILED
                return
        job.stage = Stage.DONE

    def _execute(self, arguments: list[str], log: Path) -> str:
        """Run `gabc`; what it prints goes to `log`. Returns the reason if it failed."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output, self._lock:
            if self._stopped:
                return "interrupted"
            process = subprocess.Popen(
                [sys.executable, "-m", "gabc", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        return "" if status == 0 else _reason(log, status)


def _reason(log: Path, status: int) -> str:
    """The sentence with which `gabc` ended, or its status."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix("gabc: ") for line in lines if line.startswith("gabc: ")]
    return said[-1] if said else f"ended with status {status}; see {log}"
