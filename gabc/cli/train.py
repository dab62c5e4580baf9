"""`gabc train`: a design trained on text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.extras import needs
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.data.limits import DEFAULT_HELDOUT_LIMIT, DEFAULT_TRAIN_LIMIT
from gabc.elaborate.scales import DEFAULT_SCALE

if TYPE_CHECKING:
    from gabc.api import Compiled


def train(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A design; `-` is standard input.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of the whole run.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A .txt file or a folder of them. [what DATA_DIR holds, else the source of "
            "Python's standard library]"
        ),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="S", help=f"The size to train. [{DEFAULT_SCALE}]")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="Change depth or width to within 2% of this scale's reference size."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences per step.")] = 16,
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences on the device at once. [all of the batch]")
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="Tokens per sequence.")] = 256,
    lr: Annotated[
        float | None, typer.Option(min=0.0, help="Peak learning rate. [the scale's, else 3e-3]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial values and of the order.")] = 0,
    tokenizer: Annotated[str, typer.Option(help="`byte`, or `gpt2` from DATA_DIR.")] = "byte",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder. [in CKPT_DIR, else in runs/]"),
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 1000,
    train_limit: Annotated[
        int, typer.Option(min=0, help="Characters of text to train on; 0 takes all.")
    ] = DEFAULT_TRAIN_LIMIT,
    heldout_limit: Annotated[
        int, typer.Option(min=0, help="Characters of text to hold out for scoring; 0 takes all.")
    ] = DEFAULT_HELDOUT_LIMIT,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint.")] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a design: packed sequences, AdamW, checkpoints that resume exactly."""
    elaborated = _elaborated(file, scale, fit, as_document)
    with needs("train"):
        from gabc.cli.train_run import TrainRequest, run_training

    request = TrainRequest(
        steps=steps,
        data=data,
        batch=batch,
        micro_batch=micro_batch,
        length=length,
        learning_rate=lr,
        seed=seed,
        tokenizer=tokenizer,
        out=out,
        save_every=save_every,
        train_limit=train_limit,
        heldout_limit=heldout_limit,
        resume=resume,
    )
    run_training(elaborated, request, as_document)


def _elaborated(file: Path, scale: str | None, fit: str | None, as_document: bool) -> Compiled:
    """The design of `file` at its size. Raises `InputFault`, or `FoundErrors` for its errors."""
    from gabc.api import NoDesignError, elaborate
    from gabc.runtime.scale_fit import FitError

    wanted, is_fitted = scale_or_fit(scale, fit)
    source, folder = load(file)
    try:
        design = elaborate(source, scale=wanted, fit=is_fitted, folder=folder)
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    return design
