"""`gabc eval`: a trained checkpoint scored on held-out text and on tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gabc.cli.extras import needs
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.output import print_json, refuse_errors
from gabc.diagnostics.suggest import nearest

if TYPE_CHECKING:
    from gabc.data.corpus import Corpus
    from gabc.train.checkpoint import Checkpoint

HELD_OUT = "heldout"
RESULT = "result.json"


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
    ] = HELD_OUT,
    data: Annotated[
        Path | None,
        typer.Option(help="The text it was trained on, where DATA_DIR does not lead to it."),
    ] = None,
    heldout_limit: Annotated[
        int, typer.Option(min=0, help="Characters of held-out text, as in training; 0 takes all.")
    ] = 512 << 10,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score the first pairs of each subtask only.")
    ] = None,
    design: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Refuse a checkpoint that is not of this design."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Where the result goes. [{RESULT} in the run's folder]"),
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a checkpoint, after proof that it is the trained weights that are scored."""
    with needs("eval"):
        from rich.console import Console

        from gabc.cli.identity import rebuild
        from gabc.cli.tokenizers import tokenizer_named
        from gabc.data.corpus import load_corpus
        from gabc.data.locate import data_dir_from_environment
        from gabc.data.ngram import baselines
        from gabc.evaluate.harness import TASKS
        from gabc.evaluate.result import write_result
        from gabc.evaluate.run import evaluate as score
        from gabc.evaluate.table import leaderboards
        from gabc.train.checkpoint import open_checkpoint

    wanted = _tasks(tasks, list(TASKS))
    opened = open_checkpoint(checkpoint)
    data_dir = data_dir_from_environment()
    tokenizer = tokenizer_named(opened.record.data.tokenizer, data_dir)
    corpus = load_corpus(
        tokenizer, data=data, data_dir=data_dir, heldout_limit=heldout_limit or None
    )
    if data is None:
        _refuse_other_text(opened, corpus)
    result = score(
        opened.folder,
        rebuild,
        tokenizer,
        corpus,
        tasks=wanted,
        data_dir=data_dir,
        limit=limit,
        design_hash=_hash_of(design, opened, as_document) if design is not None else None,
    )
    place = out or opened.folder.parent / RESULT
    write_result(result, place)
    if as_document:
        print_json(json.loads(result.to_json()))
        return
    console = Console(highlight=False)
    for table in leaderboards([result], baselines(corpus)):
        console.print(table)
    before, now = result.proof_loss
    console.print(
        f"proof: the trainer's loss on the saved batch was {before:.5f}, and is {now:.5f} here; "
        f"weights {result.key.weights_sha256[:12]}"
    )
    print(place)


def _tasks(names: str, known: list[str]) -> list[str]:
    """The tasks beside held-out text. Raises `InputFault` with the nearest spelling."""
    wanted = []
    for name in dict.fromkeys(part.strip() for part in names.split(",") if part.strip()):
        if name == HELD_OUT:
            continue
        if name not in known:
            near = nearest(name, [HELD_OUT, *known])
            hint = (
                f"did you mean `{near}`?" if near else f"there are {HELD_OUT}, {', '.join(known)}"
            )
            raise InputFault(f"there is no task `{name}`; {hint}")
        wanted.append(name)
    return wanted


def _refuse_other_text(opened: Checkpoint, corpus: Corpus) -> None:
    """Without `--data` the text found must be the one of the training, or figures would mislead."""
    trained = opened.record.data
    if corpus.heldout.sha256 != trained.heldout_sha256:
        raise InputFault(
            f"{opened.folder} was trained on {trained.corpus}, and the text found here is "
            f"{corpus.name}, or another part or version of it; set DATA_DIR and --heldout-limit as "
            "they were, or name the text with --data"
        )


def _hash_of(path: Path, opened: Checkpoint, as_document: bool) -> str:
    """The hash of a design file at the checkpoint's scale."""
    from gabc.api import NoDesignError, elaborate
    from gabc.cli.identity import design_hash

    source, folder = load(path)
    try:
        design = elaborate(source, scale=opened.record.identity.scale, folder=folder)
    except NoDesignError as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    assert design.stack is not None
    return design_hash(design.stack)
