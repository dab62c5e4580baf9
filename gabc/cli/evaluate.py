"""`gabc eval`: a trained checkpoint scored on held-out text and on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.extras import needs


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, or a run's folder.")
    ],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="T,...",
            help="`heldout` (always scored), `blimp_filtered`, `blimp_supplement`.",
        ),
    ] = "heldout",
    data: Annotated[
        Path | None,
        typer.Option(help="The text it was trained on, where DATA_DIR does not lead to it."),
    ] = None,
    extra: Annotated[
        list[Path] | None,
        typer.Option(help="Score another text too, under its own name; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score the first pairs of each subtask only.")
    ] = None,
    design: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Refuse a checkpoint that is not of this design."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where it goes. [result.json in the run's folder]"),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score models that know nothing in the same way, and write their scores to FILE.",
        ),
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a checkpoint, after proof that it is the trained weights that are scored."""
    with needs("eval"):
        from gabc.cli.evaluate_run import EvalRequest, run_evaluation

    request = EvalRequest(checkpoint, tasks, data, extra or (), limit, design, out, controls)
    run_evaluation(request, as_document)
