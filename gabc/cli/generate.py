"""`gabc generate`: text from a trained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gabc.cli.extras import needs

MOST_BY_DEFAULT = 100


def generate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, or a run's folder.")
    ],
    prompt: Annotated[
        list[str],
        typer.Option(metavar="TEXT", help="What to go on with; `-` is standard input. Repeatable."),
    ],
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help=f"Tokens to write. [{MOST_BY_DEFAULT}, within the context]"),
    ] = None,
    do_sample: Annotated[
        bool, typer.Option("--do-sample/--greedy", help="By chance, or the most probable token.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Divides the scores: above 1 wilder, below 1 tamer. [1.0]")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, help="Choose among the best K only; 0: all. [50]")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Choose among the best that have P together. [1.0]")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Leave out what has less than P times the best's. [none]")
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes tokens that have been seen less probable.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of chance.")] = 0,
    num_return_sequences: Annotated[
        int, typer.Option(min=1, help="Continuations of each prompt.")
    ] = 1,
    beyond_context: Annotated[
        bool, typer.Option(help="Go on beyond the length that the model was trained on.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the tokenizer's files lie. [DATA_DIR]"),
    ] = None,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Go on with a text, token by token, from the state that the design's text implies."""
    with needs("train"):
        from gabc.cli.generate_run import Chance, GenerateRequest, run_generation

    request = GenerateRequest(
        checkpoint=checkpoint,
        prompts=tuple(prompt),
        max_new_tokens=max_new_tokens,
        default_tokens=MOST_BY_DEFAULT,
        do_sample=do_sample,
        chance=Chance(temperature, top_k, top_p, min_p),
        repetition_penalty=repetition_penalty,
        seed=seed,
        copies=num_return_sequences,
        beyond_context=beyond_context,
        data_dir=data,
    )
    run_generation(request, as_document)
