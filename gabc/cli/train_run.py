"""What `gabc train` does: text and settings brought together, the model trained, the run told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gabc.api import Compiled
from gabc.cli.identity import identity_of
from gabc.cli.output import print_json
from gabc.cli.tokenizers import tokenizer_named
from gabc.data.corpus import Corpus, load_corpus
from gabc.data.locate import data_dir_from_environment
from gabc.data.tokenizer import Tokenizer
from gabc.graph.instance import Scale, Stack
from gabc.runtime.model import build
from gabc.train.run import TrainedRun, train
from gabc.train.runs import runs_root
from gabc.train.settings import TrainingSettings

_LEARNING_RATE = 3e-3  # for widths below the table's


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The options of `gabc train`. Limits are in characters, 0 for none."""

    steps: int
    data: Path | None
    batch: int
    micro_batch: int | None
    length: int
    learning_rate: float | None
    seed: int
    tokenizer: str
    out: Path | None
    save_every: int
    train_limit: int
    heldout_limit: int
    resume: bool

    def settings(self, scale: Scale) -> TrainingSettings:
        """Raises `TrainingError` where the numbers do not go together."""
        return TrainingSettings(
            steps=self.steps,
            learning_rate=_learning_rate(self.learning_rate, scale),
            batch_tokens=self.batch * self.length,
            context=self.length,
            micro_batch=self.micro_batch or self.batch,
            seed=self.seed,
            save_every=self.save_every,
        )

    def corpus(self, tokenizer: Tokenizer, data_dir: Path | None) -> Corpus:
        return load_corpus(
            tokenizer,
            data=self.data,
            data_dir=data_dir,
            train_limit=self.train_limit or None,
            heldout_limit=self.heldout_limit or None,
        )

    def folder(self, stack: Stack) -> Path:
        name = f"{stack.name.lower()}-{stack.scale.name}-seed{self.seed}"
        return self.out or runs_root() / name


def run_training(design: Compiled, request: TrainRequest, as_document: bool) -> None:
    """Train the elaborated design and print what came of it.

    Raises:
        InputFault: there is no such tokenizer.
        TrainingError, CheckpointError, DataError: as `gabc.train.run.train` raises them.
    """
    stack = design.stack
    assert stack is not None
    data_dir = data_dir_from_environment()
    tokenizer = tokenizer_named(request.tokenizer, data_dir)
    settings = request.settings(stack.scale)
    corpus = request.corpus(tokenizer, data_dir)
    console = Console(stderr=True, highlight=False, quiet=as_document)
    if design.fit is not None:
        console.print(str(design.fit))
    console.print(
        f"{stack.name} at {stack.scale.name} on {corpus.name}: {settings.steps:,} steps of "
        f"{settings.batch_tokens:,} tokens ({tokenizer.name})"
    )
    finished = train(
        build(stack, vocab_size=tokenizer.vocab_size, seed=request.seed),
        identity_of(stack, tokenizer.vocab_size, request.seed),
        corpus,
        settings,
        request.folder(stack),
        resume=request.resume,
        console=console,
    )
    if as_document:
        print_json(_document(design, finished))
        return
    progress = finished.record.progress
    console.print(
        f"loss {progress.loss:.3f} after {progress.step:,} steps, "
        f"{progress.tokens_per_second:,.0f} tokens/s, {progress.parameters:,} parameters"
    )
    print(finished.checkpoint)


def _document(design: Compiled, finished: TrainedRun) -> dict[str, object]:
    """The run as `--json` prints it."""
    record = finished.record
    return {
        "ok": True,
        "design": record.identity.design,
        "scale": record.identity.scale,
        "fit": None if design.fit is None else str(design.fit),
        "corpus": record.data.corpus,
        "tokenizer": record.data.tokenizer,
        "parameters": record.progress.parameters,
        "steps": record.progress.step,
        "tokens": record.progress.tokens,
        "loss": record.progress.loss,
        "tokens_per_second": record.progress.tokens_per_second,
        "device": record.progress.device,
        "checkpoint": str(finished.checkpoint),
        "history": str(finished.history),
    }


def _learning_rate(given: float | None, scale: Scale) -> float:
    if given is not None:
        return given
    return scale.learning_rate or _LEARNING_RATE
