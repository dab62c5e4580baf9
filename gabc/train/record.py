"""What a checkpoint says of itself: `config.json`, with a hash that shows an edit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from gabc.train.errors import CheckpointError
from gabc.train.identity import ModelIdentity
from gabc.train.settings import TrainingSettings

CONFIG = "config.json"
FORMAT = 1
_PARTS = ("identity", "data", "settings", "progress", "proof")

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class DataRecord:
    """What was trained on: names and hashes of `gabc.data.corpus.Corpus`.

    With the limits, `load_corpus` finds the same text again.
    """

    corpus: str
    tokenizer: str
    tokenizer_hash: str
    train_sha256: str
    train_tokens: int
    heldout_sha256: str
    split_rule: str
    train_limit: int | None
    heldout_limit: int | None


@dataclass(frozen=True, slots=True)
class Proof:
    """A training batch, saved beside the weights, and the loss on it when they were saved.

    `loss` is the mean in nats per token, in eval mode and float32, without auxiliary losses,
    measured when the checkpoint was written. It is not the training step's own loss, which was
    computed before the update, and on a GPU in bfloat16.
    """

    loss: float
    sequences: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stood: optimiser steps, target tokens, the last step's loss, and the speed."""

    step: int
    tokens: int
    loss: float
    tokens_per_second: float
    parameters: int
    device: str


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """All of `config.json`. `files` maps each other file of the checkpoint to its sha256."""

    identity: ModelIdentity
    data: DataRecord
    settings: TrainingSettings
    progress: Progress
    proof: Proof
    tensors_sha256: str
    files: tuple[tuple[str, str], ...]


def write_record(record: CheckpointRecord, folder: Path) -> None:
    """Write `config.json` into `folder`, with the hash of its own content."""
    body: Json = {"format": FORMAT, **asdict(record)}
    body["config_sha256"] = _digest(body)
    (folder / CONFIG).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> CheckpointRecord:
    """Read `config.json` of a checkpoint.

    Raises:
        CheckpointError: it is missing, not JSON, edited, or written in another format.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CONFIG}.")
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it.") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not in format {FORMAT} of gabc's checkpoints. Train again."
        )
    if body.pop("config_sha256", None) != _digest(body):
        raise CheckpointError(
            f"{path} was edited after training: its hash is not the one it states. Restore it."
        )
    return _parse(body)


def _digest(body: Json) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse(body: Json) -> CheckpointRecord:
    """The dataclasses of a body whose hash was right, so its fields are the ones written."""
    parts = {name: cast(dict[str, Any], body[name]) for name in _PARTS}
    parts["identity"]["files"] = _pairs(parts["identity"]["files"])
    return CheckpointRecord(
        identity=ModelIdentity(**parts["identity"]),
        data=DataRecord(**parts["data"]),
        settings=TrainingSettings(**parts["settings"]),
        progress=Progress(**parts["progress"]),
        proof=Proof(**parts["proof"]),
        tensors_sha256=cast(str, body["tensors_sha256"]),
        files=_pairs(body["files"]),
    )


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    """JSON's lists of two back to tuples."""
    return tuple((name, text) for name, text in cast(list[list[str]], value))
