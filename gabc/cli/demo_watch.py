"""How far each design of the demo has come, on the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gabc.cli.demo_jobs import Job, Jobs, Stage
from gabc.cli.demo_plan import Plan

_REFRESH = 0.5  # seconds


def watch(jobs: Sequence[Job], running: Jobs, plan: Plan, console: Console) -> None:
    """Show each job until all have ended: bars on a terminal, else a line per change of stage."""
    if console.is_terminal:
        _bars(jobs, running, plan, console)
    else:
        _lines(jobs, running, console)


def _bars(jobs: Sequence[Job], running: Jobs, plan: Plan, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = [progress.add_task(job.name, total=plan.steps, state="waiting") for job in jobs]
        while not running.are_done:
            _update(progress, bars, jobs)
            time.sleep(_REFRESH)
        _update(progress, bars, jobs)


def _update(progress: Progress, bars: Sequence[TaskID], jobs: Sequence[Job]) -> None:
    for bar, job in zip(bars, jobs, strict=True):
        step, loss = job.progress()
        state = job.stage.value if loss is None else f"{job.stage.value}, loss {loss:.3f}"
        progress.update(bar, completed=step, state=state)


def _lines(jobs: Sequence[Job], running: Jobs, console: Console) -> None:
    shown = dict.fromkeys(jobs, Stage.WAITING)
    while True:
        is_last = running.are_done
        for job in jobs:
            if shown[job] is not job.stage:
                shown[job] = job.stage
                console.print(_line(job), soft_wrap=True)
        if is_last:
            return
        time.sleep(_REFRESH)


def _line(job: Job) -> str:
    if job.stage is Stage.FAILED:
        return f"{job.name}: failed while {job.failure}"
    _, loss = job.progress()
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in job.seconds.items())
    detail = [] if loss is None else [f"loss {loss:.3f}"]
    return f"{job.name}: " + "; ".join([job.stage.value, *detail, *([spent] if spent else [])])
