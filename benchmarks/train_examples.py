"""Every design of `examples/` at scale 14M through 50 steps of training, each by itself.

The text is that of `gabc demo`: DATA_DIR's where it is set, else Python's standard library, as
bytes. Prints a Markdown table and exits with 1 if a loss does not fall or is not a number. Run from
the project's root: `OMP_NUM_THREADS=1 python benchmarks/train_examples.py [NAME of a design ...]`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from gabc.api import compile as compile_design
from gabc.cli.identity import identity_of
from gabc.data.byte_tokenizer import ByteTokenizer
from gabc.data.corpus import Corpus, load_corpus
from gabc.data.locate import data_dir_from_environment
from gabc.diagnostics.render import render_text
from gabc.runtime.model import build
from gabc.syntax.source import Source
from gabc.train.errors import TrainingError
from gabc.train.history import HISTORY, read_history
from gabc.train.run import train
from gabc.train.settings import TrainingSettings

EXAMPLES = Path(__file__).parent.parent / "examples"
SCALE = "14M"
STEPS, BATCH, LENGTH = 50, 4, 128
ENDS = 5  # steps at either end whose mean losses are compared


@dataclass(frozen=True)
class Row:
    """One design. `fault` says why it did not come to its last step."""

    name: str
    parameters: int = 0
    compile_seconds: float = 0.0
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    fault: str = ""

    @property
    def is_sound(self) -> bool:
        return not self.fault and self.last < self.first

    @property
    def first(self) -> float:
        return mean(self.losses[:ENDS])

    @property
    def last(self) -> float:
        return mean(self.losses[-ENDS:])

    def __str__(self) -> str:
        if self.fault:
            return f"| {self.name} | | | | | | {self.fault} |"
        return (
            f"| {self.name} | {self.parameters / 1e6:.2f} | {self.compile_seconds:.2f} "
            f"| {median(self.seconds):.3f} | {self.first:.3f} | {self.last:.3f} "
            f"| {'yes' if self.is_sound else 'NO'} |"
        )


def train_example(path: Path, corpus: Corpus, folder: Path) -> Row:
    start = time.perf_counter()
    design = compile_design(Source(path.name, path.read_text(encoding="utf-8")), scale=SCALE)
    if design.stack is None:
        return Row(path.stem, fault=render_text(design.diagnostics, False).splitlines()[0])
    model = build(design.stack, vocab_size=corpus.vocab_size, seed=0)
    compile_seconds = time.perf_counter() - start
    assert design.stack.scale.learning_rate is not None  # a scale of the table has one
    settings = TrainingSettings(
        steps=STEPS,
        learning_rate=design.stack.scale.learning_rate,
        batch_tokens=BATCH * LENGTH,
        context=LENGTH,
        micro_batch=BATCH,
        save_every=STEPS,
    )
    identity = identity_of(design.stack, corpus.vocab_size, 0)
    try:
        train(model, identity, corpus, settings, folder, console=Console(quiet=True))
    except TrainingError as error:  # a loss or a gradient that is not a number
        return Row(path.stem, fault=str(error))
    history = read_history(folder / HISTORY)
    return Row(
        path.stem,
        sum(p.numel() for p in model.parameters()),
        compile_seconds,
        tuple(step.loss for step in history),
        tuple(step.seconds for step in history),
    )


def main() -> None:
    corpus = load_corpus(ByteTokenizer(), data_dir=data_dir_from_environment())
    paths = [p for p in sorted(EXAMPLES.glob("*.gab")) if not sys.argv[1:] or p.stem in sys.argv]
    if not paths:
        sys.exit(f"examples/ has no design called {', '.join(sys.argv[1:])}")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), scale {SCALE}, {STEPS} "
        f"steps of {BATCH} x {LENGTH} bytes of {corpus.name}\n"
    )
    print(
        f"| design | parameters, M | compile, s | median step, s | loss of steps 1 to {ENDS} "
        f"| {STEPS - ENDS + 1} to {STEPS} | falls, no NaN |"
    )
    print("|---|---|---|---|---|---|---|")
    failed = []
    for path in paths:
        with TemporaryDirectory() as folder:
            row = train_example(path, corpus, Path(folder))
        print(row, flush=True)
        if not row.is_sound:
            failed.append(row.name)
    print(f"\n{len(paths) - len(failed)} of {len(paths)} designs train")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
