"""One short training, and the data it is scored on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from string import ascii_lowercase

import pytest

from gabc.data.corpus import Corpus, load_corpus
from gabc.evaluate.harness import TASKS
from gabc.evaluate.result import RunResult
from gabc.evaluate.run import evaluate
from gabc.train.run import train
from gabc.train.settings import TrainingSettings

from .tiny import (
    BYTE,
    IDENTITY,
    RANDOM_PAIRS,
    SUPPLEMENT,
    build,
)


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return load_corpus(BYTE, train_limit=150_000, heldout_limit=20_000)


@pytest.fixture(scope="session")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = TrainingSettings(
        steps=120, learning_rate=2e-2, batch_tokens=1024, context=64, micro_batch=16
    )
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(build(IDENTITY), IDENTITY, corpus, settings, folder)
    return folder


@pytest.fixture(scope="session")
def pairs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with invented pairs in the form of the supplement's five files."""
    root = tmp_path_factory.mktemp("data")
    folder = root / TASKS["blimp_supplement"]
    folder.mkdir()
    for index, name in enumerate(SUPPLEMENT):
        pairs = [
            {"sentence_good": f"import os\nreturn {i}", "sentence_bad": f"imxqrt os\nreturn {i}"}
            for i in range(4 + index)
        ]
        text = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (folder / f"{name}.jsonl").write_text(text)
    return root


@pytest.fixture(scope="session")
def random_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR with pairs of random words of one length: nothing can be known about them."""
    root = tmp_path_factory.mktemp("random")
    folder = root / TASKS["blimp_supplement"]
    folder.mkdir()
    generator = random.Random(0)
    for name in SUPPLEMENT:
        lines = []
        for _ in range(RANDOM_PAIRS // len(SUPPLEMENT)):
            length = generator.randint(4, 12)
            good, bad = ("".join(generator.sample(ascii_lowercase, length)) for _ in range(2))
            lines.append(json.dumps({"sentence_good": good, "sentence_bad": bad}) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def result(run: Path, corpus: Corpus, pairs_dir: Path) -> RunResult:
    return evaluate(
        run, build, BYTE, corpus, tasks=["blimp_supplement"], data_dir=pairs_dir, device="cpu"
    )
