"""`gabc train`: a design trained on text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.extras import needs
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.scales import scale_or_fit
from gabc.elaborate.scales import DEFAULT_SCALE
from gabc.graph.instance import Scale

_LEARNING_RATE = 3e-3  # for widths below the table's


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
    ] = 4 << 20,
    heldout_limit: Annotated[
        int, typer.Option(min=0, help="Characters of text to hold out for scoring; 0 takes all.")
    ] = 512 << 10,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint.")] = False,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a design: packed sequences, AdamW, checkpoints that resume exactly."""
    wanted, is_fitted = scale_or_fit(scale, fit)
    source, folder = load(file)

    from gabc.api import NoDesignError, elaborate
    from gabc.runtime.scale_fit import FitError

    try:
        design = elaborate(source, scale=wanted, fit=is_fitted, folder=folder)
    except (NoDesignError, FitError) as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    stack = design.stack
    assert stack is not None

    with needs("train"):
        from rich.console import Console

        from gabc.cli.identity import identity_of
        from gabc.cli.tokenizers import tokenizer_named
        from gabc.data.corpus import load_corpus
        from gabc.data.locate import data_dir_from_environment
        from gabc.runtime.model import build
        from gabc.train.run import train as train_model
        from gabc.train.runs import runs_root
        from gabc.train.settings import TrainingSettings

    data_dir = data_dir_from_environment()
    tokens = tokenizer_named(tokenizer, data_dir)
    settings = TrainingSettings(
        steps=steps,
        learning_rate=_learning_rate(lr, stack.scale),
        batch_tokens=batch * length,
        context=length,
        micro_batch=micro_batch or batch,
        seed=seed,
        save_every=save_every,
    )
    corpus = load_corpus(
        tokens,
        data=data,
        data_dir=data_dir,
        train_limit=train_limit or None,
        heldout_limit=heldout_limit or None,
    )
    model = build(stack, vocab_size=tokens.vocab_size, seed=seed)
    run_folder = out or runs_root() / f"{stack.name.lower()}-{stack.scale.name}-seed{seed}"
    console = Console(stderr=True, highlight=False)
    if not as_document:
        if design.fit is not None:
            console.print(str(design.fit))
        console.print(
            f"{stack.name} at {stack.scale.name} on {corpus.name}: {steps:,} steps of "
            f"{settings.batch_tokens:,} tokens ({tokens.name})"
        )
    finished = train_model(
        model,
        identity_of(stack, tokens.vocab_size, seed),
        corpus,
        settings,
        run_folder,
        resume=resume,
        console=Console(quiet=True) if as_document else console,
    )
    progress = finished.record.progress
    if as_document:
        print_json(
            {
                "ok": True,
                "design": stack.name,
                "scale": stack.scale.name,
                "fit": None if design.fit is None else str(design.fit),
                "corpus": corpus.name,
                "tokenizer": tokens.name,
                "parameters": progress.parameters,
                "steps": progress.step,
                "tokens": progress.tokens,
                "loss": progress.loss,
                "tokens_per_second": progress.tokens_per_second,
                "device": progress.device,
                "checkpoint": str(finished.checkpoint),
                "history": str(finished.history),
            }
        )
        return
    console.print(
        f"loss {progress.loss:.3f} after {progress.step:,} steps, "
        f"{progress.tokens_per_second:,.0f} tokens/s, {progress.parameters:,} parameters"
    )
    print(finished.checkpoint)


def _learning_rate(given: float | None, scale: Scale) -> float:
    if given is not None:
        return given
    return scale.learning_rate or _LEARNING_RATE
