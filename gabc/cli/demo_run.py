"""The stages of the main job: check and compile, train and score, compare, report."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from gabc import __version__
from gabc.api import Compiled, NoDesignError
from gabc.api import compile as compile_source
from gabc.cli.bundle import Bundle
from gabc.cli.demo_jobs import Job, Jobs
from gabc.cli.demo_plan import SEEDS, Plan
from gabc.cli.demo_watch import watch
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.identity import design_hash
from gabc.cli.show_tree import draw
from gabc.data.byte_tokenizer import ByteTokenizer
from gabc.data.corpus import Corpus, load_corpus
from gabc.data.ngram import Baseline, baselines
from gabc.diagnostics.render import render_text
from gabc.evaluate.report import write_report
from gabc.evaluate.result import RunResult
from gabc.evaluate.table import leaderboards
from gabc.runtime.inspect import inspect
from gabc.syntax.read import SourceError
from gabc.train.runs import runs_root

RECORD = "demo.json"
RESULT = "result.json"
_TREE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the main job came to. `failures` maps a design to its reason."""

    folder: Path
    plan: Plan
    results: tuple[RunResult, ...]
    baselines: tuple[Baseline, ...]
    failures: Mapping[str, str]
    report: tuple[Path, ...]
    seconds: float

    def document(self) -> dict[str, object]:
        """The outcome as `--json` prints it, and as it is kept beside the report."""
        return {
            "ok": not self.failures,
            "folder": str(self.folder),
            "plan": asdict(self.plan),
            "designs": {
                result.key.design: {
                    "bits_per_byte": result.heldout.bits_per_byte,
                    "loss": result.heldout.loss,
                    "parameters": result.training.parameters,
                    "tokens_per_second": result.training.tokens_per_second,
                    "tasks": {task.name: task.acc_strict for task in result.tasks},
                }
                for result in self.results
            },
            "baselines": {b.name: b.bits_per_byte for b in self.baselines},
            "failures": dict(self.failures),
            "report": [str(path) for path in self.report],
            "seconds": round(self.seconds, 1),
            "machine": {
                "python": platform.python_version(),
                "platform": platform.platform(),
                "cores": len(os.sched_getaffinity(0)),
                "gabc": __version__,
            },
        }


def _new_folder(name: str | None, is_replaced: bool) -> Path:
    """The new, empty folder of a demo; an earlier one of that name goes if it is to be replaced."""
    folder = runs_root() / (name or f"demo-{datetime.now():%Y%m%d-%H%M%S}")
    if folder.exists():
        if not (is_replaced and (folder / RECORD).is_file()):
            raise InputFault(
                f"{folder} exists; choose another --name, or pass --replace if it is an earlier "
                "demo"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}\n", encoding="utf-8")  # marks the folder as a demo's
    return folder


def run_demo(
    designs: Path,
    plan: Plan,
    *,
    name: str | None,
    is_replaced: bool,
    data_dir: Path | None,
    workers: int,
    quiet: bool,
) -> Outcome:
    """Take the five seeds from text to a report in the folder `name` of the runs.

    Raises:
        InputFault: the designs are not there, or the folder is.
        DataError: there is no usable text.
    """
    if not designs.is_dir():
        raise InputFault(
            f"there is no folder {designs}; run this where the project's examples/ lies, or name "
            "them with --designs"
        )
    started = time.monotonic()
    console = Console(quiet=quiet, highlight=False)
    corpus = load_corpus(
        ByteTokenizer(), data_dir=data_dir, heldout_limit=plan.heldout_limit or None
    )
    folder = _new_folder(name, is_replaced)
    console.print(
        f"{corpus.name}: {corpus.train_bytes:,} bytes to train on, {corpus.heldout.bytes:,} held "
        f"out; every design sees {plan.tokens:,} tokens at scale {plan.scale}",
        soft_wrap=True,
    )
    compiled, failures = _compile(designs, folder, plan, console)
    jobs = [
        Job(design.stack.name, Path(design.source.path), folder / design.stack.name.lower())
        for design in compiled
        if design.stack is not None
    ]
    found = _train_and_score(jobs, plan, workers, corpus, console)
    failures.update({job.name: job.failure for job in jobs if job.failure})
    results = tuple(_result(job) for job in jobs if not job.failure)
    report = _report(results, found, compiled, folder) if results else ()
    seconds = time.monotonic() - started
    outcome = Outcome(folder, plan, results, found, failures, report, seconds)
    (folder / RECORD).write_text(json.dumps(outcome.document(), indent=2) + "\n", encoding="utf-8")
    _conclude(outcome, console)
    return outcome


def _compile(
    designs: Path, folder: Path, plan: Plan, console: Console
) -> tuple[list[Compiled], dict[str, str]]:
    """Check and compile each seed; the reasons of those that fail."""
    compiled, failures = [], {}
    for name in SEEDS:
        path = designs / f"{name}.gab"
        started = time.perf_counter()
        try:
            source, siblings = load(path)
            design = compile_source(source, scale=plan.scale, folder=siblings)
        except (InputFault, SourceError, NoDesignError) as error:
            failures[path.name] = str(error)
            continue
        elapsed = (time.perf_counter() - started) * 1000
        if design.stack is None:
            failures[path.name] = "the design has errors"
            console.out(render_text(design.diagnostics, console.is_terminal))
            continue
        Bundle.of(design).write(folder / "compiled", force=True)
        compiled.append(design)
        console.print(f"{path}: checked and compiled in {elapsed:.0f} ms", soft_wrap=True)
    return compiled, failures


def _train_and_score(
    jobs: Sequence[Job], plan: Plan, workers: int, corpus: Corpus, console: Console
) -> tuple[Baseline, ...]:
    """Run every job to its end; the n-gram baselines are counted meanwhile."""
    running = Jobs(jobs, plan, workers)
    running.start()
    try:
        found = baselines(corpus)
        watch(jobs, running, plan, console)
    finally:
        running.close()
    return found


def _result(job: Job) -> RunResult:
    return RunResult.from_json((job.run / RESULT).read_text(encoding="utf-8"))


def _report(
    results: Sequence[RunResult],
    found: Sequence[Baseline],
    compiled: Sequence[Compiled],
    folder: Path,
) -> tuple[Path, ...]:
    """The report with the unit tree of each design as text."""
    trees = {}
    for design in compiled:
        assert design.stack is not None
        console = Console(width=_TREE_WIDTH, color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(draw(inspect(design.stack, ByteTokenizer.vocab_size)))
        trees[design_hash(design.stack)] = captured.get().rstrip()
    return write_report(results, folder, baselines=found, trees=trees)


def _conclude(outcome: Outcome, console: Console) -> None:
    for table in leaderboards(outcome.results, outcome.baselines):
        console.print(table)
    for baseline in outcome.baselines:
        better = sum(
            result.heldout.bits_per_byte < baseline.bits_per_byte for result in outcome.results
        )
        console.print(
            f"{better} of {len(outcome.results)} designs beat the {baseline.name} at "
            f"{baseline.bits_per_byte:.3f} bits per byte"
        )
    for name, reason in outcome.failures.items():
        console.print(f"[red]{name} failed[/red]: {reason}", soft_wrap=True)
    for path in outcome.report:
        console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"{outcome.seconds:.0f} s in all")
