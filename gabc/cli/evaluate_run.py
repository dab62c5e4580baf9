"""What `gabc eval` does: the text of the training found again, the checkpoint scored and shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from gabc.api import NoDesignError, elaborate
from gabc.cli.faults import InputFault
from gabc.cli.files import load
from gabc.cli.identity import design_hash, rebuild
from gabc.cli.output import print_json, refuse_errors
from gabc.cli.tokenizers import tokenizer_named
from gabc.data.corpus import Corpus, load_corpus, load_text
from gabc.data.locate import data_dir_from_environment
from gabc.data.ngram import baselines
from gabc.data.tokenizer import Tokenizer
from gabc.diagnostics.suggest import nearest
from gabc.evaluate.control_record import run_controls
from gabc.evaluate.harness import TASKS
from gabc.evaluate.result import RunResult, write_result
from gabc.evaluate.run import evaluate
from gabc.evaluate.table import leaderboards
from gabc.train.checkpoint import open_checkpoint
from gabc.train.record import DataRecord

HELD_OUT = "heldout"
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """The options of `gabc eval`; `tasks` as given, `extra` further texts to score."""

    checkpoint: Path
    tasks: str
    data: Path | None
    extra: Sequence[Path]
    limit: int | None
    design: Path | None
    out: Path | None
    controls: Path | None


def run_evaluation(request: EvalRequest, as_document: bool) -> None:
    """Score the checkpoint, store the result and print it.

    Raises:
        InputFault: a task or the design cannot be used.
        CheckpointError, DataError, GateError: as `gabc.evaluate.run.evaluate` raises them.
    """
    tasks = _tasks(request.tasks)
    opened = open_checkpoint(request.checkpoint)
    data_dir = data_dir_from_environment()
    tokenizer = tokenizer_named(opened.record.data.tokenizer, data_dir)
    corpus = _corpus(request, opened.record.data, tokenizer, data_dir)
    expected = None
    if request.design is not None:
        expected = _hash_of(request.design, opened.record.identity.scale, as_document)
    result = evaluate(
        opened.folder,
        rebuild,
        tokenizer,
        corpus,
        tasks=tasks,
        data_dir=data_dir,
        limit=request.limit,
        design_hash=expected,
        is_control=request.controls is not None,
    )
    if request.controls is not None:
        record = run_controls(
            result,
            rebuild(opened.record.identity),
            tokenizer,
            corpus,
            tasks=tasks,
            data_dir=data_dir,
            limit=request.limit,
        )
        request.controls.write_text(record.to_json(), encoding="utf-8")
    place = request.out or opened.folder.parent / RESULT
    write_result(result, place)
    if as_document:
        print_json(json.loads(result.to_json()))
    else:
        _show(result, corpus)
        print(place)


def _tasks(names: str) -> list[str]:
    """The tasks beside held-out text. Raises `InputFault` with the nearest spelling."""
    wanted = []
    for name in dict.fromkeys(part.strip() for part in names.split(",") if part.strip()):
        if name == HELD_OUT:
            continue
        if name not in TASKS:
            near = nearest(name, [HELD_OUT, *TASKS])
            hint = (
                f"did you mean `{near}`?" if near else f"there are {HELD_OUT}, {', '.join(TASKS)}"
            )
            raise InputFault(f"there is no task `{name}`; {hint}")
        wanted.append(name)
    return wanted


def _corpus(
    request: EvalRequest, trained: DataRecord, tokenizer: Tokenizer, data_dir: Path | None
) -> Corpus:
    """The text found here within the bounds of the training, and the further texts asked for."""
    corpus = load_corpus(
        tokenizer,
        data=request.data,
        data_dir=data_dir,
        train_limit=trained.train_limit,
        heldout_limit=trained.heldout_limit,
    )
    texts = list(corpus.extra)
    for path in request.extra:
        text = load_text(path, tokenizer, trained.heldout_limit)
        if text.name in (other.name for other in texts):
            raise InputFault(f"two further texts are called {text.name}; rename one of them")
        texts.append(text)
    return replace(corpus, extra=tuple(texts))


def _hash_of(path: Path, scale: str, as_document: bool) -> str:
    """The hash of a design file at the checkpoint's scale."""
    source, folder = load(path)
    try:
        design = elaborate(source, scale=scale, folder=folder)
    except NoDesignError as error:
        raise InputFault(str(error)) from None
    refuse_errors(design.diagnostics, as_document)
    assert design.stack is not None
    return design_hash(design.stack)


def _show(result: RunResult, corpus: Corpus) -> None:
    console = Console(highlight=False)
    for table in leaderboards([result], baselines(corpus)):
        console.print(table)
    for score in result.extra_heldout:
        console.print(f"{score.name}: {score.bits_per_byte:.3f} bits/byte", soft_wrap=True)
    before, now = result.proof_loss
    console.print(
        f"proof: the loss on the saved batch, in eval mode, was {before:.5f} when the checkpoint "
        f"was written, and is {now:.5f} here; weights {result.key.weights_sha256[:12]}",
        soft_wrap=True,
    )
