"""Results to leaderboards: one per set of conditions, runs that differ in the seed in one row."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gabc.data.ngram import Baseline
from gabc.evaluate.result import RunResult


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds, and the standard deviation where there are several."""

    mean: float
    deviation: float | None

    @staticmethod
    def over(values: Sequence[float]) -> Figure:
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Figure(statistics.fmean(values), deviation)

    def text(self, digits: int, scale: float = 1.0) -> str:
        mean = f"{self.mean * scale:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation * scale:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """A design at a scale, trained the same way with one or more seeds; or a baseline (no runs).

    `accuracies` [task] are strict accuracies, None where a task was not scored.
    """

    name: str
    scale: str
    bits_per_byte: Figure
    loss: Figure
    extra: tuple[Figure, ...]
    accuracies: tuple[Figure | None, ...]
    runs: tuple[RunResult, ...]

    @property
    def is_baseline(self) -> bool:
        return not self.runs


@dataclass(frozen=True, slots=True)
class Board:
    """Rows that may be compared, best first.

    `extra` are the further texts that every run was scored on. `tasks` names the columns of
    accuracies and says where only the first pairs were scored.
    """

    corpus: str
    tokenizer: str
    heldout: str
    train_sha256: str
    heldout_sha256: str
    split_rule: str
    extra: tuple[str, ...]
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    baselines: tuple[Baseline, ...]


def boards(results: Sequence[RunResult], baselines: Sequence[Baseline] = ()) -> tuple[Board, ...]:
    """Leaderboards of `results`, each with the baselines of the same text."""
    groups: list[list[RunResult]] = []
    for result in results:
        # With every member: two that can stand beside a third need not go together.
        for group in groups:
            if all(result.key.comparable_with(member.key) for member in group):
                group.append(result)
                break
        else:
            groups.append([result])
    return tuple(_board(group, baselines) for group in groups)


def _board(group: list[RunResult], baselines: Sequence[Baseline]) -> Board:
    first = group[0]
    named = [{score.name for score in result.extra_heldout} for result in group]
    shared = set.intersection(*named)
    extra = tuple(score.name for score in first.extra_heldout if score.name in shared)
    tasks = tuple(dict.fromkeys(task.label for result in group for task in result.tasks))
    mine = tuple(
        baseline
        for baseline in baselines
        if (baseline.tokenizer_hash, baseline.train_sha256, baseline.heldout_sha256)
        == (first.key.tokenizer_hash, first.key.train_sha256, first.key.heldout_sha256)
    )
    by_design: dict[tuple[object, ...], list[RunResult]] = {}
    for result in group:
        by_design.setdefault(_design_key(result), []).append(result)
    rows = [_row(runs, extra, tasks) for runs in by_design.values()]
    rows += [_baseline_row(baseline, tasks) for baseline in mine]
    rows.sort(key=lambda row: row.bits_per_byte.mean)
    return Board(
        corpus=first.training.corpus,
        tokenizer=first.key.tokenizer,
        heldout=first.heldout.name,
        train_sha256=first.key.train_sha256,
        heldout_sha256=first.key.heldout_sha256,
        split_rule=first.training.split_rule,
        extra=extra,
        tasks=tasks,
        rows=tuple(rows),
        baselines=mine,
    )


def _design_key(result: RunResult) -> tuple[object, ...]:
    """Equal for runs that differ in their seed alone."""
    settings = {k: v for k, v in result.training.settings.items() if k != "seed"}
    key = result.key
    return (key.design_hash, key.scale, key.compiler_version, *sorted(settings.items()))


def _row(runs: list[RunResult], extra: tuple[str, ...], tasks: tuple[str, ...]) -> Row:
    scored = [{task.label: task.acc_strict for task in run.tasks} for run in runs]
    columns = [[scores[task] for scores in scored if task in scores] for task in tasks]
    others = [{score.name: score.bits_per_byte for score in run.extra_heldout} for run in runs]
    return Row(
        name=runs[0].key.design,
        scale=runs[0].key.scale,
        bits_per_byte=Figure.over([run.heldout.bits_per_byte for run in runs]),
        loss=Figure.over([run.heldout.loss for run in runs]),
        extra=tuple(Figure.over([scores[name] for scores in others]) for name in extra),
        accuracies=tuple(Figure.over(values) if values else None for values in columns),
        runs=tuple(runs),
    )


def _baseline_row(baseline: Baseline, tasks: tuple[str, ...]) -> Row:
    return Row(
        name=baseline.name,
        scale="",
        bits_per_byte=Figure(baseline.bits_per_byte, None),
        loss=Figure(baseline.loss, None),
        extra=(),
        accuracies=(None,) * len(tasks),
        runs=(),
    )
