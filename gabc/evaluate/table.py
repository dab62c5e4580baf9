"""The leaderboard on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from gabc.data.ngram import Baseline
from gabc.evaluate.board import Board, Row, boards
from gabc.evaluate.result import RunResult


def leaderboards(
    results: Sequence[RunResult], baselines: Sequence[Baseline] = ()
) -> tuple[Table, ...]:
    """One rich table per set of conditions under which results can be compared."""
    return tuple(_table(board) for board in boards(results, baselines))


def cells(row: Row) -> tuple[str, ...]:
    """Design, scale, seeds, parameters, trained tokens, tokens per second, loss, bits per byte."""
    if row.is_baseline:
        return row.name, "", "", "", "", "", row.loss.text(3), row.bits_per_byte.text(3)
    training = [run.training for run in row.runs]
    return (
        row.name,
        row.scale,
        str(len(row.runs)),
        short_number(training[0].parameters),
        short_number(training[0].tokens),
        short_number(_speed(row)),
        row.loss.text(3),
        row.bits_per_byte.text(3),
    )


HEADINGS = ("design", "scale", "seeds", "parameters", "tokens", "tokens/s", "loss", "bits/byte")


def score_cells(board: Board, row: Row) -> tuple[str, ...]:
    """Bits per byte of the further held-out texts, then strict accuracies in per cent."""
    extra = [figure.text(3) for figure in row.extra] or [""] * len(board.extra)
    accuracies = [figure.text(1, 100) if figure else "" for figure in row.accuracies]
    return (*extra, *accuracies)


def score_headings(board: Board) -> tuple[str, ...]:
    """The columns of `score_cells`."""
    return (*(f"{name} bits/byte" for name in board.extra), *(f"{t} %" for t in board.tasks))


def _table(board: Board) -> Table:
    """Fits 80 columns: the full figures are in the report."""
    table = Table(
        title=f"{board.corpus}, tokenizer {board.tokenizer}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("design", no_wrap=True, overflow="ellipsis")
    for heading in ("params", "tokens/s", "bits/byte", *board.tasks):
        words = heading.replace("_", "\n").replace(" (", "\n(")
        table.add_column(words, justify="right", no_wrap=True)
    for row in board.rows:
        name = f"{row.name} {row.scale}".strip() + (f" x{len(row.runs)}" if row.runs[1:] else "")
        accuracies = [f"{figure.text(1, 100)}%" if figure else "" for figure in row.accuracies]
        parameters, speed = "", ""
        if row.runs:
            parameters = short_number(row.runs[0].training.parameters)
            speed = short_number(_speed(row))
        style = "dim italic" if row.is_baseline else None
        table.add_row(
            escape(name), parameters, speed, row.bits_per_byte.text(3), *accuracies, style=style
        )
    return table


def short_number(value: float) -> str:
    """Three digits and a letter: 83.1k, 5.28M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _speed(row: Row) -> float:
    return sum(run.training.tokens_per_second for run in row.runs) / len(row.runs)
