"""What does not belong together is refused, by name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gabc.data.corpus import Corpus, load_corpus, load_text
from gabc.data.errors import DataError
from gabc.data.tokenizer import load_tokenizer
from gabc.evaluate.board import boards
from gabc.evaluate.harness import run_tasks
from gabc.evaluate.lm import module_lm
from gabc.evaluate.result import RunResult
from gabc.evaluate.run import evaluate
from gabc.train.errors import CheckpointError

from .tiny import (
    BYTE,
    DATA_DIR,
    IDENTITY,
    Tiny,
    build,
    needs_data,
)


def test_another_design_is_refused(run: Path, corpus: Corpus) -> None:
    with pytest.raises(CheckpointError, match="of another design"):
        evaluate(run, build, BYTE, corpus, design_hash="something else")


def test_text_that_was_not_held_out_is_refused(run: Path, corpus: Corpus) -> None:
    trained = replace(
        corpus.heldout, tokens=corpus.train, sha256=corpus.train_sha256, bytes=corpus.train_bytes
    )
    fewer = load_corpus(BYTE, train_limit=150_000, heldout_limit=19_000)
    for other in (replace(corpus, heldout=trained), fewer):
        with pytest.raises(DataError, match="is not what was held out then"):
            evaluate(run, build, BYTE, other)


def test_another_text_is_scored_under_its_own_name(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    path = tmp_path / "other.txt"
    path.write_text("import os\n" * 20)
    with_other = replace(corpus, extra=(load_text(path, BYTE, 100),))
    result = evaluate(run, build, BYTE, with_other, device="cpu")
    (score,) = result.extra_heldout
    assert (score.name, score.bytes) == ("other.txt", 100)
    assert result.key.extra == (("other.txt", score.sha256),)
    assert result.heldout.sha256 == corpus.heldout.sha256


def test_the_key_names_the_data_of_the_tasks(
    result: RunResult, run: Path, corpus: Corpus, random_dir: Path
) -> None:
    assert result.key.context == 64
    other = evaluate(
        run, build, BYTE, corpus, tasks=["blimp_supplement"], data_dir=random_dir, device="cpu"
    )
    assert not result.key.comparable_with(other.key)
    without = evaluate(run, build, BYTE, corpus, device="cpu")
    assert result.key.comparable_with(without.key)
    assert len(boards([result, other, without])) == 2


def test_a_model_of_another_shape_is_refused(run: Path, corpus: Corpus) -> None:
    with pytest.raises(CheckpointError, match="other tensors"):
        evaluate(run, lambda _: Tiny(width=24), BYTE, corpus)


def test_swapped_weights_are_refused(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint-120"
    shutil.copytree(run / "checkpoint-120", copy)
    other = {name: tensor + 1 for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(other, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="sha256 is not the one"):
        evaluate(copy, build, BYTE, corpus)


@needs_data
def test_another_tokenizer_is_refused(run: Path, corpus: Corpus) -> None:
    gpt2 = load_tokenizer("gpt2", DATA_DIR)
    with pytest.raises(DataError, match="trained with the tokenizer byte"):
        evaluate(run, build, gpt2, corpus)


def test_missing_pairs_are_named(pairs_dir: Path, tmp_path: Path) -> None:
    lm = module_lm(build(IDENTITY), BYTE)
    with pytest.raises(DataError, match="Unknown task `glue`"):
        run_tasks(lm, ["glue"], pairs_dir)
    with pytest.raises(DataError, match="Set DATA_DIR"):
        run_tasks(lm, ["blimp_filtered"], None)
    with pytest.raises(DataError, match="blimp_filtered with its"):
        run_tasks(lm, ["blimp_filtered"], pairs_dir)
    broken = tmp_path / "data"
    shutil.copytree(pairs_dir, broken)
    file = broken / "supplement_filtered" / "turn_taking.jsonl"
    file.unlink()
    with pytest.raises(DataError, match=r"turn_taking\.jsonl are missing"):
        run_tasks(lm, ["blimp_supplement"], broken)
    file.write_text('{"sentence_good": "a"}\n')
    with pytest.raises(DataError, match="line 1 is not a minimal pair"):
        run_tasks(lm, ["blimp_supplement"], broken)
