"""The report of a set of runs, as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from gabc.data.ngram import Baseline
from gabc.evaluate.board import boards
from gabc.evaluate.curves import draw_curves
from gabc.evaluate.result import RunResult
from gabc.evaluate.table import HEADINGS, cells, score_cells, score_headings

# A small model outside these bounds on BLiMP is more likely a fault than a finding.
_BAND = (0.45, 0.85)


def write_report(
    results: Sequence[RunResult],
    folder: Path,
    *,
    baselines: Sequence[Baseline] = (),
    trees: Mapping[str, str] | None = None,
) -> tuple[Path, Path]:
    """Write `report.md` and `report.html` into `folder` and return their paths.

    `trees` maps a design's hash to its tree of units as text. Results that cannot be compared are
    put in different tables.
    """
    environment = Environment(
        loader=PackageLoader("gabc.evaluate"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    # A zero-width space lets a browser break a long heading at an underscore.
    environment.filters["breakable"] = lambda text: text.replace("_", "_\u200b")
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    found = boards(results, baselines)
    context = {
        "boards": [
            {
                "board": board,
                "headings": HEADINGS + score_headings(board),
                "rows": [(row, cells(row) + score_cells(board, row)) for row in board.rows],
                "best": min(row.bits_per_byte.mean for row in board.rows),
                "worst": max(row.bits_per_byte.mean for row in board.rows),
                "plot": draw_curves([r for row in board.rows for r in row.runs], board.baselines),
            }
            for board in found
        ],
        "trees": dict(trees or {}),
        "notes": _notes(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in ("report.md", "report.html"):
        path = folder / name
        path.write_text(environment.get_template(f"{name}.j2").render(context), encoding="utf-8")
        written.append(path)
    return written[0], written[1]


def _notes(results: Sequence[RunResult]) -> list[str]:
    """What a reader must know before believing a figure."""
    notes = []
    for result in results:
        run = f"{result.key.design} {result.key.scale}, seed {result.key.seed}"
        for task in result.tasks:
            if task.limit is not None:
                notes.append(
                    f"{run}: {task.name} was scored on the first {task.limit} pairs of each "
                    "subtask only, a quick look and not a result."
                )
            elif not _BAND[0] <= task.acc_strict <= _BAND[1]:
                notes.append(
                    f"{run}: {task.acc_strict:.1%} on {task.name} is outside the {_BAND[0]:.0%} to "
                    f"{_BAND[1]:.0%} expected of a small model; audit it before use."
                )
    designs = {(r.key.design_hash, r.key.scale) for r in results}
    if any(len({r.key.seed for r in results if _same(r, d)}) < 3 for d in designs):
        notes.append("Differences between designs need at least three seeds each to be believed.")
    return notes


def _same(result: RunResult, design: tuple[str, str]) -> bool:
    return (result.key.design_hash, result.key.scale) == design
