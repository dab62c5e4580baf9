"""Results as JSON, leaderboards and reports, from figures made up here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gabc.data.ngram import Baseline
from gabc.evaluate.board import boards
from gabc.evaluate.curves import draw_curves
from gabc.evaluate.report import write_report
from gabc.evaluate.result import (
    HeldOutScore,
    ResultKey,
    RunResult,
    SubtaskScore,
    TaskScore,
    TrainingSummary,
    write_result,
)
from gabc.evaluate.table import leaderboards

BASELINES = tuple(
    Baseline(name, loss, loss * 1.44, "tokenizer hash", "training hash", "held-out hash")
    for name, loss in (("trigram (Kneser-Ney)", 3.1), ("6-gram (Kneser-Ney)", 2.5))
)


@pytest.fixture
def result() -> RunResult:
    key = ResultKey(
        design="Tiny <&>",
        design_hash="hash-of-tiny",
        scale="14M",
        seed=0,
        compiler_version="0.1.0",
        evaluator_version="1",
        weights_sha256="weights hash",
        tokenizer="byte",
        tokenizer_hash="tokenizer hash",
        prefix_token=256,
        train_sha256="training hash",
        heldout_sha256="held-out hash",
        context=64,
        extra=(("wikitext-2/valid.txt", "c"),),
        tasks=(("blimp_supplement", "hash of the pairs"),),
    )
    subtasks = (
        SubtaskScore("one", 10, 0.5, 0.6, 0.1, 0, "a"),
        SubtaskScore("two", 30, 0.7, 0.7, 0.0, 0, "b"),
    )
    return RunResult(
        key=key,
        training=TrainingSummary(
            corpus="some text",
            split_rule="10% of 99 documents",
            parameters=83_072,
            steps=100,
            tokens=102_400,
            tokens_per_second=87_300.0,
            device="CPU",
            settings={"batch_tokens": 1024, "learning_rate": 0.01, "seed": 0},
            history=tuple((1024 * (i + 1), 2.7 + 3 / (i + 1)) for i in range(100)),
        ),
        heldout=HeldOutScore("held out", "held-out hash", 1000, 1000, 2.8, 4.04, 0),
        extra_heldout=(HeldOutScore("wikitext-2/valid.txt", "c", 500, 500, 3.0, 4.33, 0),),
        tasks=(TaskScore("blimp_supplement", None, subtasks),),
        proof_loss=(2.75, 2.75),
    )


def test_task_means(result: RunResult) -> None:
    (task,) = result.tasks
    assert (task.acc_strict, task.acc) == pytest.approx((0.6, 0.65))  # over subtasks
    assert task.tie_rate == pytest.approx(1 / 40)  # over pairs


def test_result_round_trip(result: RunResult, tmp_path: Path) -> None:
    write_result(result, tmp_path / "result.json")
    assert RunResult.from_json((tmp_path / "result.json").read_text()) == result


def _seeds(result: RunResult, count: int) -> list[RunResult]:
    return [
        replace(
            result,
            key=replace(result.key, seed=seed),
            heldout=replace(result.heldout, bits_per_byte=4.0 + 0.1 * seed),
        )
        for seed in range(count)
    ]


def test_seeds_share_a_row_and_conditions_share_a_board(result: RunResult) -> None:
    other_text = replace(result, key=replace(result.key, heldout_sha256="other"))
    first, second = boards([*_seeds(result, 3), other_text], BASELINES)
    assert not result.key.comparable_with(other_text.key)
    model = next(row for row in first.rows if not row.is_baseline)
    assert (len(model.runs), model.bits_per_byte.text(2)) == (3, "4.10 ± 0.10")
    assert [row.name for row in first.rows if row.is_baseline] == [
        "6-gram (Kneser-Ney)",
        "trigram (Kneser-Ney)",
    ]
    assert [row.bits_per_byte.mean for row in first.rows] == sorted(
        row.bits_per_byte.mean for row in first.rows
    )
    assert not second.baselines  # their figures are of other text


@pytest.mark.parametrize(
    "change",
    [
        {"context": 128},
        {"extra": (("wikitext-2/valid.txt", "other"),)},
        {"tasks": (("blimp_supplement", "other"),)},
        {"train_sha256": "other"},
        {"tokenizer_hash": "other"},
        {"evaluator_version": "other"},
    ],
)
def test_another_condition_is_another_board(result: RunResult, change: dict[str, Any]) -> None:
    other = replace(result, key=replace(result.key, **change))
    assert not result.key.comparable_with(other.key)
    assert not other.key.comparable_with(result.key)
    assert len(boards([result, other])) == 2


def test_runs_with_other_further_texts_share_what_both_have(
    result: RunResult, tmp_path: Path
) -> None:
    score = replace(result.extra_heldout[0], name="mine.txt", sha256="m")
    more = replace(
        result,
        key=replace(result.key, seed=1, extra=(*result.key.extra, ("mine.txt", "m"))),
        extra_heldout=(*result.extra_heldout, score),
    )
    none = replace(result, key=replace(result.key, seed=2, extra=()), extra_heldout=())
    for runs, extra in (([more, result], ("wikitext-2/valid.txt",)), ([more, none, result], ())):
        (board,) = boards(runs)
        assert board.extra == extra
        assert [len(row.extra) for row in board.rows] == [len(extra)]
        write_report(runs, tmp_path)


def test_two_that_stand_beside_a_third_need_not_go_together(result: RunResult) -> None:
    bare = replace(result, key=replace(result.key, tasks=(), seed=1), tasks=())
    other = replace(result, key=replace(result.key, tasks=(("blimp_supplement", "other"),), seed=2))
    assert [len(board.rows[0].runs) for board in boards([bare, result, other])] == [2, 1]


def test_report_is_self_contained_and_escaped(result: RunResult, tmp_path: Path) -> None:
    quick = replace(result, tasks=tuple(replace(task, limit=5) for task in result.tasks))
    tree = "Tiny\n└─ <script>alert(1)</script>"
    markdown, page = write_report(
        [quick], tmp_path, baselines=BASELINES, trees={"hash-of-tiny": tree}
    )
    html = page.read_text()
    assert not re.search(r"https?://|<script|<link|src=|@import|url\(", html)
    assert "&lt;script&gt;" in html
    assert "Tiny &lt;&amp;&gt;" in html
    assert html.count("<polyline") == 1
    for text in (html, markdown.read_text()):
        assert "trigram (Kneser-Ney)" in text
        assert f"{result.heldout.bits_per_byte:.3f}" in text
        assert "first 5 pairs of each subtask" in text
        assert "three seeds" in text
    table = [line for line in markdown.read_text().splitlines() if line.startswith("| ")][:3]
    assert len({line.count("|") for line in table}) == 1


def test_terminal_leaderboard(result: RunResult, tmp_path: Path) -> None:
    console = Console(record=True, width=160, file=(tmp_path / "out").open("w"))
    for table in leaderboards([result], BASELINES):
        console.print(table)
    text = console.export_text()
    assert "Tiny <&>" in text
    assert f"{result.heldout.bits_per_byte:.3f}" in text
    assert "trigram" in text


def test_curves_stay_inside_the_drawing(result: RunResult) -> None:
    plot = draw_curves(_seeds(result, 2), BASELINES)
    assert plot is not None
    assert len(plot.curves) == 2
    assert len(plot.legend) == 1
    for curve in plot.curves:
        points = [tuple(map(float, pair.split(","))) for pair in curve.points.split()]
        assert all(plot.left <= x <= plot.right and plot.top <= y <= plot.bottom for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert points[0][1] < points[-1][1]  # the loss falls, and down is larger in SVG
    assert [mark.label for mark in plot.x_marks] == ["2k", "5k", "10k", "20k", "50k", "100k"]
    no_history = replace(result, training=replace(result.training, history=()))
    assert draw_curves([no_history], ()) is None


def test_an_implausible_score_is_noted(result: RunResult, tmp_path: Path) -> None:
    high = SubtaskScore("one", 10, 0.95, 0.95, 0.0, 0, "a")
    suspect = replace(result, tasks=(TaskScore("blimp_filtered", None, (high,)),))
    markdown, _ = write_report([suspect], tmp_path)
    assert "95.0% on blimp_filtered is outside the 45% to 85%" in markdown.read_text()
